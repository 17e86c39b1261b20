-- Workers that are replaced after so many requests, or when they have grown too big.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local load = require "spec.support.load"

describe("a worker with maxc", function()
  after_each(cluster.cleanup)

  it("is replaced again and again under load, and no client notices", function()
    local c = cluster.up { app = "hello", options = { cnum = 2, maxc = 100 } }
    local clients = load.start(c:address(), { clients = 20, think = 0.02 })
    c:wait(function() return c:count("exited, pid %d+, status 0") >= 6 end, "six workers to be replaced", 60)
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    assert.equal(0, c:count("gave up"))
    assert.equal(0, c:count("restart of worker"), "a recycled worker was treated as a crashed one")
    c:wait_workers(2)
    c:stop()
  end)

  it("serves about so many requests, not all the same number: they must not all go at once", function()
    local c = cluster.up { app = "hello", options = { cnum = 1, maxc = 80 } }
    local served, when = {}, {}
    local announced = 0
    while announced < 6 do
      local status, _, body = client.get(c:address(), "/")
      assert.equal(200, status)
      served[body] = (served[body] or 0) + 1
      for _, entry in ipairs(c:events("leaves %(maxc%)")) do
        local pid = entry.text:match("pid (%d+)")
        if not when[pid] then when[pid], announced = served[pid], announced + 1 end
      end
    end
    local least, different = math.huge, {}
    for _, count in pairs(when) do
      least = math.min(least, count)
      different[count] = true
    end
    -- How many more it serves until its successor is ready is not its own to say.
    assert.is_true(least >= 70, "replaced after " .. least)
    assert.is_true(next(different, next(different)) ~= nil, "all after the same number of requests")
  end)

  it("is replaced one at a time, and never fewer are ready than before", function()
    local c = cluster.up { app = "hello", options = { cnum = 4, maxc = 40 } }
    local mark = c:mark()
    local clients = load.start(c:address(), { clients = 20, think = 0.01 })
    c:wait(function() return c:count("exited, pid %d+, status 0") >= 8 end, "eight workers to be replaced", 60)
    clients:stop()
    local starting, ready = 0, 4
    for _, entry in ipairs(c:events("^worker %d+ of ", mark)) do
      if entry.text:find(" started, pid") then starting = starting + 1 end
      if entry.text:find(" ready, pid") then starting, ready = starting - 1, ready + 1 end
      if entry.text:find(" exited, pid") then ready = ready - 1 end
      assert.is_true(starting <= 1 and ready >= 4, c:text())
    end
  end)
end)

describe("a worker with max_rss", function()
  after_each(cluster.cleanup)

  it("is replaced when it has grown too big, and no client notices", function()
    local c = cluster.up { app = "leaks_memory", options = { cnum = 1, max_rss = 64 * 1024 * 1024 } }
    local clients = load.start(c:address(), { clients = 4, think = 0.02 })
    c:wait_log("exited, pid %d+, status 0", nil, 2, 60)
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
  end)
end)
