local fakes = require "spec.unit.connect_fakes"

local base64 = require "clua.connect.base64"
local connect = require "clua.connect"
local cookie = require "clua.http.cookie"
local secure = require "clua.connect.secure"

local KEY, OLD_KEY = ("k"):rep(32), ("o"):rep(32)

describe("clua.http.cookie", function()
  describe("parses", function()
    local CASES = {
      { nil, {} }, { "", {} }, { "a=1", { a = "1" } }, { "a=1; b=2", { a = "1", b = "2" } }, { "a=1;b=2", { a = "1",
        b = "2" } }, { " a = 1 ;; ;b=", { a = "1", b = "" } }, { 'a="quoted"', { a = "quoted" } },
      { "a=b=c", { a = "b=c" } }, { "a=1; a=2", { a = "1" } }, { "nothing", {} }, { "=x", {} },
      { "a=%C3%A4%3B", { a = "\195\164;" } }, { "a=100%", { a = "100%" } }, { "a=%zz", { a = "%zz" } },
      { "__index=1; __proto__=2", { __index = "1", __proto__ = "2" } },
    }
    for i, case in ipairs(CASES) do
      it(("no. %d: %s"):format(i, tostring(case[1])), function() assert.same(case[2], cookie.parse(case[1])) end)
    end

    it("many without delay", function()
      local before = os.clock()
      cookie.parse(("a=1;"):rep(100000) .. ("="):rep(100000) .. (" "):rep(100000) .. ";" .. (";"):rep(100000))
      cookie.parse("a" .. (" "):rep(100000) .. "b=" .. ("x" .. (" "):rep(1000)):rep(100) .. "y")
      assert.is_true(os.clock() - before < 3)
    end)
  end)

  describe("makes", function()
    local CASES = {
      { { "a", "1" }, "a=1; Path=/; HttpOnly; SameSite=Lax" },
      { { "a", "x y;\r\n,\\\"%" }, "a=x%20y%3B%0D%0A%2C%5C%22%25; Path=/; HttpOnly; SameSite=Lax" },
      { { "a", 7, { path = "/x", httpOnly = false, sameSite = false } }, "a=7; Path=/x" },
      { { "a", "1", { maxAge = 3600.9, secure = true, sameSite = "none" } },
        "a=1; Max-Age=3600; Path=/; HttpOnly; Secure; SameSite=None" },
      { { "a", "1", { domain = "example.com", expires = 0, sameSite = true } },
        "a=1; Domain=example.com; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Strict" },
      { { "__Host-a", "1", { secure = true } }, "__Host-a=1; Path=/; HttpOnly; Secure; SameSite=Lax" },
      { { "a", "raw!", { encode = false } }, "a=raw!; Path=/; HttpOnly; SameSite=Lax" },
    }
    for _, case in ipairs(CASES) do
      it(case[2], function() assert.equal(case[2], cookie.serialize(unpack(case[1]))) end)
    end

    it("what it can read again, whatever the bytes", function()
      local bytes = {}
      for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
      local value = table.concat(bytes)
      assert.equal(value, cookie.parse(cookie.serialize("a", value):match("^[^;]*")).a)
    end)
  end)

  describe("refuses", function()
    local CASES = {
      { "a\r\nSet-Cookie: b", "1" }, { "", "1" }, { "a b", "1" }, { "a;b", "1" }, { "a=b", "1" }, { "a\0", "1" },
      { "\195\164", "1" }, { 7, "1" }, { "a", {} }, { "a", nil },
      { "a", "x\r\nSet-Cookie: b=1", { encode = false } }, { "a", "x; Domain=evil", { encode = false } },
      { "a", "1", { path = "/\r\nX: 1" } }, { "a", "1", { path = "/; Domain=evil" } }, { "a", "1", { path = "x" } },
      { "a", "1", { domain = "evil\r\nX: 1" } }, { "a", "1", { domain = "a b" } }, { "a", "1", { domain = "a;b" } },
      { "a", "1", { sameSite = "None" } }, { "a", "1", { sameSite = "Lax; Secure" } },
      { "a", "1", { partitioned = true } }, { "__Secure-a", "1" }, { "__Host-a", "1" },
      { "__Host-a", "1", { secure = true, path = "/x" } }, { "__host-a", "1", { secure = true, domain = "a.b" } },
    }
    for i, case in ipairs(CASES) do
      it(("no. %d: %q"):format(i, tostring(case[1])), function()
        local ok, message = pcall(cookie.serialize, unpack(case, 1, 3))
        assert.is_false(ok)
        assert.falsy(tostring(message):find("[\r\n]"))
      end)
    end

    it("unknown options, at the caller's line", function()
      local ok, message = pcall(function() cookie.set(fakes.response(), "a", "1", { maxage = 1 }) end)
      assert.is_false(ok)
      assert.truthy(tostring(message):find("connect_cookieParser_spec.lua:%d+: .*did you mean 'maxAge'"))
    end)

    it("more bytes of name and value than browsers take, at the caller's line", function()
      local res = fakes.response()
      res:setCookie("a", ("x"):rep(4095))
      for value, bytes in pairs { [("x"):rep(4096)] = 4097, [("\n"):rep(1366)] = 4099 } do
        local ok, message = pcall(function() cookie.set(res, "a", value) end)
        assert.is_false(ok)
        assert.truthy(message:find(("connect_cookieParser_spec.lua:%%d+: setCookie 'a': .* %d bytes"):format(bytes)),
          message)
      end
    end)
  end)

  it("adds a line for each cookie, and one only for the same name, domain and path", function()
    local res = fakes.response()
    res:setCookie("a", "1"):setCookie("b", "2"):setCookie("a", "3"):setCookie("a", "4", { path = "/x" })
    local lines = res.headers["set-cookie"]
    assert.equal(3, #lines)
    assert.truthy(lines[1]:find("^b=2;"))
    assert.truthy(lines[2]:find("^a=3; Path=/;"))
    assert.truthy(lines[3]:find("^a=4; Path=/x;"))
    res:clearCookie("a", { path = "/x" })
    assert.truthy(lines[3]:find("^a=4"))
    assert.truthy(res.headers["set-cookie"][3]:find("^a=; Max%-Age=0; Path=/x; Expires=Thu, 01 Jan 1970"))
  end)
end)

describe("clua.connect.cookieParser", function()
  local function parse(header, keys)
    local _, req = fakes.send(connect(connect.cookieParser(keys), function(_, res) res:finish() end), "/",
      { headers = { cookie = header } })
    return req.cookies, req.signedCookies
  end

  -- What a browser would send back.
  local function signed(name, value, keys)
    local res = fakes.send(connect(connect.cookieParser(keys), function(_, res)
      res:setCookie(name, value, { signed = true })
      res:finish()
    end), "/")
    return res.headers["set-cookie"][1]:match("^[^;]*")
  end

  it("reads cookies", function()
    local cookies, none = parse "a=1; b=2"
    assert.same({ a = "1", b = "2" }, cookies)
    assert.is_nil(none)
    assert.same({}, (parse(nil)))
  end)

  it("checks signatures, also of older keys, and tells what was tampered with", function()
    local line = signed("user", "ann; admin=0", KEY)
    local cookies, checked = parse(line .. "; plain=1", { KEY, OLD_KEY })
    assert.same({ plain = "1" }, cookies)
    assert.same({ user = "ann; admin=0" }, checked)
    assert.same({ user = "ann; admin=0" }, select(2, parse(signed("user", "ann; admin=0", OLD_KEY), { KEY, OLD_KEY })))
    assert.same({ user = false }, select(2, parse(signed("user", "ann", OLD_KEY), KEY)))
  end)

  it("takes no signature for another name, no changed value, no changed or missing signature", function()
    local line = signed("user", "ann", KEY)
    local mac = line:match("[^.]*$")
    for _, forged in ipairs {
      (line:gsub("^user", "other")), (line:gsub("ann", "bob")), line:sub(1, -2), line .. "A",
      (line:gsub("%.[^.]*$", "")),
      (line:gsub("%.[^.]*$", ".")), "user=s:", "user=s:.", "user=s:ann." .. mac:upper(), "user=s:ann." .. ("A"):rep(43),
      (line:gsub("ann", "ann.ann")), "user=s:.ann." .. mac,
    } do
      local cookies, checked = parse(forged, KEY)
      assert.same({}, cookies)
      local _, value = next(checked)
      assert.is_false(value, forged)
    end
    for i = 1, #mac do
      local other = mac:sub(i, i) == "A" and "B" or "A"
      local _, checked = parse("user=s:ann." .. mac:sub(1, i - 1) .. other .. mac:sub(i + 1), KEY)
      assert.is_false(checked.user)
    end
  end)

  it("needs keys worth the name", function()
    for _, keys in ipairs { "short", {}, { KEY, "short" }, { 7 } } do
      local ok, message = pcall(function() connect.cookieParser(keys) end)
      assert.is_false(ok)
      assert.truthy(tostring(message):find("connect_cookieParser_spec.lua:%d+: cookieParser"), tostring(message))
    end
    local res = fakes.response()
    local ok, message = pcall(function() res:setCookie("a", "1", { signed = true }) end)
    assert.is_false(ok)
    assert.truthy(message:find("need connect.cookieParser with keys", 1, true))
  end)
end)

describe("clua.connect.base64", function()
  it("is that of RFC 4648, section 10", function()
    local VECTORS = { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=",
      foobar = "Zm9vYmFy" }
    for bytes, text in pairs(VECTORS) do
      assert.equal(text, base64.encode(bytes))
      assert.equal(bytes, base64.decode(text))
      assert.equal((text:gsub("=", "")), base64.url_encode(bytes))
      assert.equal(bytes, base64.url_decode((text:gsub("=", ""))))
    end
    assert.equal("-_-_", base64.url_encode("\251\255\191"))
    assert.equal("+/+/", base64.encode("\251\255\191"))
  end)

  it("is strict", function()
    for _, text in ipairs { "Z", "Zg=", "Zh==", "Zm9=", "Zm9v=", "Zg===", "Z g=", "Zm-v", "====", "Zg==Zg==" } do
      assert.is_nil(base64.decode(text), text)
    end
    for _, text in ipairs { "Z", "Zg==", "Zh", "Zm9", "Zm+v", "Zm/v", "Zm9v\n" } do
      assert.is_nil(base64.url_decode(text), text)
    end
  end)

  it("takes all lengths and bytes", function()
    for length = 0, 70 do
      local bytes = secure.random(length + 1):sub(1, length)
      assert.equal(bytes, base64.decode(base64.encode(bytes)))
      assert.equal(bytes, base64.url_decode(base64.url_encode(bytes)))
    end
  end)
end)

describe("clua.connect.secure", function()
  it("compares", function()
    assert.is_true(secure.equal("", ""))
    assert.is_true(secure.equal("abc", "abc"))
    for _, pair in ipairs { { "a", "" }, { "", "a" }, { "abc", "abd" }, { "abc", "abcabc" }, { "abcabc", "abc" } } do
      assert.is_false(secure.equal(pair[1], pair[2]))
    end
  end)

  it("seals: opened with the same key and for the same purpose alone, and not when a bit has changed", function()
    local keys = { KEY }
    local token = secure.seal(keys, "p", "secret text")
    assert.equal("secret text", secure.open(keys, "p", token))
    assert.equal("secret text", secure.open({ OLD_KEY, KEY }, "p", token))
    assert.equal("", secure.open(keys, "p", secure.seal(keys, "p", "")))
    assert.is_nil(secure.open({ OLD_KEY }, "p", token))
    assert.is_nil(secure.open(keys, "q", token))
    assert.not_equal(token, secure.seal(keys, "p", "secret text"))
    local bytes = base64.url_decode(token)
    for i = 1, #bytes do
      local changed = bytes:sub(1, i - 1) .. string.char(bit.bxor(bytes:byte(i), 1)) .. bytes:sub(i + 1)
      assert.is_nil(secure.open(keys, "p", base64.url_encode(changed)))
    end
    for length = 0, #bytes - 1 do
      assert.is_nil(secure.open(keys, "p", base64.url_encode(bytes:sub(1, length))))
    end
  end)

  it("makes tokens that differ, and masks that are undone", function()
    local seen = {}
    for _ = 1, 1000 do
      local token = secure.token()
      assert.equal(32, #token)
      assert.is_nil(seen[token])
      seen[token] = true
    end
    local a, b = secure.mask("secret"), secure.mask("secret")
    assert.not_equal(a, b)
    assert.equal("secret", secure.unmask(a))
    assert.equal("secret", secure.unmask(b))
    assert.is_nil(secure.unmask("AA"))
    assert.is_nil(secure.unmask("?"))
  end)
end)
