-- Workers whose loop does not turn: others do their work, and who is beyond help is killed.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local load = require "spec.support.load"
local loop = require "spec.support.loop"
local uv = require "luv"

-- Idle connections by the pid of the worker that has them.
local function idle_connections(c, count)
  local held = {}
  for _ = 1, count do
    local conn = assert(client.connect(c:address()))
    local status, _, body = conn:request("GET", "/")
    assert.equal(200, status)
    local pid = tonumber(body)
    held[pid] = held[pid] or {}
    table.insert(held[pid], conn)
  end
  return held
end

local function other(c, pid)
  for _, member in ipairs(c:workers()) do
    if member.pid ~= pid then return member.pid end
  end
end

local function close_all(held)
  for _, conns in pairs(held) do
    for _, conn in ipairs(conns) do conn:close() end
  end
end

-- An endless loop in one worker; its pid and the connection that made it.
local function stick(c)
  local conn = assert(client.connect(c:address()))
  local _, _, body = conn:request("GET", "/")
  conn:send(client.format("GET", "/stuck"))
  c:wait_log("stuck begins")
  return tonumber(body), conn
end

describe("the connections of a worker in an endless loop", function()
  after_each(cluster.cleanup)

  it("that are idle are served by another as soon as their clients speak", function()
    local c = cluster.up { app = "ignore_term", options = { cnum = 2, hang_timeout = 600, linger = 600 } }
    local held = idle_connections(c, 20)
    local victim, stuck = stick(c)
    local rescuer = other(c, victim)
    assert.is_true(#held[victim] > 0 and #held[rescuer] > 0)
    for _ = 1, 3 do
      for _, conn in ipairs(held[victim]) do
        local status, _, body = conn:request("GET", "/")
        assert.same({ 200, rescuer }, { status, tonumber(body) })
      end
    end
    for _, conn in ipairs(held[rescuer]) do assert.equal(200, (conn:request("GET", "/"))) end
    assert.equal("", stuck.buffer)
    assert.is_nil(stuck.closed)
    assert.equal(0, c:count("exited"))
    stuck:close()
    close_all(held)
  end)

  it("are served when another is free at last", function()
    local c = cluster.up { app = "ignore_term", options = { cnum = 2, hang_timeout = 600, linger = 600 } }
    local held = idle_connections(c, 20)
    local victim, stuck = stick(c)
    local rescuer = other(c, victim)
    assert(uv.kill(rescuer, "sigstop"))
    -- New clients fill what the master gives to one that does not read; from there on nobody can take anything.
    local late = {}
    for i = 1, 70 do late[i] = assert(client.connect(c:address())):send(client.format("GET", "/")) end
    for _, conn in ipairs(held[victim]) do conn:send(client.format("GET", "/")) end
    c:wait(function() return c:fds() > 80 end, "the clients to be accepted")
    assert(uv.kill(rescuer, "sigcont"))
    for _, conns in ipairs { held[victim], late } do
      for _, conn in ipairs(conns) do
        local status, _, body = conn:response("GET")
        assert.same({ 200, rescuer }, { status, tonumber(body) })
      end
    end
    for _, conn in ipairs(late) do conn:close() end
    stuck:close()
    close_all(held)
  end)

  it("are, after hang_timeout, answered when they were being read, closed when being answered, else served", function()
    local c = cluster.up { app = "app.lua", options = { cnum = 1, hang_timeout = 1, linger = 600 },
      files = { ["app.lua"] = [[
        local http = require "clua.http"
        local server = http.createServer(function(req, res)
          if req.url == "/stuck" then while true do end end
          if req.url == "/part" then
            res:write("a part")
            io.stderr:write("part begins\n")
            req:body()
          end
          res:finish(tostring(require("luv").os_getpid()))
        end)
        require("clua").ready(function(socket) server:emit("connection", socket) end)
      ]] } }
    local victim = c:workers()[1].pid
    local held = idle_connections(c, 10)
    local part = assert(client.connect(c:address()))
    part:send("POST /part HTTP/1.1\r\nHost: spec\r\nContent-Length: 10\r\n\r\n")
    c:wait_log("part begins")
    local half = assert(client.connect(c:address())):send("GET / HTTP/1.1\r\nHo")
    assert.equal(200, (held[victim][1]:request("GET", "/"))) -- the half has been read by now
    local stuck = assert(client.connect(c:address())):send(client.format("GET", "/stuck"))
    local untouched = {}
    for i = 1, 10 do untouched[i] = assert(client.connect(c:address())):send(client.format("GET", "/")) end

    c:wait_log(("pid %d, hangs"):format(victim))
    c:wait_log(("exited, pid %d, killed by SIGKILL"):format(victim))
    assert.equal(502, (stuck:response("GET")))
    assert.equal(502, (half:response("GET")))
    assert.truthy(part:read_all():find("a part", 1, true))
    for _, conn in ipairs(untouched) do assert.equal(200, (conn:response("GET"))) end
    for _, conn in ipairs(held[victim]) do assert.equal(200, (conn:request("GET", "/"))) end
    assert.equal(1, c:count("exited"))
    for _, conn in ipairs { stuck, half, part, unpack(untouched) } do conn:close() end
    close_all(held)
  end)
end)

describe("a worker that is stopped", function()
  after_each(cluster.cleanup)

  it("is helped out by another, killed after hang_timeout, and replaced; what it did not execute is served", function()
    local c = cluster.up { app = "hello", options = { cnum = 2, hang_timeout = 4, linger = 600 } }
    local held = idle_connections(c, 20)
    local clients = load.start(c:address(), { clients = 10, think = 0.02, once = true })
    clients:wait(20)
    local victim = c:workers()[1].pid
    local rescuer = other(c, victim)
    local at = loop.now()
    assert(uv.kill(victim, "sigstop"))
    for _, conn in ipairs(held[victim]) do
      local status, _, body = conn:request("GET", "/")
      assert.equal(200, status)
      assert.not_equal(victim, tonumber(body))
    end
    c:wait_log(("pid %d, hangs"):format(victim))
    c:wait_log(("exited, pid %d, killed by SIGKILL"):format(victim))
    c:wait_workers(2)
    clients:wait(20)
    clients:stop()
    clients:assert_only_killed { at }
    assert.is_true(#clients.incidents <= 1, tostring(clients)) -- the one that it was executing, if there was one
    for _, conns in pairs(held) do
      for _, conn in ipairs(conns) do assert.equal(200, (conn:request("GET", "/"))) end
    end
    assert.equal(1, c:count("exited"))
    assert.equal(rescuer, c:workers()[2].pid)
    close_all(held)
  end)

  it("and continued goes on with what it has, and no client notices", function()
    local c = cluster.up { app = "slow", options = { cnum = 2, hang_timeout = 600, linger = 0.05 } }
    local clients = load.start(c:address(), { clients = 20, think = 0.02, path = "/sleep/5" })
    for i = 1, 6 do
      local victim = c:workers()[i % 2 + 1].pid
      clients:wait(40)
      assert(uv.kill(victim, "sigstop"))
      clients:wait(10)
      assert(uv.kill(victim, "sigcont"))
    end
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    assert.equal(20, clients.connections)
    assert.equal(0, c:count("exited"))
  end)
end)

describe("a master that is stopped", function()
  after_each(cluster.cleanup)

  it("for longer than hang_timeout kills nobody when it goes on, and what was lent is served meanwhile", function()
    local c = cluster.up { app = "hello", options = { cnum = 2, hang_timeout = 0.5, linger = 600 } }
    local held = idle_connections(c, 10)
    c:signal("sigstop")
    local waiting = {}
    for i = 1, 10 do waiting[i] = client.open(c:address()) end
    local till = loop.now() + 4 -- what passes here is the time that must not be counted
    while loop.now() < till do
      for _, conns in pairs(held) do
        for _, conn in ipairs(conns) do assert.equal(200, (conn:request("GET", "/"))) end
      end
    end
    c:signal("sigcont")
    for _, conn in ipairs(waiting) do
      assert.equal(200, (conn:request("GET", "/")))
      conn:close()
    end
    c:signal("sigttin")
    c:wait_workers(3)
    assert.equal(0, c:count("exited"))
    assert.equal(0, c:count("hangs"))
    close_all(held)
  end)
end)

describe("a machine that sleeps", function()
  after_each(cluster.cleanup)

  it("for longer than hang_timeout has no hung worker when it wakes, whoever wakes first", function()
    local c = cluster.up { app = "hello", options = { cnum = 2, hang_timeout = 4 } }
    local workers = c:workers()
    local function pass(seconds)
      local till = loop.now() + seconds
      loop.wait(function() return loop.now() > till end, 10)
    end
    for _, member in ipairs(workers) do assert(uv.kill(member.pid, "sigstop")) end
    pass(0.5) -- the master has seen that they do not turn
    c:signal("sigstop")
    pass(4.5)
    c:signal("sigcont")
    c:signal("sigttin")
    c:wait_log("worker 3 of .* ready")
    pass(0.5) -- it has looked again, and has had the time for what it does about a hung one
    for _, member in ipairs(workers) do assert(uv.kill(member.pid, "sigcont")) end
    for _ = 1, 20 do assert.equal(200, (client.get(c:address(), "/"))) end
    assert.equal(0, c:count("hangs"))
    assert.equal(0, c:count("exited"))
  end)
end)

describe("a master that is killed", function()
  after_each(cluster.cleanup)

  it("leaves workers that answer what they execute, and end; the port is free again", function()
    local c = cluster.up { app = "slow", options = { cnum = 2, term_timeout = 30 } }
    local address, conns = c:address(), {}
    for i = 1, 4 do conns[i] = assert(client.connect(address)):send(client.format("GET", "/sleep/500")) end
    local idle = assert(client.connect(address))
    assert.equal(200, (idle:request("GET", "/")))
    c:wait_log("sleep begins", nil, 4)
    c:signal("sigkill")
    c:wait_exit()
    for _, conn in ipairs(conns) do
      assert.equal(200, (conn:response("GET")))
      conn:close()
    end
    assert.equal("", (idle:read_all()))
    loop.wait(function() return #c:left() == 0 end, 20, c:explain("the workers to end"))
    idle:close()
    local again = cluster.up { app = "hello", name = address, options = { cnum = 1 } }
    assert.equal(200, (client.get(address, "/")))
    again:stop()
  end)

  it("leaves no worker in an endless loop, nor one that is stopped", function()
    local c = cluster.up { app = "ignore_term", options = { cnum = 2, term_timeout = 0.5 } }
    local address = c:address()
    local victim, stuck = stick(c)
    local sleeper = other(c, victim)
    assert(uv.kill(sleeper, "sigstop"))
    c:signal("sigkill")
    c:wait_exit()
    loop.wait(function() return #c:left() <= 1 end, 20, c:explain("the worker in the loop to end"))
    assert(uv.kill(sleeper, "sigcont"))
    loop.wait(function() return #c:left() == 0 end, 20, c:explain("the other worker to end"))
    stuck:close()
    local again = cluster.up { app = "hello", name = address, options = { cnum = 1 } }
    again:stop()
  end)
end)
