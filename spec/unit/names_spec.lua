local names = require "clua.names"

describe("clua.names", function()
  local function accepts(name, specs, text)
    local got, as = names.parse(name)
    assert.same(specs, got)
    assert.equal(text or tostring(name), as)
  end

  local function refuses(name, pattern)
    local specs, message = names.parse(name)
    assert.is_nil(specs)
    assert.truthy(message:find(pattern, 1, true), message)
  end

  it("takes a port, as number or text", function()
    accepts(8080, { { host = "", port = 8080 } })
    accepts("8080", { { host = "", port = 8080 } })
    accepts(0, { { host = "", port = 0 } })
    accepts(65535, { { host = "", port = 65535 } })
  end)

  it("takes a host with a port", function()
    accepts("127.0.0.1:80", { { host = "127.0.0.1", port = 80 } })
    accepts("localhost:0", { { host = "localhost", port = 0 } })
    accepts("my-host.example.org:443", { { host = "my-host.example.org", port = 443 } })
  end)

  it("takes an IPv6 address in brackets, with a port", function()
    accepts("[::1]:8080", { { host = "::1", port = 8080 } })
    accepts("[::]:0", { { host = "::", port = 0 } })
    accepts("[::ffff:10.0.0.1]:80", { { host = "::ffff:10.0.0.1", port = 80 } })
  end)

  it("takes socket paths: absolute, relative, with unix:", function()
    accepts("/run/clua.sock", { { path = "/run/clua.sock" } })
    accepts("./clua.sock", { { path = "./clua.sock" } })
    accepts("../clua.sock", { { path = "../clua.sock" } })
    accepts("unix:/run/clua.sock", { { path = "/run/clua.sock" } })
    accepts("unix:clua.sock", { { path = "clua.sock" } })
    accepts("/run/odd:80", { { path = "/run/odd:80" } })
  end)

  it("takes a plain word: workers that listen on nothing", function()
    accepts("mailer", {})
    accepts("night-jobs_2.x", {})
  end)

  it("takes an array of addresses", function()
    accepts({ 80, "[::1]:81", "./a.sock" },
      { { host = "", port = 80 }, { host = "::1", port = 81 }, { path = "./a.sock" } }, "80,[::1]:81,./a.sock")
  end)

  it("refuses what is no port", function()
    refuses(-1, "'-1' is not a port (0 to 65535)")
    refuses(65536, "'65536' is not a port")
    refuses(80.5, "'80.5' is not a port")
    refuses(0 / 0, "is not a port")
    refuses("99999", "'99999' is not a port")
    refuses("localhost:65536", "'65536' is not a port")
    refuses("[::1]:70000", "'70000' is not a port")
  end)

  it("refuses what is no name, and says what one is", function()
    for _, name in ipairs { "::1", "::1:80", "[::1]", "host:", ":80", "two words", "a b:80:90", "-word", "9lives" } do
      refuses(name, ("'%s' is no port, 'host:port', '[v6]:port', socket path or plain word"):format(name))
    end
    refuses("", "not an empty string")
    refuses(true, "not boolean")
    refuses(nil, "not nil")
    refuses(print, "not function")
  end)

  it("refuses an empty array, and words or errors in one", function()
    refuses({}, "must not be empty")
    refuses({ 80, "mailer" }, "'mailer' in an array is no address")
    refuses({ 80, -1 }, "'-1' is not a port")
    refuses({ { 80 } }, "not table")
  end)

  it("refuses an address that stands twice in an array, but for any free port", function()
    refuses({ 80, "80" }, "'80' stands twice in the array")
    refuses({ "[::1]:80", 81, "[::1]:80" }, "'[::1]:80' stands twice in the array")
    refuses({ "unix:./a.sock", "./a.sock" }, "'./a.sock' stands twice in the array")
    accepts({ 0, 0 }, { { host = "", port = 0 }, { host = "", port = 0 } }, "0,0")
    accepts({ 80, "[::1]:80" }, { { host = "", port = 80 }, { host = "::1", port = 80 } }, "80,[::1]:80")
  end)
end)
