local Restart = require "clua.restart"

describe("clua.restart", function()
  local function new(options)
    local all = { max = 5, window = 60, delay = 0.1, delay_max = 30 }
    for key, value in pairs(options or {}) do all[key] = value end
    return Restart.new(all)
  end

  -- Deaths one after another, each worker having lived `lived`. Returns the delays, the deaths that gave up, the time.
  local function loop(restart, from, count, lived)
    local now, delays, gave_up = from, {}, {}
    for i = 1, count do
      now = now + lived
      local delay, gives_up = restart:died(now, lived)
      delays[i] = delay
      if gives_up then gave_up[#gave_up + 1] = i end
      now = now + delay
    end
    return delays, gave_up, now
  end

  it("starts at once after the first death of a worker that had lived", function()
    assert.same({ 0, false }, { new():died(100, 1) })
    assert.same({ 0, false }, { new():died(100, 3600) })
  end)

  it("waits even the first time when it had hardly lived", function()
    assert.same({ 0.1, false }, { new():died(100, 0.99) })
    assert.same({ 0.1, false }, { new():died(100, 0) })
  end)

  it("doubles the wait, gives up once after `max`, then keeps the slowest pace", function()
    local delays, gave_up = loop(new(), 0, 20, 0.05)
    assert.same({ 0.1, 0.2, 0.4, 0.8, 1.6, 30, 30, 30, 30 }, { unpack(delays, 1, 9) })
    assert.equal(30, delays[20])
    assert.same({ 6 }, gave_up)
  end)

  it("never waits longer than delay_max", function()
    local delays, gave_up = loop(new { max = 100, delay_max = 1 }, 0, 12, 0.01)
    assert.same({ 0.1, 0.2, 0.4, 0.8, 1, 1 }, { unpack(delays, 1, 6) })
    assert.equal(1, delays[12])
    assert.same({}, gave_up)
  end)

  it("forgets deaths that are older than the window", function()
    local restart = new()
    for i = 0, 4 do restart:died(i, 0) end
    assert.equal(0.1, (restart:died(64, 0))) -- the last was at 4
    assert.equal(0.2, (restart:died(123.9, 0)))
    assert.equal(0, (restart:died(184, 60)))
  end)

  it("keeps the slowest pace when the window is shorter than that", function()
    local delays, gave_up, now = loop(new { window = 10 }, 0, 15, 0.01)
    assert.same({ 6 }, gave_up)
    assert.same({ 30, 30, 30 }, { delays[6], delays[7], delays[15] })
    assert.truthy(now > 200)
  end)

  it("gives up again after a recovery", function()
    local restart = new()
    local _, gave_up, now = loop(restart, 0, 10, 0.01)
    assert.same({ 6 }, gave_up)
    assert.same({ 0, false }, { restart:died(now + 100, 100) })
    local delays
    delays, gave_up = loop(restart, now + 100, 6, 0.01)
    assert.same({ 5 }, gave_up)
    assert.same({ 0.2, 0.4, 0.8, 1.6, 30, 30 }, delays)
  end)

  it("gives up at the first death when none is allowed", function()
    assert.same({ 30, true }, { new { max = 0 }:died(5, 100) })
  end)

  it("counts the deaths of all workers of the registration together", function()
    local restart = new { max = 2 }
    restart:died(10, 100)
    restart:died(10, 100)
    assert.same({ 30, true }, { restart:died(10, 100) })
  end)
end)
