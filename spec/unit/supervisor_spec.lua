-- The policy, fed with events and a clock (spec/support/world.lua). Workers are numbered in the order of their start.

local World = require "spec.support.world"

describe("clua.supervisor", function()
  describe("start", function()
    it("starts every place and says once when all are ready", function()
      local world = World.new { count = 3 }
      world.supervisor:start()
      assert.same({ "start 1: #1", "start 2: #2", "start 3: #3" }, world:took())
      world:ready(2, 3)
      assert.same({}, world:took())
      world:ready(1)
      assert.same({ "all ready" }, world:took())
      assert.same({
        { "fork", 1, 1001 }, { "fork", 2, 1002 }, { "fork", 3, 1003 },
        { "ready", 2, 1002 }, { "ready", 3, 1003 }, { "ready", 1, 1001 },
      }, world.events)
      world:exit(1, 1)
      world:advance(1)
      world:ready(4)
      assert.equal(1, world.counts.all_ready)
    end)

    it("is ready at once with no workers", function()
      local world = World.new { count = 0 }
      world.supervisor:start()
      assert.same({ "all ready" }, world:took())
    end)

    it("tries again, and not in a tight loop, when no process can be had", function()
      local world = World.new { count = 2 }
      world.refuse = true
      world.supervisor:start()
      assert.same({ "start 1 refused", "wait 1", "start 2 refused", "wait 1" }, world:took())
      world.refuse = false
      world:advance(1)
      assert.same({ "start 1: #1", "start 2: #2" }, world:took())
      world:ready(1, 2)
      assert.same({ "all ready" }, world:took())
    end)
  end)

  describe("crash", function()
    it("restarts at once after a calm life", function()
      local world = World.running { count = 2 }
      world:exit(2, nil, "SIGSEGV")
      assert.same({ "wait 0" }, world:took())
      world:advance(0)
      assert.same({ "start 2: #3" }, world:took())
      assert.same({ { "exit", 2, 1002, nil, "SIGSEGV" }, { "fork", 2, 1003 } }, world.events)
    end)

    it("counts an exit with 0 that nobody has asked for", function()
      local world = World.running { count = 1 }
      world:exit(1, 0)
      assert.same({ "wait 0" }, world:took())
      world:advance(0)
      world:exit(2, 0)
      assert.same({ "start 1: #2", "wait 0.2" }, world:took())
    end)

    it("backs off, gives up once, goes on at the slowest pace, and recovers", function()
      local world = World.new { count = 1, max = 5, window = 60 }
      world.supervisor:start()
      local function crash()
        world:took()
        world:exit(world.serials, 1)
        local delay = tonumber(world:took()[1]:match("^wait ([%d.]+)$"))
        world:advance(delay)
        return delay
      end
      local delays = {}
      for i = 1, 5 do delays[i] = crash() end
      assert.same({ 0.1, 0.2, 0.4, 0.8, 1.6 }, delays)
      world:took()
      world:exit(6, 1)
      assert.same({ "wait 30", "give up" }, world:took())
      for serial = 7, 12 do
        world:advance(30)
        world:exit(serial, 1)
        assert.same({ ("start 1: #%d"):format(serial), "wait 30" }, world:took())
      end
      world:advance(30)
      world:ready(13)
      world:advance(100)
      world:exit(13, 1)
      assert.same({ "start 1: #13", "all ready", "wait 0" }, world:took())
      local names = {}
      for _, event in ipairs(world.events) do
        if event[1]:find("giveup") then names[#names + 1] = event[1] end
      end
      assert.same({ "giveup", "restartgiveup" }, names)
    end)

    it("gives up too when the death that is too many is a successor's or a start's", function()
      local world = World.running { count = 2, max = 2 }
      world.supervisor:reload()
      world:exit(1, 1)
      world:advance(1)
      world:exit(2, 1)
      world:took()
      world:exit(3, 1)
      local took = world:took()
      assert.same({ "wait 30", "give up" }, { took[1], took[2] })

      world = World.running { count = 1, max = 2 }
      world.refuse = true
      world:exit(1, 1)
      world:advance(5)
      assert.same({ "wait 0", "start 1 refused", "wait 1", "start 1 refused", "wait 30", "give up" }, world:took())
    end)
  end)

  describe("reload", function()
    it("replaces one at a time, each new one ready before its old one finishes", function()
      local world = World.running { count = 3 }
      local failures = {}
      world.supervisor:reload(function(failure) failures[#failures + 1] = failure or "none" end)
      assert.same({ "start 1: #4" }, world:took())
      world:ready(4)
      assert.same({ "retire #1", "start 2: #5" }, world:took())
      world:exit(1)
      assert.same({}, world:took())
      world:ready(5)
      assert.same({ "retire #2", "start 3: #6" }, world:took())
      world:ready(6)
      assert.same({ "retire #3" }, world:took())
      world:exit(3)
      assert.same({}, world:took())
      assert.same({}, failures)
      world:exit(2)
      assert.same({ "reload done" }, world:took())
      assert.same({ "none" }, failures)
      assert.same({ 4, 5, 6 }, world:serials_in("ready"))
      assert.equal(0, world:pending())
    end)

    it("never has fewer ready workers than places, nor two successors", function()
      local world = World.running { count = 4 }
      world.supervisor:reload()
      for _ = 1, 4 do
        assert.equal(4, #world:serials_in("ready"))
        local starting = world:serials_in("starting")
        assert.equal(1, #starting)
        world:ready(starting[1])
      end
      assert.equal(4, #world:serials_in("ready"))
      assert.equal(4, #world:serials_in("draining"))
    end)

    it("stops with the reason when a new worker fails; the old ones stay, and a later reload works", function()
      local world = World.running { count = 2 }
      local failures = {}
      local function done(failure) failures[#failures + 1] = failure or "none" end
      world.supervisor:reload(done)
      world:exit(3, 100)
      assert.same({ "start 1: #3", "reload failed: worker 1 of web status 100 before it was ready" }, world:took())
      assert.same({ "worker 1 of web status 100 before it was ready" }, failures)
      assert.same({ 1, 2 }, world:serials_in("ready"))
      assert.equal(0, world:pending())

      world.supervisor:reload(done)
      world:ready(4, 5)
      world:exit(1)
      world:exit(2)
      assert.same({ "start 1: #4", "retire #1", "start 2: #5", "retire #2", "reload done" }, world:took())
      assert.equal("none", failures[2])
    end)

    it("stops in the middle: what is new stays new, what drains goes on draining", function()
      local world = World.running { count = 3 }
      world.supervisor:reload()
      world:ready(4)
      world:exit(5, nil, "SIGKILL")
      assert.same({ "start 1: #4", "retire #1", "start 2: #5",
        "reload failed: worker 2 of web killed by SIGKILL before it was ready" }, world:took())
      world:exit(1)
      assert.same({}, world:took())
      assert.same({ 2, 3, 4 }, world:serials_in("ready"))
    end)

    it("at once waits for its first worker, then for nobody", function()
      local world = World.running { count = 4, at_once = true }
      world.supervisor:reload()
      assert.same({ "start 1: #5" }, world:took())
      world:ready(5)
      assert.same({ "retire #1", "start 2: #6", "start 3: #7", "start 4: #8" }, world:took())
      world.supervisor:reload()
      world:ready(7, 6)
      assert.same({ "retire #3", "retire #2" }, world:took())
      world:ready(8) -- the next reload begins with one again
      assert.same({ "retire #4", "start 1: #9" }, world:took())
    end)

    it("at once stops when one of them fails, or is given up", function()
      local world = World.running { count = 3, at_once = true }
      world.supervisor:reload()
      world:ready(4)
      world:exit(5, 1)
      assert.same({ "start 1: #4", "retire #1", "start 2: #5", "start 3: #6", "kill #6",
        "reload failed: worker 2 of web status 1 before it was ready" }, world:took())
      world.supervisor:reload()
      assert.same({}, world:took())
      world:exit(6, nil, "SIGKILL")
      assert.same({ "start 1: #7" }, world:took())
      world:ready(7)
      world:took()
      world.supervisor:give_up_incoming()
      world.supervisor:reload()
      local killed = world:took()
      table.sort(killed)
      assert.same({ "kill #8", "kill #9" }, killed)
      world:exit(9, nil, "SIGKILL")
      world:exit(8, nil, "SIGKILL")
      assert.same({ "reload failed: worker 3 of web was given up, since there is a newer edit", "start 1: #10" },
        world:took())
      assert.same({ 2, 3, 7 }, world:serials_in("ready"))
    end)

    it("reports a new worker that cannot be forked", function()
      local world = World.running { count = 2 }
      world.refuse = true
      world.supervisor:reload()
      assert.same({ "start 1 refused", "reload failed: cannot start a worker: out of processes" }, world:took())
      assert.same({ 1, 2 }, world:serials_in("ready"))
    end)

    it("during a reload follows it", function()
      local world = World.running { count = 2 }
      local order = {}
      world.supervisor:reload(function() order[#order + 1] = "first" end)
      world.supervisor:reload(function() order[#order + 1] = "second" end)
      world:ready(3, 4, 5, 6)
      assert.same({ "start 1: #3", "retire #1", "start 2: #4", "retire #2", "start 1: #5", "retire #3",
        "start 2: #6", "retire #4" }, world:took())
      for serial = 1, 4 do world:exit(serial) end
      assert.same({ "first", "second" }, order)
      assert.same({ 5, 6 }, world:serials_in("ready"))
    end)

    it("that waits does for all who ask meanwhile", function()
      local world = World.running { count = 1 }
      local heard = {}
      local function hear(name) return function(failure) heard[#heard + 1] = name .. ": " .. tostring(failure) end end
      world.supervisor:reload(hear "running")
      for _, name in ipairs { "a", "b", "c" } do world.supervisor:reload(hear(name)) end
      world:ready(2)
      world:exit(1)
      assert.same({ "running: nil" }, heard)
      world:ready(3)
      world:exit(2)
      assert.same({ "start 1: #2", "retire #1", "start 1: #3", "reload done", "retire #2", "reload done" },
        world:took())
      assert.same({ "running: nil", "a: nil", "b: nil", "c: nil" }, heard)
      assert.is_false(world.supervisor:is_reloading())
    end)

    it("that waits goes on when the one before it fails", function()
      local world = World.running { count = 2 }
      world.supervisor:reload()
      world.supervisor:reload()
      world:took()
      world:exit(3, 1)
      assert.same({ "start 1: #4", "reload failed: worker 1 of web status 1 before it was ready" }, world:took())
      world:ready(4, 5)
      world:exit(1)
      world:exit(2)
      assert.same({ "retire #1", "start 2: #5", "retire #2", "reload done" }, world:took())
    end)

    it("of no workers is done at once", function()
      local world = World.running { count = 0 }
      world.supervisor:reload()
      assert.same({ "reload done" }, world:took())
    end)

    it("replaces workers that are not ready yet: nothing is to be finished there", function()
      local world = World.new { count = 1 }
      world.supervisor:start()
      world.supervisor:reload()
      world:ready(2)
      world:exit(1, nil, "SIGKILL")
      assert.same({ "start 1: #1", "start 1: #2", "retire #1", "all ready", "reload done" }, world:took())
    end)

    it("takes the place of a restart that waits", function()
      local world = World.new { count = 1 }
      world.supervisor:start()
      world:exit(1, 1)
      world.supervisor:reload()
      world:advance(60)
      world:ready(2)
      assert.same({ "start 1: #1", "wait 0.1", "start 1: #2", "reload done", "all ready" }, world:took())
    end)
  end)

  describe("a death during a reload", function()
    it("of the old worker whose successor is starting leaves the place to that one", function()
      local world = World.running { count = 2 }
      world.supervisor:reload()
      world:exit(1, nil, "SIGSEGV")
      assert.same({ "start 1: #3" }, world:took())
      assert.equal(0, world:pending())
      world:ready(3, 4)
      world:exit(2)
      assert.same({ "start 2: #4", "retire #2", "reload done" }, world:took())
    end)

    it("of the old worker and then of its successor restarts the place and fails the reload", function()
      local world = World.running { count = 2 }
      world.supervisor:reload()
      world:exit(1, 1)
      world:exit(3, 1)
      assert.same({ "start 1: #3", "wait 0.2", "reload failed: worker 1 of web status 1 before it was ready" },
        world:took())
      world:advance(0.2)
      assert.same({ "start 1: #4" }, world:took())
    end)

    it("of the old worker when no successor could be forked leaves no place without a restart", function()
      local world = World.new { count = 1 }
      world.supervisor:start()
      world:exit(1, 1)
      world.refuse = true
      world.supervisor:reload()
      assert.same({ "start 1: #1", "wait 0.1", "start 1 refused", "wait 1",
        "reload failed: cannot start a worker: out of processes" }, world:took())
      world.refuse = false
      world:advance(1)
      assert.same({ "start 1: #2" }, world:took())
    end)

    it("of a draining worker is its end", function()
      local world = World.running { count = 1 }
      world.supervisor:reload()
      world:ready(2)
      world:exit(1, nil, "SIGKILL")
      assert.same({ "start 1: #2", "retire #1", "reload done" }, world:took())
    end)

    it("of a new worker after it was promoted is a crash like any other", function()
      local world = World.running { count = 2 }
      world.supervisor:reload()
      world:ready(3)
      world:exit(3, nil, "SIGSEGV")
      assert.same({ "start 1: #3", "retire #1", "start 2: #4", "wait 0.1" }, world:took())
      world:advance(1)
      world:ready(4, 5)
      world:exit(1)
      world:exit(2)
      assert.same({ "start 1: #5", "retire #2", "reload done" }, world:took())
    end)

    it("of one that is not at its turn yet restarts it, and its turn comes", function()
      local world = World.running { count = 2 }
      world.supervisor:reload()
      world:exit(2, 1)
      world:advance(0)
      assert.same({ "start 1: #3", "wait 0", "start 2: #4" }, world:took())
      world:ready(3)
      assert.same({ "retire #1", "start 2: #5" }, world:took())
    end)
  end)

  describe("scale", function()
    it("starts what is missing", function()
      local world = World.running { count = 1 }
      world.supervisor:scale(3)
      assert.same({ "start 2: #2", "start 3: #3" }, world:took())
    end)

    it("retires the last places first", function()
      local world = World.running { count = 3 }
      world.supervisor:scale(1)
      assert.same({ "retire #3", "retire #2" }, world:took())
      world:exit(3)
      world:exit(2)
      assert.same({}, world:took())
      assert.equal(0, world:pending())
    end)

    it("to nothing and back", function()
      local world = World.running { count = 2 }
      world.supervisor:scale(0)
      world.supervisor:scale(2)
      assert.same({ "retire #2", "retire #1", "start 1: #3", "start 2: #4" }, world:took())
      world:exit(1)
      world:exit(2, nil, "SIGKILL")
      world:ready(3, 4)
      assert.same({}, world:took())
      world:exit(3, 1)
      assert.same({ "wait 0.1" }, world:took())
    end)

    it("down forgets a restart that waits", function()
      local world = World.running { count = 2 }
      world:exit(2, 1)
      world.supervisor:scale(1)
      world:advance(100)
      assert.same({ "wait 0" }, world:took())
      assert.equal(0, world:pending())
    end)

    it("down to those that are ready says that all are", function()
      local world = World.new { count = 2 }
      world.supervisor:start()
      world:ready(1)
      world.supervisor:scale(1)
      assert.same({ "start 1: #1", "start 2: #2", "retire #2", "all ready" }, world:took())
    end)

    it("down during a reload drops the successor and ends the reload", function()
      local world = World.running { count = 2 }
      world.supervisor:reload()
      world:ready(3)
      world:exit(1)
      world:took()
      world.supervisor:scale(1)
      assert.same({ "retire #2", "kill #4", "reload done" }, world:took())
      world:exit(4, nil, "SIGKILL")
      world:exit(2)
      assert.same({}, world:took())
      assert.same({ 3 }, world:serials_in("ready"))
    end)

    it("to nothing during a reload starts no successor any more", function()
      local world = World.running { count = 3 }
      world.supervisor:reload()
      world:took()
      world.supervisor:scale(0)
      assert.same({ "retire #3", "retire #2", "retire #1", "kill #4", "reload done" }, world:took())
    end)

    it("down and up again during a reload replaces what is left of it", function()
      local world = World.running { count = 3 }
      world.supervisor:reload()
      world.supervisor:scale(1)
      world.supervisor:scale(2)
      assert.same({ "start 1: #4", "retire #3", "retire #2", "start 2: #5" }, world:took())
      world:ready(5, 4)
      world:exit(3)
      world:exit(2)
      world:exit(1)
      assert.same({ "retire #1", "start 2: #6" }, world:took())
      world:ready(6)
      world:exit(5)
      assert.same({ "retire #5", "reload done" }, world:took())
    end)
  end)

  describe("on demand", function()
    local function asleep(options)
      options = options or {}
      options.count = 0
      return World.running(options)
    end

    it("a worker is started when clients wait, and finishes when it is idle, again and again", function()
      local world = asleep()
      assert.is_true(world.on_demand)
      for serial = 1, 3 do
        world.supervisor:demand()
        world.supervisor:demand()
        assert.same({ ("start 1: #%d"):format(serial) }, world:took())
        world:ready(serial)
        world.supervisor:demand()
        assert.same({}, world:took())
        world.supervisor:idle(serial)
        world.supervisor:idle(serial)
        assert.same({ ("retire #%d"):format(serial) }, world:took())
        if serial < 3 then world:exit(serial) end
        assert.equal(0, world:pending())
      end
      world.supervisor:demand() -- while the one before is still draining
      assert.same({ "start 1: #4" }, world:took())
      world:exit(3)
      world:ready(4)
      world.supervisor:idle(4)
      world:exit(4)
      assert.same({ "retire #4" }, world:took())
      assert.equal(0, world.supervisor.worker_count)
    end)

    it("no worker is started where some are wanted anyway, and none of those is idle", function()
      local world = World.running { count = 1 }
      assert.is_false(world.on_demand)
      world.supervisor:demand()
      world.supervisor:idle(1)
      assert.same({}, world:took())
    end)

    it("one that crashes is started again by those who wait, not before its time", function()
      local world = asleep()
      world.supervisor:demand()
      world:exit(1, 1)
      world:took()
      world.supervisor:demand()
      assert.same({}, world:took())
      world:advance(0.2)
      assert.same({}, world:took()) -- nobody waits any more
      world.supervisor:demand()
      assert.same({ "start 1: #2" }, world:took())
    end)

    it("one that cannot be forked is tried again by those who wait", function()
      local world = asleep()
      world.refuse = true
      world.supervisor:demand()
      world.supervisor:demand()
      assert.same({ "start 1 refused", "wait 1" }, world:took())
      world.refuse = false
      world:advance(1)
      world.supervisor:demand()
      assert.same({ "start 1: #1" }, world:took())
    end)

    it("one that leaves by itself is followed by none", function()
      local world = asleep()
      world.supervisor:demand()
      world:ready(1)
      world:took()
      world:leave(1, "term")
      assert.same({}, world:took())
      world.supervisor:demand()
      assert.same({ "start 1: #2" }, world:took())
    end)

    it("one is reloaded, and is not idle while its successor starts", function()
      local world = asleep()
      world.supervisor:demand()
      world:ready(1)
      world.supervisor:reload()
      world.supervisor:idle(1)
      world:took()
      world:ready(2)
      assert.same({ "retire #1" }, world:took())
      world:exit(1)
      assert.same({ "reload done" }, world:took())
      world.supervisor:idle(2)
      assert.same({ "retire #2" }, world:took())
    end)

    it("one is the first when the count goes up", function()
      local world = asleep()
      world.supervisor:demand()
      world:ready(1)
      world:took()
      world.supervisor:scale(2)
      assert.same({ "start 2: #2" }, world:took())
      world.supervisor:idle(1)
      assert.same({}, world:took())
      assert.is_false(world.on_demand)
      world.supervisor:scale(0)
      assert.is_true(world.on_demand)
      assert.same({ "retire #1" }, { (world:took()[2]) })
    end)

    it("none is started by a stop, nor where it is not wanted", function()
      local world = asleep()
      world.supervisor:stop()
      world.supervisor:demand()
      assert.is_false(world.on_demand)
      assert.same({ "all gone" }, world:took())
      world = asleep { on_demand = false }
      assert.is_false(world.on_demand)
    end)

    it("one is adopted by an upgraded master", function()
      local world = asleep()
      world.processes[7] = { id = 1, serial = 7, state = "ready", born = 0 }
      world.supervisor:adopt({ { id = 1, serial = 7, pid = 1007, state = "ready" } },
        { reloading = false, recycling = {}, demanded = true })
      assert.same({}, world:took())
      world.supervisor:idle(7)
      assert.same({ "retire #7" }, world:took())
      world = asleep()
      world.processes[7] = { id = 1, serial = 7, state = "ready", born = 0 }
      world.supervisor:adopt({ { id = 1, serial = 7, pid = 1007, state = "ready" } }, nil) -- was wanted before
      assert.same({ "retire #7" }, world:took())
    end)
  end)

  describe("leave", function()
    for _, reason in ipairs { "maxc", "max_rss" } do
      it("for " .. reason .. " replaces the worker, new one first", function()
        local world = World.running { count = 2 }
        world:leave(2, reason)
        assert.same({ "start 2: #3" }, world:took())
        world:ready(3)
        assert.same({ "retire #2" }, world:took())
        world:exit(2)
        assert.same({}, world:took())
        assert.same({ 1, 3 }, world:serials_in("ready"))
      end)
    end

    it("of several replaces one after the other", function()
      local world = World.running { count = 3 }
      for serial = 1, 3 do world:leave(serial, "maxc") end
      world:ready(4, 5, 6)
      assert.same({ "start 1: #4", "retire #1", "start 2: #5", "retire #2", "start 3: #6", "retire #3" }, world:took())
    end)

    it("replaces a worker once, however often it asks", function()
      local world = World.running { count = 1 }
      for _ = 1, 5 do world:leave(1, "maxc") end
      world:leave(1, "max_rss")
      world:ready(2)
      world:leave(1, "maxc")
      assert.same({ "start 1: #2", "retire #1" }, world:took())
    end)

    it("during a reload does not replace the successor", function()
      local world = World.running { count = 2 }
      world.supervisor:reload()
      world:leave(2, "maxc")
      world:ready(3, 4)
      assert.same({ "start 1: #3", "retire #1", "start 2: #4", "retire #2" }, world:took())
    end)

    it("of one that crashes meanwhile is a restart, no more", function()
      local world = World.running { count = 2 }
      world:leave(1, "maxc")
      world:leave(2, "maxc")
      world:exit(2, 1)
      world:advance(0)
      world:ready(4, 3)
      assert.same({ "start 1: #3", "wait 0", "start 2: #4", "retire #1" }, world:took())
    end)

    it("is tried again later when there is no new worker to be had", function()
      local world = World.running { count = 1 }
      world:leave(1, "max_rss")
      world:exit(2, 1)
      assert.same({ "start 1: #2", "wait 30" }, world:took())
      world:advance(30)
      assert.same({ "start 1: #3" }, world:took())
      world:ready(3)
      assert.same({ "retire #1" }, world:took())
    end)

    it("that failed is tried again once, however often the worker had asked", function()
      local world = World.running { count = 1 }
      for _ = 1, 5 do world:leave(1, "maxc") end
      world:exit(2, 1)
      world:leave(1, "max_rss")
      assert.same({ "start 1: #2", "wait 30" }, world:took())
    end)

    it("is not tried again for a worker that has gone", function()
      local world = World.running { count = 1 }
      world:leave(1, "maxc")
      world:exit(2, 1)
      world.supervisor:reload()
      world:ready(3)
      world:exit(1)
      world:took()
      world:advance(100)
      assert.same({}, world:took())
      assert.same({ 3 }, world:serials_in("ready"))
    end)

    it("for SIGTERM starts a new worker at once: the old one drains already", function()
      local world = World.running { count = 2 }
      world:leave(1, "term")
      assert.same({ "start 1: #3" }, world:took())
      world:exit(1)
      assert.same({}, world:took())
      world:ready(3)
      world:exit(3, 1)
      assert.same({ "wait 0.1" }, world:took())
    end)

    it("for SIGTERM while its successor is starting leaves the place to that one", function()
      local world = World.running { count = 1 }
      world:leave(1, "maxc")
      world:leave(1, "term")
      world:exit(1)
      world:ready(2)
      assert.same({ "start 1: #2" }, world:took())
      assert.same({ 2 }, world:serials_in("ready"))
    end)

    it("of a worker that was never ready is counted as the crash that it is", function()
      local world = World.new { count = 1 }
      world.supervisor:start()
      world:leave(1, "term")
      world:exit(1, nil, "SIGKILL")
      world:advance(0.1)
      world:leave(2, "maxc")
      world:exit(2, nil, "SIGKILL")
      assert.same({ "start 1: #1", "wait 0.1", "start 1: #2", "wait 0.2" }, world:took())
    end)
  end)

  describe("stop", function()
    it("retires every worker and says once that all are gone", function()
      local world = World.running { count = 2 }
      world.supervisor:stop()
      world.supervisor:stop()
      local took = world:took()
      table.sort(took)
      assert.same({ "retire #1", "retire #2" }, took)
      world:exit(2)
      assert.same({}, world:took())
      world:exit(1, nil, "SIGKILL")
      assert.same({ "all gone" }, world:took())
      world:advance(100)
      assert.same({}, world:took())
    end)

    it("with no workers is over at once", function()
      local world = World.running { count = 0 }
      world.supervisor:stop()
      assert.same({ "all gone" }, world:took())
    end)

    it("starts nothing more: no restart, no successor, no replacement", function()
      local world = World.running { count = 3 }
      world.supervisor:reload()
      world:exit(3, 1) -- a restart waits
      world:leave(2, "maxc")
      world:took()
      world.supervisor:stop()
      assert.equal(0, world:pending())
      for _, serial in ipairs(world:serials_in("draining", "killed")) do world:exit(serial) end
      world:advance(1000)
      world.supervisor:scale(9)
      world.supervisor:reload()
      for _, text in ipairs(world:took()) do assert.is_nil(text:find("start")) end
      assert.equal(1, world.counts.all_gone)
    end)

    it("during a start kills what is not ready", function()
      local world = World.new { count = 1 }
      world.supervisor:start()
      world.supervisor:stop()
      world:exit(1, nil, "SIGKILL")
      assert.same({ "start 1: #1", "retire #1", "all gone" }, world:took())
    end)

    it("fails every reload that has not ended", function()
      for phase = 1, 3 do
        local world = World.running { count = 2 }
        local failures = {}
        for _ = 1, 2 do
          world.supervisor:reload(function(failure) failures[#failures + 1] = failure or "none" end)
        end
        if phase >= 2 then world:ready(3) end
        if phase >= 3 then world:ready(4) end
        world.supervisor:stop()
        for serial in pairs(world.processes) do world:exit(serial) end
        assert.same({ "the master stops", "the master stops" }, failures)
        assert.equal(1, world.counts.all_gone)
      end
    end)

    it("kills all at once, whatever they do", function()
      local world = World.running { count = 2 }
      world.supervisor:reload()
      world:ready(3)
      world:took()
      world.supervisor:kill()
      local took = world:took()
      table.sort(took)
      assert.same({ "kill #1", "kill #2", "kill #3", "kill #4", "reload failed: the master stops", "retire #1",
        "retire #2", "retire #3", "retire #4" }, took)
      for serial = 1, 4 do world:exit(serial, nil, "SIGKILL") end
      assert.same({ "all gone" }, world:took())
    end)

    it("can be made to hurry", function()
      local world = World.running { count = 1 }
      world.supervisor:stop()
      world.supervisor:kill()
      assert.same({ "retire #1", "kill #1" }, world:took())
    end)
  end)

  describe("adopt", function()
    -- Workers as { id, state }, numbered in their order, of a master that was upgraded.
    local function adopt(count, workers, state)
      local world = World.new { count = count }
      local known = {}
      for serial, worker in ipairs(workers) do
        world.processes[serial] = { id = worker[1], serial = serial, state = worker[2], born = 0 }
        known[serial] = { id = worker[1], serial = serial, pid = 1000 + serial, state = worker[2] }
      end
      world.serials = #workers
      world.supervisor:adopt(known, state)
      return world
    end

    it("goes on with the workers that run, and says nothing of it", function()
      local world = adopt(2, { { 1, "ready" }, { 2, "starting" } })
      world:ready(2)
      assert.same({}, world:took())
      assert.equal(0, world.counts.all_ready)
      world:advance(100)
      world:exit(1, nil, "SIGSEGV")
      assert.same({ "wait 0" }, world:took())
    end)

    it("starts what is missing, and lets go what ends", function()
      local world = adopt(3, { { 1, "ready" }, { 2, "draining" }, { 2, "exiting" }, { 3, "killed" } })
      assert.same({ "start 2: #5", "start 3: #6" }, world:took())
      for serial = 2, 4 do world:exit(serial) end
      assert.same({}, world:took())
    end)

    it("retires what has no place any more", function()
      local world = adopt(1, { { 1, "ready" }, { 2, "ready" } })
      assert.same({ "retire #2" }, world:took())
      world:exit(2)
      assert.same({}, world:took())
    end)

    it("keeps the worker that is ready, not its unfinished successor, in whatever order they come", function()
      assert.same({ "retire #2" }, adopt(1, { { 1, "ready" }, { 1, "starting" } }):took())
      local world = adopt(1, { { 1, "starting" }, { 1, "ready" } })
      assert.same({ "retire #1" }, world:took())
      assert.same({ 2 }, world:serials_in("ready"))
      world:exit(1, nil, "SIGKILL")
      assert.same({}, world:took())
    end)

    it("begins again what was under way", function()
      local before = World.running { count = 2 }
      before.supervisor:on_leave(2, "maxc")
      assert.same({
        demanded = false, reloading = false, recycling = { [1002] = "maxc" }, exits = {}, leaving = {},
      }, before.supervisor:state())
      before.supervisor:reload()
      local state = before.supervisor:state()
      assert.is_true(state.reloading)

      local world = adopt(2, { { 1, "ready" }, { 2, "ready" } }, { reloading = false, recycling = { [1002] = "maxc" } })
      assert.same({ "start 2: #3" }, world:took())
      world:ready(3)
      assert.same({ "retire #2" }, world:took())

      world = adopt(1, { { 1, "ready" }, { 1, "starting" } }, { reloading = true, recycling = {} })
      assert.same({ "retire #2", "start 1: #3" }, world:took())
      world:ready(3)
      world:exit(1)
      assert.same({ "retire #1", "reload done" }, world:took())
    end)

    it("does not begin a reload again that only waits for an old worker", function()
      local world = World.running { count = 1 }
      world.supervisor:reload()
      assert.is_true(world.supervisor:is_reloading())
      world:ready(2)
      assert.is_false(world.supervisor:is_reloading())
      assert.same({
        demanded = false, reloading = false, recycling = {}, exits = {}, leaving = { [1001] = "reload" },
      }, world.supervisor:state())
    end)

    it("can reload, and stops with all of them", function()
      local world = adopt(1, { { 1, "ready" }, { 1, "draining" } })
      world.supervisor:reload()
      world:ready(3)
      world:exit(1)
      assert.same({ "start 1: #3", "retire #1", "reload done" }, world:took())
      world.supervisor:stop()
      world:exit(3)
      assert.equal(0, world.counts.all_gone)
      world:exit(2)
      assert.equal(1, world.counts.all_gone)
    end)
  end)

  describe("a handler that acts", function()
    local function acts(world, on, fn)
      world.handler = function(event)
        if event ~= on then return end
        world.handler = nil
        fn()
      end
    end

    it("reload in 'fork' does not lose the worker that was forked", function()
      local world = World.running { count = 2 }
      acts(world, "fork", function() world.supervisor:reload() end)
      world.supervisor:reload()
      world:ready(3, 4, 5, 6)
      for serial = 1, 4 do world:exit(serial) end
      assert.same({ 5, 6 }, world:serials_in("starting", "ready", "draining"))
    end)

    it("scale in 'fork' leaves no worker without a place", function()
      local world = World.new { count = 3 }
      acts(world, "fork", function() world.supervisor:scale(0) end)
      world.supervisor:start()
      assert.same({}, world:serials_in("starting", "ready"))
    end)

    it("stop in 'exit' of the last worker ends once", function()
      local world = World.running { count = 1 }
      acts(world, "exit", function() world.supervisor:stop() end)
      world:exit(1, 1)
      world:advance(100)
      assert.same({ "wait 0", "all gone" }, world:took())
    end)

    it("stop in the report of a reload", function()
      local world = World.running { count = 2 }
      world.supervisor:reload(function() world.supervisor:stop() end)
      world:exit(3, 1)
      local took = world:took()
      assert.same({ "start 1: #3", "reload failed: worker 1 of web status 1 before it was ready" },
        { took[1], took[2] })
      assert.same({ 1, 2 }, world:serials_in("draining"))
    end)

    it("reload in 'exit' of a worker that had crashed takes the place of its restart", function()
      local world = World.running { count = 1 }
      acts(world, "exit", function() world.supervisor:reload() end)
      world:exit(1, 1)
      world:advance(1)
      assert.same({ "wait 0", "start 1: #2" }, world:took())
    end)
  end)

  -- Whatever happens in whatever order, what must hold, holds.
  describe("any history", function()
    local function check(world)
      local supervisor = world.supervisor
      local incoming = 0
      local held = {}
      for id, place in pairs(supervisor.places) do
        assert(id >= 1 and id <= math.max(supervisor.count, supervisor.demanded and 1 or 0), "a place beyond the count")
        assert(place.current or place.incoming or place.cancel or supervisor.stopping, "a place without a worker")
        assert(not (place.cancel and (place.current or place.incoming)), "a start is due in a place that has a worker")
        if place.incoming then incoming = incoming + 1 end
        for _, worker in pairs { place.current or nil, place.incoming or nil } do
          assert(world.processes[worker.serial], "a place with a dead worker")
          held[worker.serial] = true
        end
      end
      assert(incoming <= 1 or supervisor.at_once, "two replacements at a time")
      assert(supervisor.stopping or #supervisor.queue == 0 or next(supervisor.replacing),
        "replacements that nobody begins")
      assert(world.on_demand == (supervisor.count == 0 and not supervisor.stopping), "nobody would start a worker")
      for serial, process in pairs(world.processes) do
        local idle = process.state == "starting" or process.state == "ready"
        assert(not idle or held[serial], "a worker that no place knows")
      end
    end

    -- One random thing that can happen; returns a word for the report.
    local function happen(world, random, reload)
      local supervisor = world.supervisor
      local serials = world:serials_in("starting", "ready", "draining", "killed")
      local serial = #serials > 0 and serials[random(#serials)]
      local process = serial and world.processes[serial]
      local dice = random(100)
      if dice <= 3 then
        supervisor:scale(random(0, 4))
      elseif dice <= 8 then
        reload()
      elseif dice <= 10 and world.on_demand then
        supervisor:demand()
      elseif process and process.state == "ready" and world.on_demand and dice <= 40 then
        supervisor:idle(serial)
      elseif dice <= 12 then
        world.refuse = random(3) == 1
      elseif dice <= 30 then
        world:advance(random() * random(40))
      elseif process and process.state == "starting" and dice <= 70 then
        world:ready(serial)
      elseif process and process.state == "ready" and dice <= 60 then
        world:leave(serial, ({ "term", "maxc", "max_rss" })[random(3)])
      elseif process then
        world:exit(serial, random(0, 1))
      end
    end

    -- Everything that can come to an end does.
    local function settle(world)
      world.refuse = false
      for _ = 1, 200 do
        local starting = world:serials_in("starting")
        if starting[1] then
          world:ready(starting[1])
        else
          for _, serial in ipairs(world:serials_in("draining", "killed")) do world:exit(serial) end
          world:advance(31)
        end
      end
    end

    it("keeps every place, ends every reload once, and stops", function()
      local seed = os.time()
      math.randomseed(seed)
      for round = 1, 300 do
        local world = World.new {
          count = math.random(0, 4), at_once = math.random(2) == 1, max = math.random(0, 6),
          window = math.random(5, 60),
        }
        local asked, ended = 0, {}
        local function reload()
          asked = asked + 1
          local this = asked
          world.supervisor:reload(function() ended[this] = (ended[this] or 0) + 1 end)
        end
        local ok, why = pcall(function()
          world.supervisor:start()
          for _ = 1, math.random(120) do
            happen(world, math.random, reload)
            check(world)
          end
          local stops = math.random(2) == 1
          if not stops then
            settle(world)
            check(world)
            for _, serial in ipairs(world.on_demand and world:serials_in("ready") or {}) do
              world.supervisor:idle(serial)
              world:exit(serial)
            end
            assert.equal(world.supervisor.count, #world:serials_in("ready"))
            assert.equal(0, #world:serials_in("starting", "draining", "killed"))
            assert.equal(0, #world.supervisor.jobs)
          end
          world.supervisor:stop()
          world:took()
          for _, serial in ipairs(world:serials_in("starting", "ready", "draining", "killed")) do world:exit(serial) end
          world:advance(100)
          for _, text in ipairs(world:took()) do assert.is_nil(text:find("^start")) end
          assert.equal(1, world.counts.all_gone)
          for i = 1, asked do assert.equal(1, ended[i]) end
        end)
        if not ok then error(("seed %d, round %d: %s"):format(seed, round, why)) end
      end
    end)
  end)

  describe("exits", function()
    it("are counted by what was wanted of the worker", function()
      local world = World.running { count = 3 }
      world:leave(1, "maxc")
      world:ready(4)
      world:exit(1)
      world:leave(2, "term")
      world:exit(2)
      world:ready(5)
      world.supervisor:scale(2)
      world:exit(3)
      world.supervisor:reload()
      world:ready(6)
      world:exit(4)
      world:ready(7)
      world:exit(5)
      assert.same({ maxc = 1, term = 1, scale = 1, reload = 2 }, world.supervisor.exits)
      world.supervisor:stop()
      world:exit(6)
      world.supervisor:kill()
      world:exit(7, nil, "SIGKILL")
      assert.equal(2, world.supervisor.exits.stop)
    end)

    it("are counted by how the worker has died when it was told nothing, or did not do what it was told", function()
      local world = World.running { count = 4 }
      world:exit(1, nil, "SIGSEGV")
      world:exit(2, 7)
      world:exit(3, 0)
      world:exit(4, nil, "SIGKILL", "hang")
      assert.same({ SIGSEGV = 1, ["status 7"] = 1, ["status 0"] = 1, hang = 1 }, world.supervisor.exits)
      world = World.running { count = 2 }
      world.supervisor:reload()
      world:exit(3, nil, "SIGKILL", "ready_timeout")
      world.supervisor:scale(1)
      world:exit(2, nil, "SIGKILL", "term_timeout")
      world.supervisor:scale(0)
      world:exit(1, 1)
      assert.same({ ready_timeout = 1, term_timeout = 1, ["status 1"] = 1 }, world.supervisor.exits)
    end)

    it("of a worker that is killed before it was ready, since it is not wanted any more, are no crash", function()
      local world = World.new { count = 2 }
      world.supervisor:start()
      world:ready(1)
      world.supervisor:scale(1)
      world:exit(2, nil, "SIGKILL")
      world.supervisor:reload()
      world.supervisor:scale(0)
      world:exit(3, nil, "SIGKILL")
      assert.same({ scale = 2 }, world.supervisor.exits)
    end)

    it("go on counting after an upgrade, for workers that were told before it, too", function()
      local world = World.running { count = 2 }
      world:exit(2, nil, "SIGSEGV")
      world:advance(0)
      world:ready(3)
      world.supervisor:scale(1)
      local state = world.supervisor:state()
      local new = World.new { count = 1 }
      new.processes = world.processes
      new.supervisor:adopt({
        { id = 1, serial = 1, pid = 1001, state = "ready" }, { id = 2, serial = 3, pid = 1003, state = "draining" },
      }, state)
      new:exit(3)
      assert.same({ SIGSEGV = 1, scale = 1 }, new.supervisor.exits)
    end)
  end)
end)
