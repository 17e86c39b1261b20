local fakes = require "spec.unit.connect_fakes"

local connect = require "clua.connect"
local memory_store = require "clua.connect.memory_store"

describe("clua.connect.session", function()
  local store, calls

  -- The memory store, with a record of what is asked of it.
  before_each(function()
    calls = {}
    local inner = memory_store()
    store = setmetatable({}, { __index = inner })
    for _, name in ipairs { "get", "set", "touch", "destroy" } do
      store[name] = function(_, ...)
        calls[#calls + 1] = name
        return inner[name](inner, ...)
      end
    end
    store.inner = inner
  end)

  local function visit(header, handler, given)
    local all = { store = store }
    for name, value in pairs(given or {}) do all[name] = value end
    return fakes.visit(connect.session(all), header, handler)
  end

  local function see(header)
    local seen = {}
    visit(header, function(session)
      for name, value in pairs(session) do seen[name] = value end
    end)
    return seen
  end

  it("keeps data on the server, and sends an id that says nothing", function()
    local header, line = visit(nil, function(session)
      session.user = "ann"
      assert.equal(32, #session:id())
    end)
    assert.truthy(line:find("^session=[%w_-]+; Max%-Age=86400; Path=/; HttpOnly; SameSite=Lax$"), line)
    assert.equal(32, #header:match("=(.*)"))
    assert.same({ user = "ann" }, see(header))
  end)

  it("stores nothing and sends nothing for visitors without data, unless it is told to", function()
    assert.is_nil((visit(nil, function() end)))
    assert.same({}, calls)
    assert.is_string((visit(nil, function() end, { save_uninitialized = true })))
    assert.same({ "set" }, calls)
  end)

  it("stores what has changed, and keeps alive what has not", function()
    local header = visit(nil, function(session) session.list = { 1 } end)
    calls = {}
    assert.is_nil((visit(header, function() end)))
    assert.same({ "get", "touch" }, calls)
    calls = {}
    assert.is_nil((visit(header, function(session) table.insert(session.list, 2) end)))
    assert.same({ "get", "set" }, calls)
    assert.same({ list = { 1, 2 } }, see(header))
    assert.equal(header, (visit(header, function() end, { rolling = true })))
  end)

  it("never takes over an id that it has not given out", function()
    local planted = "session=" .. ("A"):rep(32)
    local header = visit(planted, function(session) session.user = "ann" end)
    assert.not_equal(planted, header)
    assert.same({}, see(planted))
    assert.same({ user = "ann" }, see(header))
    assert.equal("session=", (visit(planted, function() end)))
  end)

  it("asks the store for nothing that cannot be an id", function()
    for _, id in ipairs { "", "x", ("A"):rep(31), ("A"):rep(33), ("A"):rep(31) .. "/", "../../etc/passwd",
        ("%00"):rep(32), ("A"):rep(31) .. "%0A" } do
      calls = {}
      visit("session=" .. id, function() end)
      assert.same({}, calls, id)
    end
  end)

  it("regenerates: same data, new id, and the old one is dead", function()
    local old = visit(nil, function(session) session.user = "guest" end)
    local new = visit(old, function(session)
      session:regenerate()
      session.user = "ann"
    end)
    assert.not_equal(old, new)
    assert.same({}, see(old))
    assert.same({ user = "ann" }, see(new))
  end)

  it("destroys, and begins anew when something is set after that", function()
    local header = visit(nil, function(session) session.user = "ann" end)
    local cleared = visit(header, function(session)
      session:destroy()
      assert.is_nil(session.user)
    end)
    assert.equal("session=", cleared)
    assert.same({}, see(header))
    header = visit(nil, function(session) session.user = "ann" end)
    local new = visit(header, function(session)
      session:destroy()
      session.flash = "bye"
    end)
    assert.not_equal(header, new)
    assert.same({ flash = "bye" }, see(new))
    assert.same({}, see(header))
    assert.equal("session=", (visit(new, function(_, req) req.session = nil end)))
    assert.same({}, see(new))
  end)

  it("does not bring back what another request has destroyed meanwhile", function()
    local header = visit(nil, function(session) session.user = "ann" end)
    visit(header, function(session)
      session.late = true
      store.inner:destroy(header:match("=(.*)"))
    end)
    assert.same({}, see(header))
  end)

  it("saves when asked, also before the answer", function()
    local header
    local final = visit(nil, function(session)
      session.a = 1
      session:save()
      header = "session=" .. session:id()
      assert.same({ a = 1 }, see(header))
    end)
    assert.equal(header, final)
  end)

  it("takes names of methods as names of data without harm", function()
    local header = visit(nil, function(session)
      session.user = "ann"
      session.id = "mine"
    end)
    assert.same({ user = "ann", id = "mine" }, see(header))
  end)

  it("answers 503 when the store cannot be read, 500 when it cannot be written", function()
    local log, release = fakes.capture_log()
    local header = visit(nil, function(session) session.user = "ann" end)
    store.get = function() return nil, "no connection" end
    local _, _, res = visit(header, function() end)
    assert.equal(503, res.statusCode)
    store.get = nil
    store.set = function() return nil, "disk full" end
    _, _, res = visit(nil, function(session) session.user = "ann" end)
    release()
    assert.equal(500, res.statusCode)
    assert.is_nil(res.headers["set-cookie"])
    assert.truthy(log[1].text:find("no connection", 1, true))
    assert.truthy(log[2].text:find("disk full", 1, true))
  end)

  it("refuses wrong options", function()
    for given, wanted in pairs {
      [{ store = {} }] = "has no method get", [{ keys = "x" }] = "unknown option 'keys'",
      [{ name = "" }] = "no name of a", [{ max_age = 0 }] = "more than 0",
    } do
      local ok, message = pcall(function() connect.session(given) end)
      assert.is_false(ok)
      assert.truthy(tostring(message):find(wanted, 1, true), tostring(message))
      assert.truthy(tostring(message):find("connect_session_spec.lua:%d+: "), tostring(message))
    end
  end)
end)

describe("clua.connect.memory_store", function()
  it("refuses what is no number of sessions", function()
    for _, max in ipairs { "x", -1, 0, 0 / 0 } do
      local ok, message = pcall(function() memory_store(max) end)
      assert.is_false(ok)
      assert.truthy(tostring(message):find("connect_session_spec.lua:%d+: memory_store%(max%): a number"),
        tostring(message))
    end
  end)

  local time, store

  before_each(function()
    time = 0
    store = memory_store(3, function() return time end)
  end)

  it("forgets after the time, counted from the last visit", function()
    store:set("a", "1", 10, true)
    time = 9
    assert.equal("1", store:get("a"))
    store:touch("a", 10)
    time = 18
    assert.equal("1", store:get("a"))
    time = 19
    assert.is_nil(store:get("a"))
    assert.equal(0, store.count)
  end)

  it("has room for so many; the one that was not used for longest goes", function()
    for _, id in ipairs { "a", "b", "c" } do store:set(id, id, 10, true) end
    store:touch("a", 10)
    store:set("d", "d", 10, true)
    assert.is_nil(store:get("b"))
    assert.equal("aacd", store:get("a") .. store:get("a") .. store:get("c") .. store:get("d"))
    assert.equal(3, store.count)
  end)

  it("gives expired ones up without being asked for them", function()
    for i = 1, 3 do store:set("x" .. i, "x", 10, true) end
    time = 20
    store:set("new", "x", 10, true)
    assert.equal(1, store.count)
  end)

  it("does not bring back what is gone", function()
    store:set("a", "1", 10, true)
    store:destroy("a")
    store:destroy("a")
    store:set("a", "2", 10, false)
    store:touch("a", 10)
    assert.is_nil(store:get("a"))
    assert.equal(0, store.count)
  end)
end)
