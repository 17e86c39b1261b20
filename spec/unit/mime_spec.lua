local mime = require "clua.mime"

describe("clua.mime", function()
  local CASES = {
    { "index.html", "text/html; charset=utf-8" },
    { "INDEX.HTML", "text/html; charset=utf-8" },
    { "/a.b/style.css", "text/css; charset=utf-8" },
    { "app.js", "text/javascript; charset=utf-8" },
    { "app.mjs", "text/javascript; charset=utf-8" },
    { "data.json", "application/json" },
    { "logo.svg", "image/svg+xml" },
    { "photo.jpeg", "image/jpeg" },
    { "font.woff2", "font/woff2" },
    { "code.wasm", "application/wasm" },
    { "dump.tar.gz", "application/gzip" },
    { "archive.7z", "application/x-7z-compressed" },
    { ".css", "text/css; charset=utf-8" },
    { "README", "application/octet-stream" },
    { "a.b/README", "application/octet-stream" },
    { "trailing.", "application/octet-stream" },
    { "name.unheard-of", "application/octet-stream" },
    { "", "application/octet-stream" },
  }

  for _, case in ipairs(CASES) do
    it(("%q is %s"):format(case[1], case[2]), function()
      assert.equal(case[2], mime.type(case[1]))
    end)
  end

  it("knows only well-formed types, by extensions in lower case", function()
    for extension, kind in pairs(mime.types) do
      assert.equal(extension:lower(), extension)
      assert.truthy(kind:find("^%l+/[%w.+-]+$"), kind)
    end
  end)

  it("takes types that a script adds, with their own parameters", function()
    finally(function() mime.types.zzz, mime.types.zzy = nil, nil end)
    mime.types.zzz = "text/x-z; charset=iso-8859-1"
    mime.types.zzy = "text/x-y"
    assert.equal("text/x-z; charset=iso-8859-1", mime.type("a.zzz"))
    assert.equal("text/x-y; charset=utf-8", mime.type("a.ZZY"))
  end)
end)
