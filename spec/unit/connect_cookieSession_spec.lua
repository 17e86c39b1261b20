local cjson = require "cjson"
local fakes = require "spec.unit.connect_fakes"

local connect = require "clua.connect"
local secure = require "clua.connect.secure"

local KEY, OLD_KEY = ("k"):rep(32), ("o"):rep(32)

describe("clua.connect.cookieSession", function()
  -- Sends a request with this Cookie header to handler(session, req); returns the cookie that came back ("name=value")
  -- or nil, its whole line, and the answer.
  local function visit(header, handler, given)
    local all = { keys = KEY }
    for name, value in pairs(given or {}) do all[name] = value end
    return fakes.visit(connect.cookieSession(all), header, handler)
  end

  local function see(header, given)
    local seen
    visit(header, function(session)
      seen = {}
      for name, value in pairs(session) do seen[name] = value end
    end, given)
    return seen
  end

  it("keeps what is put in, where the client cannot read it", function()
    local header, line = visit(nil, function(session)
      session.user = "ann"
      session.cart = { "x", { y = 1 } }
    end)
    assert.truthy(line:find("^session=[%w_-]+; Max%-Age=86400; Path=/; HttpOnly; SameSite=Lax$"), line)
    assert.falsy(line:find("ann", 1, true))
    assert.same({ user = "ann", cart = { "x", { y = 1 } } }, see(header))
  end)

  it("sends no cookie when nothing is in it, or nothing has changed", function()
    assert.is_nil((visit(nil, function() end)))
    local header = visit(nil, function(session) session.a = 1 end)
    assert.is_nil((visit(header, function(session) assert.equal(1, session.a) end)))
    assert.is_string((visit(header, function(session) session.a = 2 end)))
    assert.is_string((visit(header, function() end, { rolling = true })))
  end)

  it("removes the cookie when it is emptied or set to nil", function()
    local header = visit(nil, function(session) session.a = 1 end)
    for _, handler in ipairs {
      function(session) session.a = nil end,
      function(_, req) req.session = nil end,
      function(_, req) req.session = {} end,
    } do
      local cleared, line = visit(header, handler)
      assert.equal("session=", cleared)
      assert.truthy(line:find("Max-Age=0", 1, true))
    end
  end)

  it("is empty when it was tampered with, and the cookie goes", function()
    local header = visit(nil, function(session) session.user = "ann" end)
    local token = header:match("=(.*)")
    local forged = { "session=", "session=x", "session=" .. token:sub(1, -2), "session=" .. token .. "A",
      "session=" .. token:reverse(), "session=" .. token:lower(), 'session={"d":{"user":"admin"},"e":99999999999}',
      "session=" .. ("A"):rep(200) }
    for i = 1, #token, 3 do
      local c = token:sub(i, i) == "A" and "Q" or "A"
      forged[#forged + 1] = "session=" .. token:sub(1, i - 1) .. c .. token:sub(i + 1)
    end
    for _, one in ipairs(forged) do
      assert.same({}, see(one))
    end
    assert.equal("session=", (visit(forged[3], function() end)))
  end)

  it("takes no cookie of another name for its own", function()
    local header = visit(nil, function(session) session.user = "ann" end, { name = "one" })
    assert.same({ user = "ann" }, see(header, { name = "one" }))
    assert.same({}, see((header:gsub("^one", "two")), { name = "two" }))
  end)

  it("rotates keys: the first seals, all open", function()
    local header = visit(nil, function(session) session.user = "ann" end, { keys = OLD_KEY })
    assert.same({}, see(header))
    assert.same({ user = "ann" }, see(header, { keys = { KEY, OLD_KEY } }))
    local renewed = visit(header, function(session) session.seen = true end, { keys = { KEY, OLD_KEY } })
    assert.same({ user = "ann", seen = true }, see(renewed))
  end)

  it("expires by the time inside, whatever the client does", function()
    local function sealed(expires)
      return "session=" .. secure.seal({ KEY }, "session session", cjson.encode { e = expires, d = { user = "ann" } })
    end
    assert.same({ user = "ann" }, see(sealed(os.time() + 60)))
    assert.same({}, see(sealed(os.time() - 1)))
    assert.same({}, see(sealed(cjson.null)))
    local header = visit(nil, function(session) session.user = "ann" end, { max_age = 100 })
    local inside = cjson.decode(secure.open({ KEY }, "session session", header:match("=(.*)")))
    assert.is_true(math.abs(inside.e - os.time() - 100) <= 5)
  end)

  it("takes nothing for a session that it has not made, even when it is sealed", function()
    for _, text in ipairs { "", "7", "null", "[]", '{"e":99999999999}', '{"e":99999999999,"d":7}', "{", "\0" } do
      assert.same({}, see("session=" .. secure.seal({ KEY }, "session session", text)))
    end
  end)

  it("is an error of the handler when it is too large, or holds what JSON cannot", function()
    local log, release = fakes.capture_log()
    local _, _, large = visit(nil, function(session) session.text = ("x"):rep(4096) end)
    local _, _, wrong = visit(nil, function(session) session.fn = print end)
    release()
    assert.equal(500, large.statusCode)
    assert.is_nil(large.headers["set-cookie"])
    assert.truthy(log[1].text:find("needs a cookie of %d+ bytes, and browsers take 4096"), log[1].text)
    assert.equal(500, wrong.statusCode)
    local fits = visit(nil, function(session) session.text = ("x"):rep(2800) end)
    assert.is_string(fits)
    assert.is_true(#fits < 4096)
  end)

  it("refuses wrong options", function()
    local CASES = {
      { nil, "a key, or a list" }, { {}, "a key, or a list" }, { { keys = "short" }, "at least 16" },
      { { keys = {} }, "a list of keys" }, { { keys = KEY, maxage = 1 }, "did you mean 'max_age'" },
      { { keys = KEY, name = "a b" }, "no name of a cookie" }, { { keys = KEY, same_site = "None" }, "needs secure" },
      { { keys = KEY, max_age = 0 }, "more than 0" }, { { keys = KEY, path = "x" }, "begins with '/'" },
    }
    for _, case in ipairs(CASES) do
      local ok, message = pcall(function() connect.cookieSession(case[1]) end)
      assert.is_false(ok)
      assert.truthy(tostring(message):find(case[2], 1, true), tostring(message))
      assert.truthy(tostring(message):find("connect_cookieSession_spec.lua:%d+: "), tostring(message))
    end
  end)
end)
