local fakes = require "spec.unit.connect_fakes"

local connect = require "clua.connect"

local NESTED = ("[a]"):rep(5)

-- text -> what it means, or a status. The same for bodies and for queries.
local CASES = {
  { "a=1&b=2", { a = "1", b = "2" } },
  { "", {} },
  { "a", { a = "" } },
  { "a=", { a = "" } },
  { "=1", { [""] = "1" } },
  { "&&a=1&&", { a = "1" } },
  { "a=1=2", { a = "1=2" } },
  { "a+b=c+d%2B", { ["a b"] = "c d+" } },
  { "a=%C3%A4%26", { a = "\195\164&" } },
  { "a%3Db=1", { ["a=b"] = "1" } },
  { "a=1&a=2&a=3", { a = { "1", "2", "3" } } },
  { "a[]=1", { a = { "1" } } },
  { "a[]=1&a[]=2", { a = { "1", "2" } } },
  { "a=1&a[]=2", { a = { "1", "2" } } },
  { "a[b]=1&a[c][d]=2", { a = { b = "1", c = { d = "2" } } } },
  { "a%5Bb%5D=1", { a = { b = "1" } } },
  { "a[0]=x&a[7]=y", { a = { ["0"] = "x", ["7"] = "y" } } },
  { "a[b]=1&a[b]=2", { a = { b = { "1", "2" } } } },
  { "a[b][]=1&a[b][]=2", { a = { b = { "1", "2" } } } },
  -- no names with brackets
  { "a[b=1", { ["a[b"] = "1" } },
  { "a]b=1", { ["a]b"] = "1" } },
  { "[a]=1", { ["[a]"] = "1" } },
  { "a[b]c=1", { ["a[b]c"] = "1" } },
  { "a[b]c[d]=1", { ["a[b]c[d]"] = "1" } },
  { "a[[b]]=1", { ["a[[b]]"] = "1" } },
  { "a[x[b]=1", { ["a[x[b]"] = "1" } },
  { "a[b]x[c]=1", { ["a[b]x[c]"] = "1" } },
  -- names that mean something elsewhere
  { "__index[admin]=1", { __index = { admin = "1" } } },
  { "__proto__[admin]=1&constructor=2", { __proto__ = { admin = "1" }, constructor = "2" } },
  { "a[__newindex]=1", { a = { __newindex = "1" } } },
  { "a" .. NESTED .. "=1", { a = { a = { a = { a = { a = { a = "1" } } } } } } },
  -- refused
  { "a=%", 400 }, { "a=%2", 400 }, { "a=%zz", 400 }, { "%=1", 400 }, { "a=%u0041", 400 },
  { "a=%FF", 400 }, { "a=%C0%AF", 400 }, { "a=%ED%A0%80", 400 },
  { "a=1&a[b]=2", 400 }, { "a[b]=1&a=2", 400 }, { "a[]=1&a[b]=2", 400 }, { "a[][b]=1", 400 },
  { "a" .. NESTED .. "[a]=1", 400 },
  { "a" .. ("[a]"):rep(30000) .. "=1", 400 },
  { ("a&"):rep(1001), 413 },
}

local function check(found, refusal, wanted, text)
  if type(wanted) == "number" then
    assert.equal(wanted, refusal and refusal.status, text:sub(1, 80))
  else
    assert.is_nil(refusal, text)
    assert.same(wanted, found, text)
    assert.is_nil(getmetatable(found))
  end
end

describe("clua.connect.urlencoded", function()
  local function parse(text, given, headers)
    local body, refusal
    local all = { ["content-type"] = "application/x-www-form-urlencoded" }
    for name, value in pairs(headers or {}) do all[name] = value end
    local middleware = connect.urlencoded(given)
    local req = fakes.request("/", { method = "POST", headers = all, body = text })
    fakes.run(function()
      middleware(req, fakes.response(), function(err) refusal, body = err, req.body end)
    end)
    return body, refusal
  end

  for _, case in ipairs(CASES) do
    if case[1] ~= "" then
      it(case[1]:sub(1, 60), function()
        local body, refusal = parse(case[1])
        check(body, refusal, case[2], case[1])
      end)
    end
  end

  it("takes brackets as they are when it is told so", function()
    assert.same({ ["a[b]"] = "1", ["a[]"] = { "2", "3" } }, (parse("a[b]=1&a[]=2&a[]=3", { nested = false })))
  end)

  it("takes UTF-8 and nothing else", function()
    local function with(charset)
      return { ["content-type"] = "application/x-www-form-urlencoded; charset=" .. charset }
    end
    assert.same({ a = "1" }, (parse("a=1", nil, with "UTF-8")))
    for _, charset in ipairs { "iso-8859-1", "utf-7", "utf-16", "ibm037", "shift_jis" } do
      assert.equal(415, select(2, parse("a=1", nil, with(charset))).status)
    end
    assert.equal(400, select(2, parse("a=\255")).status)
  end)

  it("limits size and number", function()
    assert.equal(413, select(2, parse(("a"):rep(101), { limit = 100 })).status)
    assert.same({ a = "1", b = "2" }, (parse("a=1&b=2", { parameters = 2 })))
    assert.equal(413, select(2, parse("a=1&b=2&c=3", { parameters = 2 })).status)
    assert.equal(400, select(2, parse("a[b][c]=3", { depth = 1 })).status)
    assert.same({ a = { b = "3" } }, (parse("a[b]=3", { depth = 1 })))
  end)

  it("leaves other bodies alone", function()
    assert.is_function((parse("a=1", nil, { ["content-type"] = "text/plain" })))
  end)

  it("refuses wrong options", function()
    local ok, message = pcall(function() connect.urlencoded { parameter = 1 } end)
    assert.is_false(ok)
    assert.truthy(tostring(message):find("connect_urlencoded_spec.lua:%d+: .*did you mean 'parameters'"))
  end)
end)

describe("clua.connect.query", function()
  local function parse(url, given)
    local query, refusal
    local req = fakes.request(url)
    connect.query(given)(req, fakes.response(), function(err) refusal, query = err, req.query end)
    return query, refusal
  end

  for _, case in ipairs(CASES) do
    it("?" .. case[1]:sub(1, 60), function()
      local query, refusal = parse("/path?" .. case[1])
      check(query, refusal, case[2], case[1])
    end)
  end

  it("is empty without a query, and ends before a fragment", function()
    assert.same({}, (parse "/"))
    assert.same({ a = "1" }, (parse "http://host/?a=1#b=2"))
    assert.same({ a = "/?x" }, (parse "/?a=/?x"))
  end)

  it("has limits of its own", function()
    assert.equal(413, select(2, parse("/?a&b", { parameters = 1 })).status)
    assert.equal(400, select(2, parse("/?a[b][c]", { depth = 1 })).status)
  end)
end)
