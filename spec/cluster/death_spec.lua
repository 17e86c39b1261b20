-- Workers that die: who notices, what is lost, what comes after.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local load = require "spec.support.load"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local uv = require "luv"

local function zombies(c)
  local count = 0
  for _, pid in ipairs(proc.children(c.pid)) do
    local stat = proc.stat(pid)
    if stat and stat.state == "Z" then count = count + 1 end
  end
  return count
end

-- Kills a worker and waits until its successor is ready. Returns the time of the kill.
local function kill_and_wait(c, member)
  local mark = c:mark()
  local at = loop.now()
  assert(uv.kill(member.pid, "sigkill"))
  c:wait_log(("worker %d of .* exited, pid %d, killed by SIGKILL"):format(member.id, member.pid), mark)
  c:wait_log(("worker %d of .* ready, pid"):format(member.id), mark)
  return at
end

describe("kill -9 of a worker", function()
  after_each(cluster.cleanup)

  it("is noticed by no client that is between two requests", function()
    local c = cluster.up { app = "hello", options = { cnum = 4 } }
    local clients = load.start(c:address(), { clients = 40, think = 0.05 })
    clients:wait(200)
    local kills = {}
    for _, member in ipairs(c:workers()) do
      kills[#kills + 1] = kill_and_wait(c, member)
      clients:wait(100)
    end
    clients:stop()
    clients:assert_only_killed(kills)
    assert.equal(0, zombies(c))
    assert.equal(4, #c:workers())
    c:stop()
  end)

  it("leaves every idle connection open, to be served by another", function()
    local c = cluster.up { app = "hello", options = { cnum = 2, linger = 60 } }
    local conns, holders = {}, {}
    for i = 1, 40 do
      conns[i] = assert(client.connect(c:address()))
      local _, _, body = conns[i]:request("GET", "/")
      holders[tonumber(body)] = true
    end
    local victims = c:workers()
    for _, victim in ipairs(victims) do
      assert.is_true(holders[victim.pid], "a victim holds no connection")
      kill_and_wait(c, victim)
    end
    for _, conn in ipairs(conns) do
      assert.is_nil(conn.closed)
      local status, _, body = conn:request("GET", "/")
      assert.equal(200, status)
      assert.is_nil(holders[tonumber(body)])
      conn:close()
    end
  end)

  it("in the very moment of its answer leaves the connection open", function()
    local c = cluster.up {
      app = "hello", options = { cnum = 1, linger = 60 },
      master = { max_fatal_restart = 1000, restart_delay = 0, restart_delay_max = 0.01 },
    }
    for _ = 1, 50 do
      local conn = assert(client.connect(c:address()))
      local _, _, body = conn:request("GET", "/")
      assert(uv.kill(tonumber(body), "sigkill"))
      local status, reason, successor = conn:request("GET", "/")
      assert.equal(200, status, reason)
      assert.not_equal(body, successor)
      conn:close()
    end
  end)

  it("leaves connections open that have not sent anything yet", function()
    local c = cluster.up { app = "echo_raw", options = { cnum = 1 } }
    local conns = {}
    for i = 1, 20 do conns[i] = assert(client.connect(c:address())) end
    -- The last one was served, so the others have been given to the worker as well.
    assert(conns[20]:send("pid\n"):read_until("\n"))
    kill_and_wait(c, c:workers()[1])
    for i = 1, 19 do
      assert.equal(tostring(c:workers()[1].pid) .. "\n", conns[i]:send("pid\n"):read_until("\n"))
      conns[i]:close()
    end
    assert.equal("", (conns[20]:read_all()))
  end)

  it("leaves connections open that it was just giving back", function()
    local c = cluster.up { app = "dies_giving_back", options = { cnum = 1, linger = 60 } }
    local conns = {}
    for i = 1, 10 do
      conns[i] = assert(client.connect(c:address()))
      assert.equal(200, (conns[i]:request("GET", "/")))
    end
    local dying = c:workers()[1].pid
    assert.equal(502, (client.get(c:address(), "/die")))
    for _, conn in ipairs(conns) do
      local status, _, body = conn:request("GET", "/")
      assert.equal(200, status)
      assert.not_equal(tostring(dying), body)
      conn:close()
    end
  end)

  it("answers a request in execution with 502", function()
    local c = cluster.up { app = "slow", options = { cnum = 1 } }
    local conn = assert(client.connect(c:address()))
    conn:send(client.format("GET", "/sleep/60000"))
    c:wait_log("sleep begins")
    kill_and_wait(c, c:workers()[1])
    local status, headers, body = conn:response("GET")
    assert.equal(502, status)
    assert.equal(#body, tonumber(headers["content-length"]))
    assert.equal("", (conn:read_all()))
    conn:close()
  end)

  it("answers it with the registration's `lost` reply", function()
    local lost = "HTTP/1.1 500 Gone With The Wind\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsorry"
    local c = cluster.up { app = "slow", options = { cnum = 1, lost = lost } }
    local conn = assert(client.connect(c:address()))
    conn:send(client.format("GET", "/sleep/60000"))
    c:wait_log("sleep begins")
    assert(uv.kill(c:workers()[1].pid, "sigkill"))
    assert.equal(lost, (conn:read_all()))
    conn:close()
  end)

  it("only closes a connection whose answer has begun", function()
    local c = cluster.up { app = "slow", options = { cnum = 1 } }
    local conn = assert(client.connect(c:address()))
    conn:send(client.format("GET", "/part"))
    assert(conn:read_until("a part"))
    assert(uv.kill(c:workers()[1].pid, "sigkill"))
    local rest, reason = conn:read_all()
    assert.equal("", rest)
    assert.equal("eof", reason)
    conn:close()
  end)

  it("makes clients wait, not fail, when it was the only one", function()
    local c = cluster.up { app = "hello", options = { cnum = 1 } }
    assert(uv.kill(c:workers()[1].pid, "sigkill"))
    loop.all(20, function()
      local status, reason = client.get(c:address(), "/")
      assert(status == 200, tostring(reason))
    end)
  end)
end)

describe("a worker that ends by itself", function()
  after_each(cluster.cleanup)

  it("is replaced in its position, and its status is told once", function()
    local c = cluster.up { app = "exits_in_request", options = { cnum = 3 } }
    local before = {}
    for _, member in ipairs(c:workers()) do before[member.id] = member.pid end
    local conn = assert(client.connect(c:address()))
    assert.equal(502, (conn:request("GET", "/exit/127")))
    conn:close()
    local id, pid = c:wait_log("worker (%d+) of .* exited, pid (%d+), status 127")
    assert.equal(before[tonumber(id)], tonumber(pid))
    local after = c:wait_workers(3)
    for _, member in ipairs(after) do
      assert.equal(member.id ~= tonumber(id), before[member.id] == member.pid)
    end
    assert.equal(1, c:count("exited, pid " .. pid))
    assert.equal(0, zombies(c))
  end)

  it("by a signal is told with its name", function()
    local c = cluster.up { app = "exits_in_request", options = { cnum = 1 } }
    client.get(c:address(), "/kill/sigabrt")
    c:wait_log("worker 1 of .* exited, pid %d+, killed by SIGABRT")
    c:wait_workers(1)
  end)

  it("on SIGTERM is replaced, and no client notices", function()
    local c = cluster.up { app = "hello", options = { cnum = 2 } }
    local clients = load.start(c:address(), { clients = 20, think = 0.05 })
    clients:wait(100)
    for _, member in ipairs(c:workers()) do
      local mark = c:mark()
      assert(uv.kill(member.pid, "sigterm"))
      c:wait_log(("exited, pid %d, status 0"):format(member.pid), mark)
      c:wait_workers(2)
      clients:wait(100)
    end
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
  end)

  it("not at all, when a handler raises an error: 500 and a traceback", function()
    local c = cluster.up { app = "exits_in_request", options = { cnum = 1 } }
    local conn = assert(client.connect(c:address()))
    assert.equal(500, (conn:request("GET", "/error")))
    conn:close()
    c:wait_log("exits_in_request.lua:%d+: an error in a request")
    c:wait_log("stack traceback")
    local status, headers, page = client.get(c:address(), "/error", { Accept = "text/html" })
    assert.same({ 500, "text/html; charset=utf-8" }, { status, headers["content-type"] })
    assert.truthy(page:find("an error in a request", 1, true), page)
    local _, _, plain = client.get(c:address(), "/error", { Accept = "*/*" })
    assert.falsy(plain:find("an error in a request", 1, true), plain)
    local _, _, body = client.get(c:address(), "/")
    assert.equal(c:workers()[1].pid, tonumber(body))
    assert.equal(0, c:count("exited"))
  end)

  it("and the client is not told more than that in production", function()
    local c = cluster.up { app = "exits_in_request", options = { cnum = 1 }, env = { CLUA_ENV = "production" } }
    local status, _, body = client.get(c:address(), "/error", { Accept = "text/html" })
    assert.equal(500, status)
    assert.falsy(body:find("an error in a request", 1, true), body)
    c:wait_log("exits_in_request.lua:%d+: an error in a request")
  end)
end)

describe("a worker that hangs", function()
  after_each(cluster.cleanup)

  it("is killed after hang_timeout, and no other; its request gets 502, its idle connections live on", function()
    local c = cluster.up { app = "ignore_term", options = { cnum = 1, hang_timeout = 1, linger = 60 } }
    local idle = assert(client.connect(c:address()))
    assert.equal(200, (idle:request("GET", "/")))
    local stuck = assert(client.connect(c:address()))
    local victim = c:workers()[1].pid
    stuck:send(client.format("GET", "/stuck"))
    c:wait_log(("exited, pid %d, killed by SIG"):format(victim))
    assert.equal(502, (stuck:response("GET")))
    local status, _, body = idle:request("GET", "/")
    assert.equal(200, status)
    assert.not_equal(victim, tonumber(body))
    idle:close()
    stuck:close()
  end)

  it("while it boots is killed after ready_timeout and replaced", function()
    local c = cluster.start { app = "never_ready", options = { cnum = 1, ready_timeout = 0.3 } }
    local pid = c:wait_log("worker 1 of .* started, pid (%d+)")
    c:wait_log(("exited, pid %d"):format(pid))
    cluster.write(c.dir .. "/heal", "")
    c:wait_log("all workers ready")
  end)

  it("is not seen in one that slept with its master", function()
    local c = cluster.up { app = "hello", options = { cnum = 2, hang_timeout = 0.3 } }
    assert(uv.kill(c.pid, "sigstop"))
    -- Longer than the timeout: what passes here is the time that the master must not count.
    local till = loop.now() + 1
    loop.wait(function() return loop.now() > till end, 5)
    assert(uv.kill(c.pid, "sigcont"))
    for _ = 1, 20 do assert.equal(200, (client.get(c:address(), "/"))) end
    assert.equal(0, c:count("exited"))
  end)
end)

describe("a child that is no worker", function()
  after_each(cluster.cleanup)

  it("is reaped and not taken for one", function()
    local c = cluster.start { app = "hello", options = { cnum = 1 }, shell = "sleep 0.1 &" }
    c:wait_log("all workers ready")
    c:wait(function() return #proc.children(c.pid) == 1 end, "the inherited child to be reaped")
    assert.equal(0, zombies(c))
    assert.equal(0, c:count("exited"))
  end)
end)

describe("kill -9 of the master", function()
  after_each(cluster.cleanup)

  it("ends its workers and frees the port", function()
    local c = cluster.up { app = "hello", options = { cnum = 2 } }
    local address = c:address()
    c:signal("sigkill")
    c:wait_exit()
    loop.wait(function() return #c:left() == 0 end, 20, "the workers to end")
    local again = cluster.up { app = "hello", name = address, options = { cnum = 1 } }
    assert.equal(200, (client.get(again:address(), "/")))
  end)

  it("ends a worker too whose loop is stuck", function()
    local c = cluster.up { app = "ignore_term", options = { cnum = 1, term_timeout = 0.5 } }
    local conn = assert(client.connect(c:address()))
    conn:send(client.format("GET", "/stuck"))
    c:wait_log("stuck begins")
    c:signal("sigkill")
    c:wait_exit()
    loop.wait(function() return #c:left() == 0 end, 20, "the worker to end")
    conn:close()
  end)
end)
