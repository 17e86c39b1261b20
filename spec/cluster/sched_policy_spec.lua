-- Workers are SCHED_BATCH while they wake up often for little work, and only then.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local core = require "spec.support.core"
local ffi = require "ffi"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local shared = require "spec.support.shared"
local status = require "spec.support.status"
local uv = require "luv"

local OTHER, BATCH = 0, 3 -- sched(7)
local CLIENTS, DEADLINE_S = 8, 120

-- Short requests, one after the other on each connection, until predicate() is true.
local function load_until(address, predicate, what)
  local done = false
  local tasks = {}
  for i = 1, CLIENTS do
    tasks[i] = loop.task(function()
      local conn = assert(client.connect(address))
      while not done do assert.equal(200, (conn:request("GET", "/"))) end
      conn:close()
    end)
  end
  local ok, message = pcall(loop.wait, predicate, DEADLINE_S, what)
  done = true
  loop.wait(function()
    for _, task in ipairs(tasks) do
      if not task.done then return false end
    end
    return true
  end, DEADLINE_S, "the clients to end")
  assert(ok, message)
  for _, task in ipairs(tasks) do assert.is_nil(task.error) end
end

local function policy_of(c, index) return proc.stat(c:workers()[index].pid).policy end

local function has_served_many(c) return status.of(c)[1].counters.requests > 5000 end

describe("the scheduling policy of a worker", function()
  local mapped

  after_each(function()
    if mapped then core.shared_unmap(mapped) end
    mapped = nil
    cluster.cleanup()
  end)

  it("is SCHED_BATCH under many short requests, and what was before when they end", function()
    local c = cluster.up { app = "hello", options = { cnum = 1 } }
    assert.equal(OTHER, policy_of(c, 1))
    load_until(c:address(), function() return policy_of(c, 1) == BATCH end, "SCHED_BATCH")
    loop.wait(function() return policy_of(c, 1) == OTHER end, DEADLINE_S, "SCHED_OTHER")
    c:stop()
  end)

  it("stays SCHED_OTHER where the registration says so", function()
    local c = cluster.up { dispatch = status.script {
      { "127.0.0.1:0", "hello", { cnum = 1, sched_batch = false } },
    } }
    load_until(c:address(), function()
      assert.equal(OTHER, policy_of(c, 1))
      return has_served_many(c)
    end, "many requests")
    c:stop()
  end)

  it("stays what it was told from outside", function()
    local c = cluster.up { dispatch = status.script { { "127.0.0.1:0", "hello", { cnum = 1 } } },
      shell = "chrt --batch -p 0 $$" }
    assert.equal(BATCH, proc.stat(c.pid).policy)
    load_until(c:address(), function() return has_served_many(c) end, "many requests")
    -- Five windows, after the first of which one that chose for itself would be SCHED_OTHER.
    local till = loop.now() + 0.5
    loop.wait(function()
      assert.equal(200, (client.get(c:address(), "/")))
      return loop.now() > till
    end, DEADLINE_S, "half a second")
    assert.equal(BATCH, policy_of(c, 1))
    c:stop()
  end)

  it("is SCHED_OTHER for a while in all workers when one has burnt the processor", function()
    local c = cluster.up { dispatch = status.script { { "127.0.0.1:0", "blocks_loop", { cnum = 2 } } } }
    mapped = shared.of(c)
    assert.equal(0, tonumber(mapped.burnt_ms))
    -- A request counts with the window in which it ends, and that ends with the next turn.
    loop.wait(function()
      assert.equal(200, (client.get(c:address(), "/block/200")))
      return mapped.burnt_ms ~= 0
    end, DEADLINE_S, "a worker that says so")
    local burnt = mapped.burnt_ms
    assert.is_true(math.abs(tonumber(burnt) - uv.hrtime() / 1e6) < 1e6)
    local begun = loop.now()
    load_until(c:address(), function()
      mapped.burnt_ms = ffi.cast("uint64_t", uv.hrtime() / 1e6 + 5000) -- calm not before ten seconds have passed
      for i = 1, 2 do assert.equal(OTHER, policy_of(c, i)) end
      return loop.now() > begun + 1
    end, "a second under load")
    mapped.burnt_ms = 0
    load_until(c:address(), function() return policy_of(c, 1) == BATCH or policy_of(c, 2) == BATCH end, "SCHED_BATCH")
    c:stop()
  end)
end)
