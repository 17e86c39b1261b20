-- Everything at once: kills, stops, reloads, scaling in a random order under load. What design.md promises holds.
-- CLUA_SPEC_CHAOS=N sets the number of blows, CLUA_SPEC_SEED the order.

local cluster = require "spec.support.cluster"
local load = require "spec.support.load"
local loop = require "spec.support.loop"
local uv = require "luv"

local BLOWS = tonumber(os.getenv("CLUA_SPEC_CHAOS")) or 60
local SEED = tonumber(os.getenv("CLUA_SPEC_SEED")) or 1

describe("a cluster under blows", function()
  after_each(cluster.cleanup)

  it("loses nothing but requests in workers that were killed (seed " .. SEED .. ")", function()
    math.randomseed(SEED)
    local c = cluster.up {
      app = "slow", options = { cnum = 3, linger = 0.05 },
      master = { max_fatal_restart = 100000, restart_delay = 0.01, restart_delay_max = 0.05 },
    }
    local fds = c:fds()
    local quick = load.start(c:address(), { clients = 30, think = 0.05 })
    local slow = load.start(c:address(), { clients = 10, think = 0.05, path = "/sleep/30" })
    local kills, scaled = {}, 0

    local function victim()
      local ready = {}
      for _, member in ipairs(c:workers()) do
        if member.ready then ready[#ready + 1] = member.pid end
      end
      return ready[math.random(1, math.max(1, #ready))]
    end

    local blows = {
      function(pid)
        kills[#kills + 1] = loop.now()
        uv.kill(pid, "sigkill")
      end,
      function(pid) uv.kill(pid, "sigterm") end,
      function(pid)
        uv.kill(pid, "sigstop")
        quick:wait(5)
        uv.kill(pid, "sigcont")
      end,
      function(pid)
        -- Killed while it is stopped, with loans on their way to it: what it executes is lost from here on.
        kills[#kills + 1] = loop.now()
        uv.kill(pid, "sigstop")
        quick:wait(5)
        kills[#kills + 1] = loop.now()
        uv.kill(pid, "sigkill")
      end,
      function() c:signal("sigusr1") end,
      function()
        if scaled < 3 then
          scaled = scaled + 1
          c:signal("sigttin")
        end
      end,
      function()
        if scaled > 0 then
          scaled = scaled - 1
          c:signal("sigttou")
        end
      end,
    }

    for _ = 1, BLOWS do
      local pid = victim()
      if pid then blows[math.random(1, #blows)](pid) end
      quick:wait(math.random(1, 40))
      slow:wait(math.random(0, 5))
    end
    quick:stop()
    slow:stop()
    quick:assert_only_killed(kills)
    slow:assert_only_killed(kills)

    c:wait_workers(3 + scaled)
    assert.equal(3 + scaled, #c:left())
    -- One channel a worker, and the timers of the kernel are none.
    loop.wait(function() return c:fds() <= fds + scaled * 2 end, 10, c:explain("descriptors to be closed"))
    c:stop()
  end)
end)
