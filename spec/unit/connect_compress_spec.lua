local command = require "spec.support.command"
local fakes = require "spec.unit.connect_fakes"
local zlib = require "zlib"

local codings = require "clua.connect.codings"
local connect = require "clua.connect"

local PAGE = ("<p>The quick brown fox jumps over the lazy dog.</p>\n"):rep(100)

describe("clua.connect.compress", function()
  -- Sends one request through the middleware to `answer(res, req)`, which by default sends a page.
  local function get(accept, answer, given, request)
    request = request or {}
    request.headers = { ["accept-encoding"] = accept }
    return fakes.send(connect(connect.compress(given), function(req, res)
      if answer then return answer(res, req) end
      res:setHeader("Content-Type", "text/html; charset=utf-8")
      res:setHeader("Content-Length", #PAGE)
      res:finish(PAGE)
    end), "/", request)
  end

  local function typed(body, kind)
    return function(res)
      res:setHeader("Content-Type", kind or "text/plain")
      res:finish(body)
    end
  end

  local function inflated(res)
    local out, eof = zlib.inflate(15 + 32)(res:body())
    assert.is_true(eof)
    return out
  end

  it("compresses what is worth it, with a weak tag, Vary, and without the length of before", function()
    local res = get("gzip", function(res)
      res:setHeader("Content-Type", "text/html")
      res:setHeader("Content-Length", #PAGE)
      res:setHeader("ETag", '"abc"')
      res:setHeader("Accept-Ranges", "bytes")
      res:setHeader("Vary", "Origin")
      res:finish(PAGE)
    end)
    assert.equal("gzip", res.headers["content-encoding"])
    assert.equal('W/"abc"', res.headers.etag)
    assert.equal("Origin, Accept-Encoding", res.headers.vary)
    assert.is_nil(res.headers["content-length"])
    assert.is_nil(res.headers["accept-ranges"])
    assert.equal("\31\139", res:body():sub(1, 2))
    assert.equal(PAGE, inflated(res))
  end)

  it("keeps a weak tag as it is", function()
    local res = get("gzip", function(res)
      res:setHeader("Content-Type", "text/html")
      res:setHeader("ETag", 'W/"abc"')
      res:finish(PAGE)
    end)
    assert.equal('W/"abc"', res.headers.etag)
  end)

  describe("chooses by Accept-Encoding:", function()
    local CASES = {
      { nil, nil }, { "", nil }, { "gzip", "gzip" }, { "GZIP", "gzip" }, { "x-gzip", "gzip" }, { "deflate", "deflate" },
      { "deflate, gzip", "gzip" }, { "gzip;q=0.5, deflate", "deflate" }, { "gzip;q=0", nil },
      { "gzip; q=0.000, deflate;q=0.001", "deflate" }, { "*", "gzip" }, { "*;q=0", nil }, { "gzip;q=0, *", "deflate" },
      { "identity, gzip;q=0.5", nil }, { "identity;q=0.2, gzip;q=0.5", "gzip" }, { "identity", nil },
      { "zstd, compress", nil }, { "gzip;q=nonsense", "gzip" }, { "gzip;q=9", "gzip" },
    }
    for _, case in ipairs(CASES) do
      it(("%s -> %s"):format(tostring(case[1]), tostring(case[2])), function()
        local res = get(case[1], nil, { brotli = false })
        assert.equal(case[2], res.headers["content-encoding"])
        assert.equal("Accept-Encoding", res.headers.vary)
        assert.equal(PAGE, case[2] and inflated(res) or res:body())
      end)
    end
  end)

  it("leaves short bodies alone, unless the client refuses them as they are", function()
    assert.is_nil(get("gzip", typed("short")).headers["content-encoding"])
    assert.equal("gzip", get("gzip, identity;q=0", typed("short")).headers["content-encoding"])
    assert.equal("gzip", get("gzip, *;q=0", typed("short")).headers["content-encoding"])
    assert.equal("gzip", get("gzip", typed("short"), { threshold = 5 }).headers["content-encoding"])
    assert.is_nil(get("gzip", typed("short"), { threshold = 6 }).headers["content-encoding"])
    assert.is_nil(get("gzip, identity;q=0", typed("")).headers["content-encoding"])
  end)

  describe("by type:", function()
    local CASES = {
      ["text/css"] = true, ["TEXT/HTML"] = true, ["application/json; charset=utf-8"] = true, ["image/svg+xml"] = true,
      ["application/problem+json"] = true, ["application/javascript"] = true, ["application/wasm"] = true,
      ["image/png"] = false, ["video/mp4"] = false, ["application/octet-stream"] = false, ["application/zip"] = false,
      ["application/jsonp-not"] = false,
    }
    for kind, wanted in pairs(CASES) do
      it(kind, function()
        local res = get("gzip", typed(PAGE, kind))
        assert.equal(wanted and "gzip" or nil, res.headers["content-encoding"])
        assert.equal(wanted and "Accept-Encoding" or nil, res.headers.vary)
      end)
    end

    it("none", function()
      assert.is_nil(get("gzip", function(res) res:finish(PAGE) end).headers["content-encoding"])
    end)

    it("or as a filter says", function()
      local res = get("gzip", typed(PAGE, "image/png"), { filter = function(req) return req.url == "/" end })
      assert.equal("gzip", res.headers["content-encoding"])
    end)
  end)

  describe("never touches", function()
    local function with(status, name, value)
      return get("gzip", function(res)
        res.statusCode = status
        res:setHeader("Content-Type", "text/plain")
        res:setHeader("ETag", '"abc"')
        if name then res:setHeader(name, value) end
        res:finish(PAGE)
      end)
    end
    local CASES = {
      { 200, "Content-Encoding", "br" }, { 200, "Cache-Control", "public, no-transform" },
      { 200, "Content-Range", "bytes 0-9/10" }, { 200, "Content-MD5", "x" }, { 200, "Repr-Digest", "sha-256=:x:" },
      { 204 }, { 205 }, { 206 }, { 304 },
    }
    for _, case in ipairs(CASES) do
      it(table.concat(case, " "), function()
        local res = with(unpack(case))
        assert.equal(PAGE, res:body())
        assert.equal('"abc"', res.headers.etag)
        assert.equal(case[2] == "Content-Encoding" and "br" or nil, res.headers["content-encoding"])
      end)
    end

    it("304, but says what it depends on", function()
      assert.equal("Accept-Encoding", with(304).headers.vary)
    end)
  end)

  it("gives HEAD the fields of GET and no body", function()
    local function answer(res)
      res:setHeader("Content-Type", "text/html")
      res:setHeader("Content-Length", #PAGE)
      res:setHeader("ETag", '"abc"')
      res:finish()
    end
    local res = get("gzip", answer, nil, { method = "HEAD" })
    assert.equal("gzip", res.headers["content-encoding"])
    assert.equal('W/"abc"', res.headers.etag)
    assert.is_nil(res.headers["content-length"])
    assert.equal("", res:body())
    res = get("gzip", function(r)
      r:setHeader("Content-Type", "text/html")
      r:finish(PAGE)
    end, nil, { method = "HEAD" })
    assert.equal("gzip", res.headers["content-encoding"])
    assert.equal("", res:body())
  end)

  it("compresses what is written in pieces as it comes; flush sends all so far", function()
    local flushed
    local res = get("gzip", function(res)
      res:setHeader("Content-Type", "text/plain")
      res:write("first")
      assert.is_true(res.headersSent)
      res:flush()
      flushed = zlib.inflate(15 + 32)(res:body())
      for _ = 1, 100 do res:write(PAGE) end
      res:finish("last")
    end)
    assert.equal("first", flushed)
    assert.equal("first" .. PAGE:rep(100) .. "last", inflated(res))
  end)

  it("sends events at every write", function()
    local seen = {}
    get("gzip", function(res)
      res:setHeader("Content-Type", "text/event-stream")
      for i = 1, 3 do
        res:write("data: " .. i .. "\n\n")
        seen[i] = zlib.inflate(15 + 32)(res:body())
      end
      res:finish()
    end)
    assert.same({ "data: 1\n\n", "data: 1\n\ndata: 2\n\n", "data: 1\n\ndata: 2\n\ndata: 3\n\n" }, seen)
  end)

  it("leaves a short error page as it is, without the fields of the answer that failed", function()
    local res = get("gzip", function(res)
      res:setHeader("Content-Encoding", "br")
      error { status = 400 }
    end)
    assert.equal(400, res.statusCode)
    assert.is_nil(res.headers["content-encoding"])
    assert.equal("Bad Request\n", res:body())
  end)

  it("prefers brotli, and makes it of pieces and of a whole", function()
    if not codings.has "br" then return pending("libbrotlienc is not installed") end
    if not command.exists("node") then return pending("node, which decodes it, is not installed") end
    local whole = get("gzip, deflate, br")
    assert.equal("br", whole.headers["content-encoding"])
    local pieces = get("br", function(res)
      res:setHeader("Content-Type", "text/plain")
      res:write(PAGE:sub(1, 1000))
      res:flush()
      res:write(PAGE:sub(1001))
      res:finish()
    end)
    for _, res in ipairs { whole, pieces } do
      assert.is_true(#res:body() < #PAGE / 4)
      local path = os.tmpname()
      local file = assert(io.open(path, "wb"))
      file:write(res:body())
      file:close()
      local decode = "process.stdout.write(require('zlib').brotliDecompressSync(require('fs').readFileSync('%s')))"
      local pipe = io.popen('node -e "' .. decode:format(path) .. '" 2>&1')
      local out = pipe:read("*a")
      pipe:close()
      os.remove(path)
      assert.equal(PAGE, out)
    end
    assert.equal("gzip", get("gzip, br;q=0.9").headers["content-encoding"])
    assert.equal("gzip", get("gzip, br", nil, { brotli = false }).headers["content-encoding"])
  end)

  describe("options:", function()
    local CASES = {
      { { level = 10 }, "'level' must be from 0 to 9" }, { { quality = 12 }, "'quality' must be from 0 to 11" },
      { { treshold = 1 }, "did you mean 'threshold'" }, { { filter = "x" }, "'filter' must be callable" },
    }
    for _, case in ipairs(CASES) do
      it(case[2], function()
        local ok, message = pcall(function() connect.compress(case[1]) end)
        assert.is_false(ok)
        assert.truthy(tostring(message):find(case[2], 1, true), tostring(message))
        assert.truthy(tostring(message):find("connect_compress_spec.lua:%d+"), tostring(message))
      end)
    end
  end)
end)
