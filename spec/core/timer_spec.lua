local host = require "clua.core.host"
local loop = require "spec.support.loop"
local timer = require "clua.timer"
local uv = require "luv"

local WAIT = 10 -- seconds that bound a hang

local function wait(predicate, what)
  return loop.wait(predicate, WAIT, what)
end

describe("clua.timer", function()
  local running = {}

  local function keep(t)
    running[#running + 1] = t
    return t
  end

  after_each(function()
    for _, t in ipairs(running) do t:stop() end
    running = {}
  end)

  it("after() calls once, in a coroutine, and leaves no handle behind", function()
    loop.wait(function() return true end, 1) -- its own timer
    local before, calls, given = loop.handles(), 0, nil
    local t = keep(timer.after(0.001, function(self)
      timer.sleep(0)
      calls, given = calls + 1, self
    end))
    assert.equal("Timer: running", tostring(t))
    wait(function() return calls == 1 end, "the call")
    assert.equal(t, given)
    assert.equal("Timer: stopped", tostring(t))
    wait(function() return loop.handles() == before end, "the handles to go")
  end)

  it("after() waits at least so long, counted from now", function()
    uv.update_time()
    local begin = uv.hrtime()
    repeat until uv.hrtime() - begin > 20e6
    local start, stop = uv.hrtime(), nil
    keep(timer.after(0.02, function() stop = uv.hrtime() end))
    wait(function() return stop end, "the call")
    assert.is_true(stop - start >= 19e6)
  end)

  it("stop() before the time: no call", function()
    local calls, later = 0, false
    local t = timer.after(0.001, function() calls = calls + 1 end)
    t:stop()
    t:stop()
    keep(timer.after(0.01, function() later = true end))
    wait(function() return later end, "a later timer")
    assert.equal(0, calls)
  end)

  it("every() calls until it is stopped, by its own callback too", function()
    local calls, later = 0, false
    keep(timer.every(0.001, function(t)
      calls = calls + 1
      if calls == 3 then
        t:stop()
        keep(timer.after(0.01, function() later = true end))
      end
    end))
    wait(function() return later end, "a later timer")
    assert.equal(3, calls)
  end)

  it("every() does not start a call while one waits", function()
    local calls, ticks, co = 0, 0, nil
    keep(timer.every(0.001, function()
      calls = calls + 1
      co = coroutine.running()
      coroutine.yield()
    end))
    keep(timer.every(0.001, function() ticks = ticks + 1 end))
    wait(function() return ticks >= 10 end, "ticks")
    assert.equal(1, calls)
    host.resume(co)
    wait(function() return calls == 2 end, "the next call")
    host.resume(co)
  end)

  it("sleep() waits in a coroutine", function()
    local done
    host.spawn(function()
      timer.sleep(0.001)
      done = true
    end)
    assert.is_nil(done)
    wait(function() return done end, "the coroutine")
  end)

  for _, wrong in ipairs { -1, 0 / 0, math.huge, "1", false } do
    it("refuses " .. tostring(wrong) .. " for seconds", function()
      assert.error_matches(function() timer.after(wrong, print) end, "a number of seconds")
      assert.error_matches(function() timer.every(wrong, print) end, "a number of seconds")
    end)
  end

  it("refuses what is no function", function()
    assert.error_matches(function() timer.after(1, "x") end, "a function is expected, got string")
    assert.error_matches(function() timer.every(1) end, "a function is expected, got nil")
  end)
end)
