-- How a cluster ends.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local load = require "spec.support.load"
local loop = require "spec.support.loop"

local FORCED = 3
local GRACEFUL = { "sigterm", "sigint" }

describe("a stop", function()
  after_each(cluster.cleanup)

  for _, signal in ipairs(GRACEFUL) do
    it("by " .. signal .. " finishes what is in flight, refuses new clients, and ends with 0", function()
      local c = cluster.up { app = "slow", options = { cnum = 2 } }
      local address = c:address()
      local idle = assert(client.connect(address))
      assert.equal(200, (idle:request("GET", "/")))
      local busy = assert(client.connect(address))
      busy:send(client.format("GET", "/sleep/1000"))
      c:wait_log("sleep begins")
      c:signal(signal)
      c:wait_log("master%[%d+%] %a+: stopping")
      loop.wait(function()
        local conn, reason = client.connect(address)
        if conn then conn:close() end
        return reason == "ECONNREFUSED"
      end, 5, "connecting to be refused")
      assert.equal("", busy.buffer, "the request was over before connecting was refused")
      assert.equal(200, (busy:response("GET")))
      assert.equal("", (idle:read_all()))
      assert.equal("eof", idle.closed)
      assert.same({ 0, 0 }, { c:wait_exit() })
      c:wait_log("master%[%d+%] %a+: stopped")
      assert.same({}, c:left())
      idle:close()
      busy:close()
    end)
  end

  it("of an idle cluster leaves nothing", function()
    local c = cluster.up { app = "hello", name = "./hello.sock", master = { pidfile = "pid" }, options = { cnum = 2 } }
    c:stop()
    assert.same({}, c:left())
    local names = {}
    local request = require("luv").fs_scandir(c.dir)
    for name in function() return require("luv").fs_scandir_next(request) end do names[#names + 1] = name end
    assert.same({ "dispatch.lua" }, names)
  end)

  it("under load cuts off no request that it has begun", function()
    local c = cluster.up { app = "hello", options = { cnum = 2 } }
    local clients = load.start(c:address(), { clients = 20, think = 0.02 })
    clients:wait(200)
    local from = loop.now()
    c:signal("sigterm")
    assert.same({ 0, 0 }, { c:wait_exit() })
    clients:stop()
    assert.equal(0, clients.timeout, tostring(clients))
    for _, incident in ipairs(clients.incidents) do
      assert.is_true(incident.at >= from, tostring(clients))
      -- What comes when there is no worker any more gets the `gone` reply, unless it crosses the end of its connection.
      if incident.kind == "bad" then assert.equal(503, incident.detail) end
      if incident.kind == "lost" then assert.is_true(incident.sent_at >= from, tostring(clients)) end
    end
  end)

  it("is hurried by a second signal", function()
    local c = cluster.up { app = "ignore_term", options = { cnum = 2, term_timeout = 600 } }
    local conn = assert(client.connect(c:address()))
    conn:send(client.format("GET", "/never"))
    c:wait_log("never begins")
    c:signal("sigterm")
    c:wait_log("stopping")
    local from = loop.now()
    c:signal("sigterm")
    local code, signal = c:wait_exit()
    assert.is_true(loop.now() - from < 1, "it has taken its time")
    assert.equal(0, signal)
    assert.equal(FORCED, code)
    assert.same({}, c:left())
    conn:close()
  end)

  it("by sigquit is immediate", function()
    local c = cluster.up { app = "ignore_term", options = { cnum = 2, term_timeout = 600 } }
    local conn = assert(client.connect(c:address()))
    conn:send(client.format("GET", "/never"))
    c:wait_log("never begins")
    local from = loop.now()
    c:signal("sigquit")
    local code, signal = c:wait_exit()
    assert.is_true(loop.now() - from < 1, "it has taken its time")
    assert.equal(0, signal)
    assert.equal(FORCED, code)
    assert.same({}, c:left())
    conn:close()
  end)

  for _, path in ipairs { "/never", "/stuck" } do
    it("ends a worker that does not finish " .. path .. " after term_timeout", function()
      local c = cluster.up { app = "ignore_term", options = { cnum = 1, term_timeout = 0.5 } }
      local conn = assert(client.connect(c:address()))
      conn:send(client.format("GET", path))
      c:wait_log(path:sub(2) .. " begins")
      c:signal("sigterm")
      local _, signal = c:wait_exit()
      assert.equal(0, signal)
      assert.same({}, c:left())
      conn:close()
    end)
  end

  it("while the workers are still booting is a stop like any other", function()
    local c = cluster.start { app = "never_ready", options = { cnum = 2, ready_timeout = 600 } }
    c:wait_log("worker 2 of .* started")
    c:stop()
    assert.same({}, c:left())
  end)
end)

describe("sighup", function()
  after_each(cluster.cleanup)

  it("is ignored", function()
    local c = cluster.up { app = "hello", options = { cnum = 1 } }
    c:signal("sighup")
    c:signal("sighup")
    assert.equal(200, (client.get(c:address(), "/")))
    assert.equal(0, c:count("exited"))
    c:stop()
  end)
end)
