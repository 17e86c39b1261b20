local core = require "spec.support.core"
local ffi = require "ffi"

describe("the scheduling policy of a worker", function()
  -- What it has done in a second: turns of the loop, microseconds of processor time; how long nobody has burnt it.
  local function window(turns, cpu_us, calm_ms)
    return ffi.new("struct sched_window", { ms = 1000, turns = turns, cpu_us = cpu_us, calm_ms = calm_ms or 1e6 })
  end

  local function wants(turns, cpu_us, is_batch, calm_ms)
    return core.sched_window_wants_batch(window(turns, cpu_us, calm_ms), is_batch)
  end

  it("becomes SCHED_BATCH with many short turns", function()
    assert.is_true(wants(1000, 100000, false))
    assert.is_true(wants(10000, 900000, false))
  end)

  it("stays SCHED_OTHER with few turns, or long ones", function()
    assert.is_false(wants(0, 0, false))
    assert.is_false(wants(999, 100000, false))
    assert.is_false(wants(1000, 400000, false))
  end)

  it("stays SCHED_BATCH when turns become fewer and longer by it", function()
    assert.is_true(wants(300, 500000, true))
    assert.is_true(wants(2000, 20000, true)) -- others have the processor, it wakes up often
  end)

  it("is SCHED_OTHER again when there is little to do", function()
    assert.is_false(wants(300, 40000, true))
    assert.is_false(wants(1, 0, true))
    assert.is_false(wants(0, 0, true))
  end)

  it("is SCHED_OTHER again when turns burn the processor, in this worker or lately in another", function()
    assert.is_true(core.sched_window_burns(window(100, 200000)))
    assert.is_false(core.sched_window_burns(window(100, 199900)))
    assert.is_true(core.sched_window_burns(window(10, 100000)))
    assert.is_false(core.sched_window_burns(window(10, 99900))) -- less than a tenth of a processor
    assert.is_false(core.sched_window_burns(window(0, 0)))
    assert.is_false(wants(300, 900000, true))
    assert.is_false(wants(10000, 900000, true, 4999))
    assert.is_false(wants(10000, 900000, false, 0))
    assert.is_true(wants(10000, 900000, false, 5000))
  end)

  it("takes no time from the other workers that cannot be one", function()
    local now = 1000000
    local function calm(burnt) return tonumber(core.sched_calm_ms(burnt, now)) end
    assert.equal(0, calm(now))
    assert.equal(1, calm(now - 1))
    assert.equal(now, calm(0)) -- nobody ever
    assert.equal(0, calm(now + 1)) -- of one that is not late
    assert.equal(0, calm(now + 10000))
    assert.is_true(calm(now + 10001) > 1e12)
    assert.is_true(calm(ffi.cast("uint64_t", -1)) > 1e12)
  end)
end)
