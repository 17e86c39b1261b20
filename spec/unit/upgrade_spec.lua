-- The pure parts of an upgrade: which registration is which, and who needs new workers.

local adopting = require "clua.upgrade.adopting"
local upgrade = require "clua.upgrade"

local function registration(name, ...)
  local specs = {}
  for i, address in ipairs { ... } do
    local host, port = address:match("^(.-):(%d+)$")
    specs[i] = host and { host = host, port = tonumber(port) } or { path = address }
  end
  return { name = name, specs = specs }
end

local function old(name, ...)
  local addresses = {}
  for i, key in ipairs { ... } do addresses[i] = { key = key, bound = key } end
  return { name = name, addresses = addresses }
end

describe("clua.upgrade", function()
  it("names an address as the script does", function()
    assert.equal("127.0.0.1:80", upgrade.key { host = "127.0.0.1", port = 80 })
    assert.equal(":0", upgrade.key { host = "", port = 0 })
    assert.equal("/run/x.sock", upgrade.key { path = "/run/x.sock" })
  end)

  describe("match", function()
    it("knows a registration by its name", function()
      local a, b = registration("80", ":80"), registration("word")
      local old_a, old_b, gone = old("80", ":80"), old("word"), old("81", ":81")
      local previous, successor = adopting.match({ registrations = { gone, old_b, old_a } }, { a, b })
      assert.equal(old_a, previous[a])
      assert.equal(old_b, previous[b])
      assert.is_nil(successor[gone])
    end)

    it("knows one whose list of addresses has changed by one that it has kept", function()
      local a = registration("80,82", ":80", ":82")
      local before = old("80,81", ":80", ":81")
      assert.equal(before, adopting.match({ registrations = { before } }, { a })[a])
    end)

    it("gives a name before it looks at addresses, and each to one only", function()
      local a, b = registration("80,81", ":80", ":81"), registration("81", ":81")
      local before = old("81", ":81")
      local previous, successor = adopting.match({ registrations = { before } }, { a, b })
      assert.is_nil(previous[a])
      assert.equal(before, previous[b])
      assert.equal(b, successor[before])
      local c, d = registration("1,2", ":1", ":2"), registration("1,3", ":1", ":3")
      previous = adopting.match({ registrations = { old("1,4", ":1", ":4") } }, { c, d })
      assert.truthy(previous[c])
      assert.is_nil(previous[d])
    end)

    it("does not confuse what has nothing in common", function()
      local a = registration("80", ":80")
      assert.same({}, (adopting.match({ registrations = { old("81", ":81"), old("word") } }, { a })))
    end)
  end)

  describe("needs_reload", function()
    local function options(change)
      local all = { name = "80", script = "/app.lua", cnum = 2, args = "one\0", maxc = 0, linger = 0.2,
        hang_timeout = 60, gone = "gone" }
      for name, value in pairs(change or {}) do all[name] = value end
      return all
    end

    it("is said of what a worker is told at its start", function()
      for name, value in pairs { script = "/other.lua", args = "two\0", maxc = 7, linger = 1, user = "nobody" } do
        assert.is_true(upgrade.needs_reload(options(), options { [name] = value }), name)
        assert.is_true(upgrade.needs_reload(options { [name] = value }, options()), name)
      end
    end)

    it("is not said of what only the master uses", function()
      assert.is_false(upgrade.needs_reload(options(), options()))
      for name, value in pairs { cnum = 5, hang_timeout = 1, gone = "x", queue_max = 1, mode = 432,
        balance = function() end } do
        assert.is_false(upgrade.needs_reload(options(), options { [name] = value }), name)
      end
    end)
  end)
end)
