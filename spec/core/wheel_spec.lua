local core = require "spec.support.core"
local ffi = require "ffi"

local TICK = core.WHEEL_TICK_MS
local ROTATION = core.WHEEL_TICK_MS * core.WHEEL_SLOTS

describe("wheel", function()
  local wheel, entries, entry_size, fired, on_fire, callback

  -- Index of the entry that a callback is given.
  local function index_of(entry)
    return tonumber((ffi.cast("char *", entry) - ffi.cast("char *", entries)) / entry_size)
  end

  local function make(count, now)
    wheel = ffi.new "struct wheel"
    entries = ffi.new("struct wheel_entry[?]", count)
    entry_size = ffi.sizeof "struct wheel_entry"
    fired, on_fire = {}, nil
    core.wheel_init(wheel, now or 0)
  end

  setup(function()
    callback = ffi.cast("wheel_expired_fn", function(entry)
      local index = index_of(entry)
      fired[#fired + 1] = index
      if on_fire then on_fire(index) end
    end)
  end)

  teardown(function()
    callback:free()
  end)

  local function set(index, deadline)
    core.wheel_set(wheel, entries + index, deadline)
  end

  local function is_set(index)
    return entries[index].back ~= nil
  end

  local function advance(now)
    fired = {}
    core.wheel_advance(wheel, now, callback, nil)
    return fired
  end
  jit.off(advance) -- C that calls back must not be called from compiled code

  it("fires at the tick that ends with the deadline, never before", function()
    make(4)
    set(0, 1)
    set(1, TICK)
    set(2, TICK + 1)
    assert.same({}, advance(TICK - 1))
    local first = advance(TICK)
    table.sort(first)
    assert.same({ 0, 1 }, first)
    assert.is_false(is_set(0))
    assert.is_true(is_set(2))
    assert.equal(1, tonumber(wheel.count))
    assert.same({}, advance(2 * TICK - 1))
    assert.same({ 2 }, advance(2 * TICK))
    assert.equal(0, tonumber(wheel.count))
  end)

  it("goes on from now when it was empty for a while", function()
    make(2)
    set(0, TICK)
    assert.equal(1, #advance(TICK))
    core.wheel_catch_up(wheel, 1000 * TICK)
    set(1, 1001 * TICK)
    assert.same({}, advance(1000 * TICK))
    assert.same({ 1 }, advance(1001 * TICK))
  end)

  it("fires a deadline of the past on the next tick", function()
    make(2, 10 * TICK)
    set(0, 0)
    set(1, 10 * TICK)
    assert.same({}, advance(10 * TICK))
    assert.equal(2, #advance(11 * TICK))
  end)

  it("fires earlier ticks first when it looks late", function()
    make(5)
    for index = 0, 4 do set(index, (5 - index) * TICK) end
    assert.same({ 4, 3, 2, 1, 0 }, advance(100 * TICK))
  end)

  it("does not fire what is cancelled, cancels twice, and moves", function()
    make(3)
    for index = 0, 2 do set(index, 5 * TICK) end
    core.wheel_cancel(wheel, entries + 0)
    core.wheel_cancel(wheel, entries + 0)
    set(1, 9 * TICK)
    set(2, 2 * TICK)
    assert.equal(2, tonumber(wheel.count))
    assert.same({ 2 }, advance(8 * TICK))
    assert.same({ 1 }, advance(9 * TICK))
  end)

  it("keeps deadlines of later rotations, on the same slot too", function()
    make(4)
    for index = 0, 3 do set(index, 3 * TICK + index * ROTATION) end
    assert.same({ 0 }, advance(4 * TICK))
    assert.same({}, advance(3 * TICK + ROTATION - 1))
    assert.same({ 1 }, advance(3 * TICK + ROTATION))
    assert.same({ 2 }, advance(3 * TICK + 2 * ROTATION))
    assert.same({ 3 }, advance(3 * TICK + 3 * ROTATION))
  end)

  it("misses nothing after a sleep of many rotations, and fires nothing too early", function()
    make(1000, 12345)
    for index = 0, 999 do set(index, 12345 + index * 997) end
    local now = 12345 + 500 * 997
    local due = 0
    for index = 0, 999 do
      if math.ceil((12345 + index * 997) / TICK) <= math.floor(now / TICK) then due = due + 1 end
    end
    assert.equal(due, #advance(now))
    assert.equal(1000 - due, tonumber(wheel.count))
    assert.equal(1000 - due, #advance(now + 100 * ROTATION))
  end)

  it("stands still when the clock does, or goes back", function()
    make(1, 50 * TICK)
    set(0, 51 * TICK)
    assert.same({}, advance(50 * TICK))
    assert.same({}, advance(3 * TICK))
    assert.same({ 0 }, advance(51 * TICK))
  end)

  describe("in a callback", function()
    it("an entry may be set again; in the past it comes with the next tick", function()
      make(1)
      set(0, TICK)
      on_fire = function() if #fired < 3 then set(0, 0) end end
      assert.same({ 0, 0, 0 }, advance(10 * TICK))
      set(0, 11 * TICK)
      on_fire = function() set(0, 0) end
      assert.same({ 0 }, advance(11 * TICK))
      assert.is_true(is_set(0))
    end)

    it("another that is due as well may be cancelled or moved", function()
      make(3)
      for index = 0, 2 do set(index, 2 * TICK) end
      on_fire = function(index)
        if #fired > 1 then return end
        local others = { (index + 1) % 3, (index + 2) % 3 }
        core.wheel_cancel(wheel, entries + others[1])
        set(others[2], 7 * TICK)
      end
      assert.equal(1, #advance(3 * TICK))
      assert.equal(1, tonumber(wheel.count))
      assert.equal(1, #advance(7 * TICK))
    end)

    it("one may be set that is due in the same look", function()
      make(2)
      set(0, TICK)
      on_fire = function(index) if index == 0 then set(1, 5 * TICK) end end
      assert.same({ 0, 1 }, advance(6 * TICK))
    end)

    it("the entry is no longer set, so that its owner may be freed", function()
      make(2)
      set(0, TICK)
      set(1, TICK)
      on_fire = function(index)
        assert(not is_set(index))
        ffi.fill(entries + index, entry_size, 0xff)
      end
      assert.equal(2, #advance(TICK))
      assert.equal(0, tonumber(wheel.count))
    end)
  end)

  it("does as a plain list would, with 10,000 entries and a clock that jumps", function()
    local COUNT = 10000
    make(COUNT, 0)
    local due = {} -- index -> the tick that it must fire on
    local set_count, now, last_tick = 0, 0, 0
    local seed = os.time()
    math.randomseed(seed)

    local function model_set(index, deadline)
      if not due[index] then set_count = set_count + 1 end
      set(index, deadline)
      due[index] = math.max(math.ceil(deadline / TICK), tonumber(wheel.tick) + 1)
    end
    local function model_cancel(index)
      if due[index] then set_count = set_count - 1 end
      core.wheel_cancel(wheel, entries + index)
      due[index] = nil
    end

    for index = 0, COUNT - 1 do model_set(index, math.random(0, 3 * ROTATION)) end
    local total = 0
    for step = 1, 400 do
      for _ = 1, 40 do
        local index = math.random(0, COUNT - 1)
        if math.random(4) == 1 then model_cancel(index) else model_set(index, now + math.random(0, 2 * ROTATION)) end
      end
      now = now + math.random(0, step % 50 == 0 and 2 * ROTATION or 5 * TICK)
      local now_tick, jump = math.floor(now / TICK), math.floor(now / TICK) - last_tick > core.WHEEL_SLOTS
      local previous = 0
      on_fire = function(index)
        assert(due[index], "fired though it is not set")
        assert(due[index] <= now_tick, "fired too early")
        assert(jump or due[index] >= previous, "fired out of order")
        previous = due[index]
        due[index] = nil
        set_count = set_count - 1
        if math.random(3) == 1 then model_set(index, math.max(0, now + math.random(-1000, ROTATION))) end
      end
      total = total + #advance(now)
      last_tick = now_tick
      assert.equal(set_count, tonumber(wheel.count), ("seed %d step %d"):format(seed, step))
      for index, tick in pairs(due) do
        if tick <= now_tick then error(("seed %d step %d: entry %d was missed"):format(seed, step, index)) end
      end
    end
    assert.truthy(total > 5000, total)
  end)
end)
