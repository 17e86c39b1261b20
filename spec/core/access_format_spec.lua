-- The format of access lines, and how values stand in them (src/http_access_format.c).

local core = require "spec.support.core"
local ffi = require "ffi"
local json = require "cjson"

local function compile(text, is_json)
  local out, why = ffi.new "struct http_access_format", ffi.new "char[128]"
  local err = core.http_access_compile(out, text, is_json or false, why, 128)
  if err < 0 then return nil, ffi.string(why) end
  return out
end

local variables = {}
for i = 0, 100 do
  local name = core.http_access_variable_name(i)
  if name == nil then break end
  variables[i + 1] = ffi.string(name)
end

-- "text", "$variable", "$variable:field"
local function parts(text)
  local format = assert(compile(text))
  local list = {}
  for i = 0, format.count - 1 do
    local part = format.parts[i]
    local own = ffi.string(format.text + part.at, part.len)
    list[i + 1] = part.variable == 0 and own or "$" .. variables[part.variable] .. (own ~= "" and ":" .. own or "")
  end
  return list
end

local function put(value, is_json)
  local line = ffi.new "struct buffer"
  core.http_access_put(line, value, #value, is_json or false)
  local text = ffi.string(line.data, line.len)
  core.buffer_free(line)
  return text
end

describe("the format of an access log", function()
  it("is text with variables", function()
    assert.same({ "text" }, parts "text")
    assert.same({ "$status" }, parts "$status")
    assert.same({ "a ", "$status", "b", "$request", "$name", " c" }, parts "a ${status}b$request$name c")
    assert.same({ "$", "status ", "$" }, parts "$$status $$")
    assert.same({ "\"", "$http_:user-agent", "\"", "$sent_http_:x-id" }, parts '"$http_User_Agent"$sent_http_x_id')
  end)

  it("knows its variables", function()
    assert.is_true(#variables >= 20)
    for _, name in ipairs(variables) do
      local field = name:find("_$") and "x" or ""
      assert.equal(1, #parts("$" .. name .. field), name)
    end
  end)

  it("is refused, with the reason, when it makes no sense", function()
    for text, want in pairs {
      [""] = "empty", ["$"] = "name of a variable", ["a $ b"] = "name of a variable",
      ["${status"] = "name of a variable",
      ["$statuz"] = "$statuz", ["$STATUS"] = "$STATUS", ["$http_"] = "$http_", ["a\nb"] = "line end",
      [("x"):rep(1024)] = "too long", [("$pid "):rep(40)] = "too long",
    } do
      local ok, why = compile(text)
      assert.is_nil(ok, text)
      assert.truthy(why:find(want, 1, true), text .. ": " .. why)
    end
    assert.truthy(compile(("x"):rep(1023)))
  end)
end)

describe("a value of an access log", function()
  it("is as it was sent, when nothing in it could be mistaken", function()
    assert.equal("GET /a?b=c%20d HTTP/1.1", put "GET /a?b=c%20d HTTP/1.1")
    assert.equal("-", put "")
    assert.equal("", put("", true))
  end)

  it("cannot end its line, its quotes, or look like an escape", function()
    assert.equal("a\\x0A\\x0D\\x00\\x22\\x5Cx22\\x7F\\x80\\xFF\\x09", put "a\n\r\0\"\\x22\127\128\255\t")
    for byte = 0, 255 do
      local text = put(string.char(byte))
      assert.is_nil(text:find("[%c\"\128-\255]"), byte)
      assert.is_true(byte == 92 or text == string.char(byte) or text == ("\\x%02X"):format(byte))
    end
  end)

  it("is a JSON string, whatever its bytes are", function()
    local function read(value) return json.decode('["' .. put(value, true) .. '"]')[1] end
    for byte = 0, 127 do assert.equal(string.char(byte), read(string.char(byte))) end
    for _, text in ipairs { "äöü €", "\240\159\152\128", "\227\129\130x", "a\"b\\c\nd" } do
      assert.equal(text, read(text))
    end
    -- What is no UTF-8 stands there byte by byte: overlong, surrogate, cut, beyond the last, lone.
    for _, bytes in ipairs { "\192\128", "\224\128\128", "\237\160\128", "\240\128\128\128", "\244\144\128\128", "\195",
      "\226\130", "\255", "\128", "\195(" } do
      local want = bytes:gsub("[\128-\255]", function(c) return ("\\u00%02X"):format(c:byte()) end)
      assert.equal(want, put(bytes, true))
      assert.is_string(read(bytes))
    end
  end)

  it("is cut when it is absurdly long", function()
    assert.equal(8192, #put(("x"):rep(100000)))
  end)
end)
