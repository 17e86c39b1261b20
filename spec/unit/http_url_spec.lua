local url = require "clua.http.url"

describe("clua.http.url", function()
  describe("parse", function()
    for text, want in pairs {
      ["http://a"] = { "a", 80, "/", "a" },
      ["http://A.example:8080/p?q#f"] = { "a.example", 8080, "/p?q", "a.example:8080" },
      ["HTTP://a:80/x"] = { "a", 80, "/x", "a" },
      ["http://a:/x"] = { "a", 80, "/x", "a" },
      ["http://a?q"] = { "a", 80, "/?q", "a" },
      ["http://[::1]:81/x"] = { "::1", 81, "/x", "[::1]:81" },
      ["http://a/caf\195\169\"{}"] = { "a", 80, "/caf%C3%A9%22%7B%7D", "a" },
      ["unix:/run/a.sock:/x?y"] = { "localhost", 80, "/x?y", "localhost" },
      ["unix:/run/a.sock"] = { "localhost", 80, "/", "localhost" },
    } do
      it("splits " .. text, function()
        local found = assert(url.parse(text))
        assert.same(want, { found.host, found.port, found.target, found.authority })
      end)
    end

    it("knows the path of a unix socket", function()
      assert.equal("/run/a.sock", url.parse("unix:/run/a.sock:/x").socketPath)
      assert.equal("unix:/run/a.sock", url.parse("unix:/run/a.sock:/x").origin)
    end)

    for text, code in pairs {
      ["https://a/"] = "ENOTSUP", ["ftp://a/"] = "EINVAL", ["a/b"] = "EINVAL", [""] = "EINVAL", ["http://"] = "EINVAL",
      ["http://a:65536/"] = "EINVAL", ["http://a:b/"] = "EINVAL", ["http://user:secret@a/"] = "EINVAL",
      ["http://a/ b"] = "EINVAL", ["http://a/\r\nX: y"] = "EINVAL", ["http://a\0b/"] = "EINVAL",
      ["http://a b/"] = "EINVAL",
      ["http://[::1/"] = "EINVAL", ["http://a<b/"] = "EINVAL", ["unix:/a.sock:x"] = "EINVAL",
      ["http://a]b/"] = "EINVAL",
      ["http://a/\127"] = "EINVAL",
    } do
      it(("refuses %q"):format(text), function()
        local found, message, why = url.parse(text)
        assert.is_nil(found)
        assert.is_string(message)
        assert.equal(code, why)
      end)
    end
  end)

  describe("resolve", function()
    -- RFC 3986 §5.4, what of it concerns a path
    local base = url.parse("http://a/b/c/d;p?q")
    for location, want in pairs {
      ["g"] = "/b/c/g", ["./g"] = "/b/c/g", ["g/"] = "/b/c/g/", ["/g"] = "/g", ["?y"] = "/b/c/d;p?y",
      ["g?y"] = "/b/c/g?y",
      ["#s"] = "/b/c/d;p?q", ["g#s"] = "/b/c/g", [""] = "/b/c/d;p?q", ["."] = "/b/c/", ["./"] = "/b/c/", [".."] = "/b/",
      ["../g"] = "/b/g", ["../.."] = "/", ["../../g"] = "/g", ["../../../g"] = "/g", ["/../g"] = "/g",
      ["g."] = "/b/c/g.",
      ["..g"] = "/b/c/..g", ["./../g"] = "/b/g", ["g/./h"] = "/b/c/g/h", ["g/../h"] = "/b/c/h",
      ["g?y/../x"] = "/b/c/g?y/../x",
    } do
      it(("takes %q from its base"):format(location), function()
        local found = assert(url.resolve(base, location))
        assert.equal(want, found.target)
        assert.equal("http://a", found.origin)
      end)
    end

    it("goes to another origin", function()
      assert.equal("http://b:81", url.resolve(base, "http://b:81/x").origin)
      assert.equal("http://b", url.resolve(base, "//b/x").origin)
      assert.equal("ENOTSUP", (select(3, url.resolve(base, "https://a/"))))
    end)

    for _, location in ipairs { "unix:/run/docker.sock:/", "UNIX:/x", "javascript:1", "/a b", "/a\nb",
      "http://u@b/" } do
      it(("refuses %q"):format(location), function() assert.is_nil((url.resolve(base, location))) end)
    end
  end)
end)
