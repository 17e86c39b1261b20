-- Workers that write garbage to their master. Each run starts a pool of them, each of which sends another stream.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"

local STREAMS, WORKERS, FORCED = 500, 25, 3

-- Two pools: one that serves, one that attacks. The seed makes every run the same.
local function start(seed)
  return cluster.start { dispatch = ([[
    local master = require("clua").Master()
    master:register("127.0.0.1:0", %q, { cnum = 2 })
    master:register("127.0.0.2:0", %q, { cnum = %d, args = { "%d" }, term_timeout = 1 })
    master:dispatch()
  ]]):format(cluster.fixture("hello"), cluster.fixture("hostile"), WORKERS, seed) }
end

-- The descriptors that they send are duplicates of the log, which is the standard error of the master.
local function assert_keeps_none(c)
  loop.wait(function()
    local fds, count = proc.fds(c.pid), 0
    for _, target in pairs(fds) do count = count + (target == fds[2] and 1 or 0) end
    return count == 1
  end, 10, c:explain("the master to close what it was sent"))
end

local function assert_serves(c)
  for _ = 1, 4 do
    local status, reason = client.get(c:address(1), "/")
    assert(status == 200, ("%s:\n%s"):format(tostring(reason), c:text()))
  end
end

describe("the master", function()
  after_each(cluster.cleanup)

  it("survives " .. STREAMS .. " hostile workers, keeps nothing that they send, and the others serve on", function()
    local attacks = 0
    for run = 1, STREAMS / WORKERS do
      local c = start(run * 1000)
      c:wait_log("worker %d+ of .* ready", nil, 2)
      local address = c:address(2)
      local conns = {}
      -- They attack when they are given a connection, at the latest; some of them never live to see one.
      for i = 1, WORKERS * 2 do conns[i] = client.open(address) end
      c:wait(function() return c:count("out: attacks$") >= WORKERS end, "the attacks", 60)
      assert_serves(c)
      attacks = attacks + c:count("out: attacks$")
      for _, conn in ipairs(conns) do conn:close() end
      assert_serves(c)
      assert_keeps_none(c)
      assert.is_nil(c.code, c:text())
      -- The last one is given the time to end as it should.
      c:signal(run < STREAMS / WORKERS and "sigquit" or "sigterm")
      local code, signal = c:wait_exit()
      assert.same({ run < STREAMS / WORKERS and FORCED or 0, 0 }, { code, signal })
      cluster.cleanup()
    end
    assert.is_true(attacks >= STREAMS)
  end)
end)
