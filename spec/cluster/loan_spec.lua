-- The life of a connection between lobby and workers, as its client sees it.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local load = require "spec.support.load"
local proc = require "spec.support.proc"
local uv = require "luv"

local function ask(conn, line)
  return (assert(conn:send(line .. "\n"):read_until("\n")):gsub("\n$", ""))
end

local function held_by_workers(c)
  local count = 0
  for _, member in ipairs(c:workers()) do count = count + proc.count_connections(member.pid) end
  return count
end

local function wait_parked(c)
  c:wait(function() return held_by_workers(c) == 0 end, "the connection to be parked")
end

describe("a connection", function()
  after_each(cluster.cleanup)

  it("is ended by its worker alone: the client sees it although the master sleeps and holds a descriptor", function()
    local c = cluster.up { app = "echo_raw", options = { cnum = 1 } }
    local conn = assert(client.connect(c:address()))
    assert.equal("1", ask(conn, "lent"))
    assert(uv.kill(c.pid, "sigstop"))
    local rest, reason = conn:send("bye\n"):read_all(5)
    assert(uv.kill(c.pid, "sigcont"))
    assert.equal("", rest)
    assert.equal("eof", reason)
    conn:close()
  end)

  it("that says where its requests end is lent again, and counts it", function()
    local c = cluster.up { app = "echo_raw", options = { cnum = 2, steal_after = 0 } } -- a slow machine looks stuck
    local conn = assert(client.connect(c:address()))
    for lent = 1, 10 do
      assert.equal(tostring(lent), ask(conn, "lent"))
      assert.equal("parked", ask(conn, "park"))
    end
    conn:close()
  end)

  it("that has said so outlives its worker", function()
    local c = cluster.up { app = "echo_raw", options = { cnum = 1 } }
    local conn = assert(client.connect(c:address()))
    local first = ask(conn, "pid")
    assert.equal("parked", ask(conn, "park"))
    wait_parked(c)
    assert(uv.kill(tonumber(first), "sigkill"))
    c:wait_log("exited, pid " .. first)
    assert.not_equal(first, ask(conn, "pid"))
    conn:close()
  end)

  it("that has not said so ends with its worker", function()
    local c = cluster.up { app = "echo_raw", options = { cnum = 1 } }
    local conn = assert(client.connect(c:address()))
    assert(uv.kill(tonumber(ask(conn, "pid")), "sigkill"))
    assert.equal("", (conn:read_all()))
    conn:close()
  end)

  it("of HTTP that is idle goes back to the lobby, and to any worker with its next request", function()
    local c = cluster.up { app = "hello", options = { cnum = 4, linger = 0, steal_after = 0 } }
    local conn = assert(client.connect(c:address()))
    local pids, count = {}, 0
    for _ = 1, 4 do
      local status, _, body = conn:request("GET", "/")
      assert.equal(200, status)
      if not pids[body] then count = count + 1 end
      pids[body] = true
      wait_parked(c)
    end
    assert.equal(4, count)
    conn:close()
  end)

  it("of HTTP stays with its worker while its requests come without a pause", function()
    local c = cluster.up { app = "hello", options = { cnum = 4, linger = 60 } }
    local conn = assert(client.connect(c:address()))
    local _, _, first = conn:request("GET", "/")
    for _ = 1, 40 do
      local _, _, body = conn:request("GET", "/")
      assert.equal(first, body)
    end
    assert.equal(1, held_by_workers(c))
    conn:close()
  end)

  it("with pipelined requests gets all answers, in order, also when its worker is told to go", function()
    local c = cluster.up { app = "slow", options = { cnum = 2, linger = 0 } }
    local conn = assert(client.connect(c:address()))
    for _ = 1, 5 do
      conn:send((client.format("GET", "/sleep/20")):rep(5))
      c:wait_log("sleep begins")
      c:signal("sigusr1")
      for _ = 1, 5 do assert.equal(200, (conn:response("GET"))) end
      c:wait_workers(2)
    end
    assert.equal("", conn.buffer)
    conn:close()
  end)
end)

describe("workers that are blocked again and again", function()
  after_each(cluster.cleanup)

  it("and robbed of their idle connections answer each request once", function()
    local c = cluster.up { app = "blocks_loop", options = { cnum = 3, linger = 60, steal_after = 0.001 } }
    local quick = load.start(c:address(), { clients = 40, think = 0.005 })
    local blocking = load.start(c:address(), { clients = 4, think = 0.01, path = "/block/5" })
    quick:wait(3000)
    blocking:stop()
    quick:stop()
    assert.equal(0, #quick.incidents, tostring(quick))
    assert.equal(0, #blocking.incidents, tostring(blocking))
    for _ = 1, 10 do
      assert.equal(200, (client.get(c:address(), "/")))
    end
    c:stop()
  end)
end)
