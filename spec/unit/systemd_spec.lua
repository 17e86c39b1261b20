-- What the variables mean, which socket belongs to whom, what is said when.

local systemd = require "clua.systemd"

local PID = 77

local function read(variables)
  return systemd.read(function(name) return variables[name] end, PID)
end

describe("clua.systemd", function()
  describe("the environment", function()
    it("says nothing without systemd", function()
      assert.same({ inherited = {} }, read {})
      assert.same({ inherited = {} }, read { NOTIFY_SOCKET = "" })
    end)

    it("gives the watchdog in seconds, when it watches this process", function()
      local told = { NOTIFY_SOCKET = "/n", WATCHDOG_USEC = "2500000" }
      assert.equal(2.5, read(told).watchdog)
      told.WATCHDOG_PID = "77"
      assert.equal(2.5, read(told).watchdog)
      told.WATCHDOG_PID = "78"
      assert.is_nil(read(told).watchdog)
      assert.is_nil(read { NOTIFY_SOCKET = "/n", WATCHDOG_USEC = "0" }.watchdog)
      assert.is_nil(read { NOTIFY_SOCKET = "/n", WATCHDOG_USEC = "soon" }.watchdog)
      assert.is_nil(read { WATCHDOG_USEC = "2500000" }.watchdog)
    end)

    it("gives the sockets, from 3, with their names", function()
      assert.same({ { fd = 3, word = "web" }, { fd = 4, word = "" }, { fd = 5, word = "admin" } },
        read { LISTEN_PID = "77", LISTEN_FDS = "3", LISTEN_FDNAMES = "web::admin" }.inherited)
      assert.same({ { fd = 3, word = "" }, { fd = 4 } }, read { LISTEN_PID = "77", LISTEN_FDS = "2" }.inherited)
    end)

    it("gives no sockets that are meant for another process", function()
      assert.same({}, read { LISTEN_PID = "78", LISTEN_FDS = "1" }.inherited)
      assert.same({}, read { LISTEN_FDS = "1" }.inherited)
      for _, count in ipairs { "", "-1", "x", "1.5", "0" } do
        assert.same({}, read { LISTEN_PID = "77", LISTEN_FDS = count }.inherited)
      end
    end)
  end)

  describe("an inherited socket", function()
    local function lookup(host)
      return ({
        ["127.0.0.1"] = { { family = "inet", addr = "127.0.0.1" } },
        ["0:0::1"] = { { family = "inet6", addr = "::1" } },
        localhost = { { family = "inet6", addr = "::1" }, { family = "inet", addr = "127.0.0.1" } },
      })[host] or {}
    end

    local function names(spec)
      local list = {}
      for name in pairs(systemd.names_of(spec, lookup)) do list[#list + 1] = name end
      table.sort(list)
      return list
    end

    it("goes by the address that it is bound to", function()
      assert.same({ "0.0.0.0:80", "[::]:80" }, names { host = "", port = 80 })
      assert.same({ "127.0.0.1:80" }, names { host = "127.0.0.1", port = 80 })
      assert.same({ "[::1]:80" }, names { host = "0:0::1", port = 80 })
      assert.same({ "127.0.0.1:80", "[::1]:80" }, names { host = "localhost", port = 80 })
      assert.same({ "unix:/run/a.sock" }, names { path = "/run/a.sock" })
      assert.same({}, names { host = "", port = 0 })
      assert.same({}, names { host = "nobody", port = 80 })
      assert.same({}, names { word = "web", index = 1 })
    end)

    local function assign(registrations, inherited)
      local free = systemd.assign(registrations, inherited)
      local given = {}
      for i, registration in ipairs(registrations) do
        given[i] = {}
        for j, spec in ipairs(registration.specs) do given[i][j] = spec.inherited and spec.inherited.fd or false end
      end
      local left = {}
      for i, entry in ipairs(free) do left[i] = entry.fd end
      return given, left
    end

    it("is given to the registration of its address, or of its name", function()
      local given, left = assign({
        { name = "web", specs = {} },
        { name = "8080,9090", specs = { { host = "", port = 8080 }, { host = "", port = 9090 } } },
        { name = "mailer", specs = {} },
      }, {
        { fd = 3, word = "web", name = "0.0.0.0:80" }, { fd = 4, word = "", name = "[::]:9090" },
        { fd = 5, word = "web", name = "unix:/run/web.sock" }, { fd = 6, word = "", name = "0.0.0.0:70" },
      })
      assert.same({ { 3, 5 }, { false, 4 }, {} }, given)
      assert.same({ 6 }, left)
    end)

    it("is given once", function()
      local given, left = assign({
        { name = "80", specs = { { host = "", port = 80 } } }, { name = "web", specs = {} },
      }, { { fd = 3, word = "web", name = "0.0.0.0:80" } })
      assert.same({ { 3 }, {} }, given)
      assert.same({}, left)
    end)
  end)

  describe("the messages", function()
    local said, view

    before_each(function()
      said = { phase = "starting", reloads = 0 }
      view = { status = "s", stop_timeout = 35, reloads = 0, reloading = true }
    end)

    -- Everything that there is to say now, without the status.
    local function all()
      local list = {}
      for _ = 1, 10 do
        local message, next_said = systemd.next_message(said, view, 1234567.8)
        if not message then return list end
        said = next_said
        list[#list + 1] = (message:gsub("\n?STATUS=[^\n]*", ""))
      end
      error("it never falls silent")
    end

    local RELOADING = "RELOADING=1\nMONOTONIC_USEC=1234567"

    local function ready()
      view.ready, view.reloading = true, false
    end

    it("say ready when every worker is, once", function()
      assert.same({ "" }, all()) -- the status alone
      assert.same({}, all())
      ready()
      assert.same({ "READY=1" }, all())
      assert.same({}, all())
    end)

    it("say the status when it has changed, in one line", function()
      all()
      view.status = "two\nlines"
      assert.equal("STATUS=two lines", (systemd.next_message(said, view, 0)))
      all()
      assert.is_nil((systemd.next_message(said, view, 0)))
    end)

    it("say reloading and ready again", function()
      ready()
      all()
      view.reloading, view.reloads = true, 1
      assert.same({ RELOADING }, all())
      view.reloading = false
      assert.same({ "READY=1" }, all())
    end)

    it("answer each request of a reload, also one during another and one that ends at once", function()
      ready()
      all()
      view.reloading, view.reloads = true, 1
      assert.same({ RELOADING }, all())
      view.reloads = 2
      assert.same({ RELOADING }, all())
      view.reloading = false
      assert.same({ "READY=1" }, all())
      view.reloads = 3
      assert.same({ RELOADING, "READY=1" }, all())
    end)

    it("say ready before a reload that was asked for during the start", function()
      view.reloads = 1
      assert.same({ "" }, all())
      view.ready = true
      assert.same({ "READY=1", RELOADING }, all())
    end)

    it("say stopping in any phase, with the time that it may take, and nothing after it", function()
      view.reloading, view.reloads, view.stopping = true, 1, true
      assert.same({ "STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000" }, all())
      ready()
      assert.same({}, all())
    end)
  end)
end)
