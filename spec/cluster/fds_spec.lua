-- Descriptors: none is left in the master, and a lack of them is survived.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"

local function get(address)
  local status, reason = client.get(address, "/")
  assert(status == 200, tostring(reason))
end

local function assert_as_before(c, before)
  loop.wait(function() return c:fds() <= before end, 10, function()
    local list = {}
    for fd, target in pairs(proc.fds(c.pid)) do list[#list + 1] = fd .. " " .. target end
    return ("at most %d descriptors, not %d:\n%s"):format(before, c:fds(), table.concat(list, "\n"))
  end)
end

-- With each client that goes another one is served, to the last, in whatever order.
local function assert_all_served(c, conns)
  local left = #conns
  c:wait(function()
    for _, conn in ipairs(conns) do
      if conn.buffer == "x\n" then
        conn.buffer, left = "", left - 1
        conn:close()
      end
      if conn.closed then error("a client was cut off: " .. conn.closed) end
    end
    return left == 0
  end, "all clients to be served", 40)
end

describe("the master's descriptors", function()
  after_each(cluster.cleanup)

  it("are as before after 10,000 connections", function()
    local c = cluster.up { app = "hello", options = { cnum = 2 } }
    local address = c:address()
    loop.all(20, function() get(address) end)
    local before = c:fds()
    loop.all(10000, function() get(address) end, 120, 100)
    assert_as_before(c, before)
    c:stop()
  end)

  it("are as before when clients hang up without a word, or in the middle of one, or with a reset", function()
    local c = cluster.up { app = "hello", options = { cnum = 2 } }
    local address = c:address()
    loop.all(20, function() get(address) end)
    local before = c:fds()
    loop.all(1000, function(i)
      local conn = assert(client.connect(address))
      if i % 2 == 0 then conn:send("GET / HT") end
      if i % 5 == 0 then conn:request("GET", "/") end
      if i % 3 == 0 then conn:reset() else conn:close() end
    end, 60, 50)
    assert_as_before(c, before)
    get(address)
  end)

  it("are as before when parked connections are closed by their clients", function()
    local c = cluster.up { app = "hello", options = { cnum = 2, linger = 0 } }
    local before, conns = c:fds(), {}
    loop.all(200, function(i)
      conns[i] = assert(client.connect(c:address()))
      assert(conns[i]:request("GET", "/") == 200)
    end, 60, 50)
    assert.is_true(c:fds() >= before + 200, "the master does not own the connections")
    for _, conn in ipairs(conns) do conn:close() end
    assert_as_before(c, before)
  end)
end)

describe("workers that are out of descriptors", function()
  after_each(cluster.cleanup)

  it("give connections back, and no client is lost", function()
    local c = cluster.up { app = "short_of_fds", options = { cnum = 2 } }
    local address, conns = c:address(), {}
    for i = 1, 60 do conns[i] = assert(client.connect(address)):send("x\n") end
    c:wait_log("worker %d+ of .*%[%d+%] warn: out of descriptors")
    assert_all_served(c, conns)
    assert.equal(0, c:count("exited"))
    c:stop()
  end)
end)

describe("a cluster that is out of descriptors", function()
  after_each(cluster.cleanup)

  it("serves on, does not spin, and takes the rest later", function()
    local c = cluster.up { app = "echo_raw", options = { cnum = 2 }, shell = "ulimit -n 64" }
    local address, conns = c:address(), {}
    -- More than the master can hold; the others wait in the kernel's queue.
    for i = 1, 150 do conns[i] = assert(client.connect(address)):send("x\n") end
    loop.wait(function()
      local answered = 0
      for _, conn in ipairs(conns) do answered = answered + (conn.buffer ~= "" and 1 or 0) end
      return answered >= 20
    end, 20, c:explain("some of the clients to be served"))

    -- How much time it takes for nothing: a busy loop takes all.
    local cpu, from = proc.stat(c.pid).cpu, loop.now()
    loop.wait(function() return loop.now() > from + 1 end, 5)
    assert.is_true(proc.stat(c.pid).cpu - cpu < 0.3, "the master is busy with nothing")

    -- Those that are served are served on.
    local served
    for _, conn in ipairs(conns) do served = served or (conn.buffer ~= "" and conn) end
    served:read_until("\n")
    assert.equal("again\n", served:send("again\n"):read_until("\n"))

    served.buffer = "x\n"
    assert_all_served(c, conns)
    local last = assert(client.connect(address))
    assert.equal("y\n", last:send("y\n"):read_until("\n"))
    last:close()
    assert.equal(0, c:count("exited"))
    c:stop()
  end)
end)
