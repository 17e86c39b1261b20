local core = require "spec.support.core"
local ffi = require "ffi"
local loop = require "spec.support.loop"
local uv = require "luv"

local STEAL_AFTER_MS = 4

describe("a turn of a worker's loop that takes long", function()
  local function judge(busy_ms, ran_ms, state)
    return core.stuck_judge(ffi.new("struct stuck_turn", { busy_ms, ran_ms * 1000, state:byte() }), STEAL_AFTER_MS)
  end

  local function is_stuck(...) return judge(...) == core.STUCK_YES end

  it("is none before it has taken steal_after", function()
    assert.equal(core.STUCK_NO, tonumber(judge(3, 3, "R")))
    assert.equal(core.STUCK_NO, tonumber(judge(3, 0, "S")))
  end)

  it("is stuck when it computes", function()
    assert.is_true(is_stuck(4, 4, "R"))
    assert.is_true(is_stuck(4, 1, "R")) -- the master has not seen all of it
    assert.is_true(is_stuck(4, 2 ^ 32 / 1000 - 1, "R"))
  end)

  it("is stuck when it is blocked, stopped, or nothing is known of it", function()
    for _, state in ipairs { "S", "D", "T", "t", "\0" } do assert.is_true(is_stuck(4, 0, state)) end
  end)

  it("starves when it only has had no processor, for a while", function()
    assert.equal(core.STUCK_STARVED, tonumber(judge(4, 0.999, "R")))
    assert.equal(core.STUCK_STARVED, tonumber(judge(39, 0.999, "R")))
    assert.is_true(is_stuck(40, 0.999, "R"))
  end)
end)

describe("the look at a worker", function()
  local stuck, child, pid, exited

  local function start(script)
    stuck, exited = ffi.new "struct stuck", false
    child, pid = uv.spawn("sh", { args = { "-c", script } }, function() exited = true end)
  end

  local function look(busy_since_ms, busy_ms)
    return core.stuck_look(stuck, pid, busy_since_ms, busy_ms, STEAL_AFTER_MS) == core.STUCK_YES
  end

  after_each(function()
    child:kill "sigkill"
    loop.wait(function() return exited end, 60, "the child's end")
  end)

  it("sees that it computes from what it has used since the first look", function()
    start "while :; do :; done"
    loop.wait(function() return core.process_cpu_ns_of(pid) > 10e6 end, 60, "the child to compute")
    look(1, 1)
    loop.wait(function() return look(1, STEAL_AFTER_MS) end, 60, "enough of it")
    assert.is_false(look(0, 0)) -- it waits in poll
    -- Right behind the first look at another turn it has used nothing, unless this process was held up in between.
    local turn = 1
    loop.wait(function()
      turn = turn + 1
      return not look(turn, 1) and not look(turn, STEAL_AFTER_MS)
    end, 60, "a turn of which it is not known yet")
  end)

  it("holds on to what it has found as long as the turn lasts", function()
    start "while :; do sleep 0.0001; done"
    look(1, 1)
    assert.is_true(look(1, STEAL_AFTER_MS * 10))
    for _ = 1, 1000 do assert.is_true(look(1, STEAL_AFTER_MS)) end
    assert.is_false(look(2, 1))
  end)

  it("sees that it is blocked", function()
    start "exec sleep 100"
    loop.wait(function() return core.process_state_of(pid) == ("S"):byte() end, 60, "the child to sleep")
    assert.is_false(look(1, 1))
    assert.is_true(look(1, STEAL_AFTER_MS))
  end)
end)
