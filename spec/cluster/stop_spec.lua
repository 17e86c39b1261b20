-- How a cluster ends.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local load = require "spec.support.load"
local loop = require "spec.support.loop"
local uv = require "luv"

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
    local request = uv.fs_scandir(c.dir)
    for name in function() return uv.fs_scandir_next(request) end do names[#names + 1] = name end
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

  it("serves requests that were sent before it, though no worker has read them", function()
    local c = cluster.up { app = "hello", options = { cnum = 1, linger = 600, hang_timeout = 600 } }
    local worker, conns = c:workers()[1].pid, {}
    for i = 1, 20 do
      conns[i] = assert(client.connect(c:address()))
      assert.equal(200, (conns[i]:request("GET", "/")))
    end
    assert(uv.kill(worker, "sigstop"))
    local fds = c:fds()
    for i = 21, 40 do conns[i] = assert(client.connect(c:address())) end -- and those that it does not know yet
    for _, conn in ipairs(conns) do conn:send(client.format("GET", "/")) end
    c:wait(function() return c:fds() == fds + 20 end, "the new ones to be accepted")
    c:signal("sigterm")
    c:wait_log("info: stopping$")
    assert(uv.kill(worker, "sigcont"))
    for _, conn in ipairs(conns) do
      assert.equal(200, (conn:response("GET")))
      assert.equal("", (conn:read_all()))
      conn:close()
    end
    assert.same({ 0, 0 }, { c:wait_exit() })
  end)

  -- Each on a connection of its own, one after the other, across the stop.
  it("seen by clients that come one by one: served, then perhaps told so, then refused; none is cut off", function()
    local COUNT, LAST_BEFORE = 41, 10
    local c = cluster.up { app = "slow", options = { cnum = 2 } }
    local address, fates = c:address(), {}
    for i = 1, COUNT do
      if i == LAST_BEFORE + 1 then c:signal("sigterm") end
      loop.task(function()
        local status, reason = client.get(address, "/sleep/200")
        fates[i] = status == 200 and "served" or status == 503 and "told" or reason == "ECONNREFUSED" and "refused" or
          ("%s %s"):format(tostring(status), tostring(reason))
      end)
      local next_at = loop.now() + 0.03 -- the pace of those who come
      loop.wait(function() return loop.now() >= next_at end, 5)
    end
    loop.wait(function()
      for i = 1, COUNT do
        if not fates[i] then return false end
      end
      return true
    end, 20, "the clients to end")
    assert.same({ 0, 0 }, { c:wait_exit() })
    -- "told" (503) is who has connected in the very moment of the stop, and sent its request after it.
    local all = table.concat(fates, " ")
    local letters = all:gsub("(%a)%a+ ?", "%1")
    local served, told, refused = letters:match("^(s*)(t*)(r+)$")
    assert.is_string(served, all)
    assert.is_true(#served >= LAST_BEFORE and #told <= 1 and #refused > 0, all)
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

describe("a lame duck", function()
  after_each(cluster.cleanup)

  -- GET /state has the master write its state into the log.
  local function up(lame_duck)
    return cluster.up {
      dispatch = ([[
        local master = require("clua").Master { lame_duck = %g }
        master:register("127.0.0.1:0", "app.lua", { cnum = 1 })
        master:on("message", function()
          local state, ready = master:state()
          io.stderr:write(("state %%s, %%s, %%s\n"):format(state, tostring(ready), tostring(master:status()[1].ready)))
        end)
        master:dispatch()
      ]]):format(lame_duck),
      files = { ["app.lua"] = [[
        local server = require("clua.http").createServer(function(req, res)
          if req.url == "/state" then require("clua").Worker():broadcast("master", "state") end
          res:finish(tostring(require("luv").os_getpid()))
        end)
        require("clua").ready(function(socket) server:emit("connection", socket) end)
      ]] },
    }
  end

  it("is not ready, and does all that it did before, until its time is over", function()
    local c = up(600)
    local clients = load.start(c:address(), { clients = 5, think = 0.02 })
    assert.equal(200, (client.get(c:address(), "/state")))
    c:wait_log("^state running, true, true")
    local idle = assert(client.connect(c:address()))
    assert.equal(200, (idle:request("GET", "/")))
    c:signal("sigterm")
    c:wait_log("lame duck: stopping in 600 s")
    assert.equal(200, (client.get(c:address(), "/state")))
    c:wait_log("^state lame duck, false, false")
    clients:wait(50)
    local victim = c:workers()[1].pid
    assert(uv.kill(victim, "sigterm"))
    c:wait_log(("exited, pid %d, status 0"):format(victim))
    assert.equal(c:wait_workers(1)[1].pid, tonumber((select(3, idle:request("GET", "/")))))
    c:signal("sigusr2")
    c:wait_log("upgrade refused: the master is stopping")
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    assert.equal(0, c:count("info: stopping$"))
    local from = loop.now()
    c:signal("sigterm")
    assert.same({ FORCED, 0 }, { c:wait_exit() })
    assert.is_true(loop.now() - from < 5, "it has taken its time")
    idle:close()
  end)

  it("stops when its time is over, as if there had been none", function()
    local c = up(0.5)
    local from = loop.now()
    c:signal("sigterm")
    c:wait_log("lame duck: ")
    c:wait_log("info: stopping$")
    assert.is_true(loop.now() - from >= 0.4, "it did not wait")
    assert.same({ 0, 0 }, { c:wait_exit() })
    assert.equal(1, c:count("info: stopping$"))
  end)

  it("is none when its workers have never been ready", function()
    local c = cluster.start { app = "never_ready", master = { lame_duck = 600 }, options = { cnum = 1 } }
    c:wait_log("worker 1 of .* started")
    c:stop()
    assert.equal(0, c:count("lame duck"))
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
