local cjson = require "cjson"
local zlib = require "zlib"
local fakes = require "spec.unit.connect_fakes"

local connect = require "clua.connect"

describe("clua.connect.json", function()
  -- What the handler finds in req.body; or nil, status and message of the refusal.
  local function parse(text, given, headers, read_error)
    local body, refusal, reached
    local all = { ["content-type"] = "application/json" }
    for name, value in pairs(headers or {}) do all[name] = value or nil end
    local middleware = connect.json(given)
    local req = fakes.request("/", { method = "POST", headers = all, body = text, read_error = read_error })
    fakes.run(function()
      middleware(req, fakes.response(), function(err)
        reached, refusal, body = true, err, req.body
      end)
    end)
    assert.is_true(reached)
    if refusal then return nil, refusal.status, refusal.message end
    return body
  end

  local function gzip(text) return (zlib.deflate(9, 31)(text, "finish")) end

  it("parses objects and arrays, in one piece or in many", function()
    assert.same({ a = { 1, 2, { b = "c" } }, n = cjson.null }, parse '{"a":[1,2,{"b":"c"}],"n":null}')
    assert.same({ 1, 2 }, parse { "[", "1", ",", "2]" })
    assert.same({ "\195\164" }, parse '["\195\164"]')
    assert.same({ "a" }, parse '\239\187\191["a"]')
  end)

  it("takes names as names: nothing of Lua is behind them", function()
    local body = parse '{"__index":{"admin":true},"__proto__":{"admin":true},"__gc":1}'
    assert.is_nil(getmetatable(body))
    assert.is_nil(body.admin)
    assert.same({ admin = true }, body.__index)
  end)

  it("leaves alone what is not JSON, or no body at all", function()
    for _, kind in ipairs { "text/plain", "application/jsonx", "application/x-www-form-urlencoded", "json", "a/b;" } do
      assert.is_function(parse("{}", nil, { ["content-type"] = kind }))
    end
    assert.is_function(parse("{}", nil, { ["content-type"] = false }))
    assert.is_function(parse(nil))
    assert.is_function(parse(""))
    assert.same({}, parse("{}", nil, { ["content-type"] = "application/problem+json; charset=UTF-8" }))
    assert.same({}, parse("{}", { types = { "text/*" } }, { ["content-type"] = "text/plain" }))
  end)

  it("leaves alone what another has parsed", function()
    local req = fakes.request("/", { headers = { ["content-type"] = "application/json" }, body = "[1]" })
    local app = connect(connect.json(), connect.json(), function(_, res) res:finish "ok" end)
    local res = fakes.response()
    fakes.run(function() app(req, res) end)
    assert.same({ 1 }, req.body)
    assert.equal("ok", res:body())
  end)

  describe("refuses by 400:", function()
    local CASES = {
      "{", "[1,]", "[1] x", '{"a":1}}', "[NaN]", "[Infinity]", "[0x10]", "[01]", "{'a':1}", "{a:1}", '["\\x"]', "[tru]",
      '["\255"]', '["\192\175"]', '["\237\160\128"]', "7", '"text"', "null", "true", "   ", "\0[]", "[1,,2]",
    }
    for _, text in ipairs(CASES) do
      it(("%q"):format(text), function() assert.equal(400, (select(2, parse(text)))) end)
    end
  end)

  it("takes anything at the top when it is not strict", function()
    assert.equal(7, parse("7", { strict = false }))
    assert.equal("x", parse('"x"', { strict = false }))
  end)

  it("limits the depth", function()
    local function nested(n) return ("["):rep(n) .. ("]"):rep(n) end
    assert.is_table(parse(nested(32)))
    assert.equal(400, (select(2, parse(nested(33)))))
    assert.equal(400, (select(2, parse(nested(50000)))))
    assert.equal(400, (select(2, parse(('{"a":'):rep(33) .. "1" .. ("}"):rep(33)))))
    assert.is_table(parse(nested(100), { depth = 100 }))
    assert.is_table(parse(nested(2), { depth = 2 }))
    assert.equal(400, (select(2, parse(nested(3), { depth = 2 }))))
  end)

  it("limits the size, by what was declared and by what comes", function()
    local text = "[" .. (" "):rep(98) .. "]"
    assert.same({}, parse(text, { limit = 100 }))
    assert.equal(413, (select(2, parse(text .. " ", { limit = 100 }))))
    local pieces = {}
    for i = 1, #text do pieces[i] = text:sub(i, i) end
    assert.same({}, parse(pieces, { limit = 100 }, { ["transfer-encoding"] = "chunked" }))
    table.insert(pieces, " ")
    assert.equal(413, (select(2, parse(pieces, { limit = 100 }, { ["transfer-encoding"] = "chunked" }))))
  end)

  describe("charset:", function()
    local CASES = {
      ["utf-8"] = true, ['"UTF-8"'] = true, utf8 = true, ["us-ascii"] = true, ["utf-7"] = 415, ["utf-16"] = 415,
      ["iso-8859-1"] = 415, ["utf-32le"] = 415, ["x-user-defined"] = 415,
    }
    for charset, wanted in pairs(CASES) do
      it(charset, function()
        local body, status = parse("[1]", nil, { ["content-type"] = "application/json; charset=" .. charset })
        if wanted == true then assert.same({ 1 }, body) else assert.equal(wanted, status) end
      end)
    end

    it("twice is no Content-Type at all: two readers could choose differently", function()
      assert.is_function(parse("[1]", nil, { ["content-type"] = "application/json; charset=utf-8; charset=utf-7" }))
    end)
  end)

  describe("Content-Encoding:", function()
    local TEXT = '{"a":"' .. ("b"):rep(500) .. '"}'

    it("gzip and deflate are undone, in any pieces", function()
      local bytes = gzip(TEXT)
      local single = {}
      for i = 1, #bytes do single[i] = bytes:sub(i, i) end
      assert.equal(500, #parse(bytes, nil, { ["content-encoding"] = "gzip" }).a)
      assert.equal(500, #parse(single, nil, { ["content-encoding"] = "X-GZIP" }).a)
      assert.equal(500, #parse(zlib.deflate(9, 15)(TEXT, "finish"), nil, { ["content-encoding"] = "deflate" }).a)
      assert.equal(500, #parse(TEXT, nil, { ["content-encoding"] = "identity" }).a)
    end)

    it("others are 415, and all when it is switched off", function()
      for _, coding in ipairs { "br", "zstd", "gzip, gzip", "gzip, identity", "nonsense" } do
        assert.equal(415, (select(2, parse(gzip(TEXT), nil, { ["content-encoding"] = coding }))))
      end
      assert.equal(415, (select(2, parse(gzip(TEXT), { inflate = false }, { ["content-encoding"] = "gzip" }))))
    end)

    it("a bomb is 413 before it is large", function()
      local deflate, parts = zlib.deflate(9, 31), {}
      for i = 1, 100 do parts[i] = deflate(("\0"):rep(1024 * 1024)) end
      parts[#parts + 1] = deflate("", "finish")
      local bomb = table.concat(parts)
      assert.is_true(#bomb < 200000)
      collectgarbage()
      local before = collectgarbage "count"
      collectgarbage "stop"
      local _, status = parse(bomb, { limit = 1024 * 1024 }, { ["content-encoding"] = "gzip" })
      local grown = collectgarbage "count" - before
      collectgarbage "restart"
      assert.equal(413, status)
      assert.is_true(grown < 16 * 1024, grown .. " kB for a bomb of 100 MB")
    end)

    it("what is malformed, cut off, or goes on behind its end is 400", function()
      local bytes = gzip(TEXT)
      for _, broken in ipairs { "no gzip at all", bytes:sub(1, -2), bytes:sub(1, 5), bytes .. "x", bytes .. bytes,
          bytes:sub(1, -6) .. "x" .. bytes:sub(-4) } do
        assert.equal(400, (select(2, parse(broken, nil, { ["content-encoding"] = "gzip" }))))
      end
      assert.equal(400, (select(2, parse({ bytes, "x" }, nil, { ["content-encoding"] = "gzip" }))))
    end)
  end)

  it("passes on why the body could not be read", function()
    for code, status in pairs { ETOOBIG = 413, EPROTO = 400, ETIMEDOUT = 408, ECLOSED = 400 } do
      local _, got, message = parse({ "[" }, nil, nil, { "because", code })
      assert.equal(status, got)
      assert.equal("because", message)
    end
  end)

  it("shows the text to verify before it is parsed", function()
    local seen
    local body = parse("[ 1 ]", { verify = function(_, text) seen = text end })
    assert.same({ 1 }, body)
    assert.equal("[ 1 ]", seen)
    assert.equal(403, (select(2, parse("[1]", { verify = function() return false end }))))
  end)

  it("is not slowed down by names that are made to collide", function()
    -- Equal length, and equal where the hash of LuaJIT looks at first.
    local parts = {}
    for i = 1, 20000 do parts[i] = ('"aaaa%s%08d%sdddd":1'):format(("b"):rep(20), i, ("c"):rep(160)) end
    local before = os.clock()
    local body = parse("{" .. table.concat(parts, ",") .. "}", { limit = 8 * 1024 * 1024 })
    assert.is_table(body)
    assert.is_true(os.clock() - before < 5, ("%.1f s"):format(os.clock() - before))
  end)

  it("refuses wrong options", function()
    for _, given in ipairs { { limits = 1 }, { limit = "1mb" }, { depth = 0 }, { types = "text/plain" } } do
      local ok, message = pcall(function() connect.json(given) end)
      assert.is_false(ok)
      assert.truthy(tostring(message):find("connect_json_spec.lua:%d+: json%(options%)"), tostring(message))
    end
  end)
end)
