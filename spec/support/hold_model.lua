-- The bulkhead (src/bulkhead.h, src/hold.h) as a model for explore.lua: workers with slow requests, the words `slow`
-- and `ready`, death, and the master. A step is what one process does between two points at which another may act. The
-- limits of holding (time, budget) are left out: nobody may depend on them. `mutations` break a rule on purpose:
--
--   marks_without_swap   looks, and then sets the bit without looking whether something has changed
--   looks_once           a held request is not looked at again
--   keeps_mark_of_dead   the master does not clear the bit of a worker that was killed
--   stays_marked         a worker does not clear its bit when the slow code has returned

local bit = require "bit"
local copy = require("spec.support.explore").copy

local FREE, LOOKED, HELD, RUNNING, DEAD = 0, 1, 2, 3, 4
local SLOW, READY, KILLS, FIELDS = 1, 2, 3, 3
local PC, SEEN_SLOW, SEEN_READY, LEFT, EACH = 1, 2, 3, 4, 4 -- of a worker

-- bounds: workers, requests (of each), kills
return function(bounds, mutations)
  mutations = mutations or {}
  local function field(w, name) return FIELDS + (w - 1) * EACH + name end
  local function mark(w) return bit.lshift(1, w - 1) end
  local all = bit.lshift(1, bounds.workers) - 1

  local model = {}

  function model.initial()
    local s = { 0, all, bounds.kills }
    for w = 1, bounds.workers do
      for name = 1, EACH do s[field(w, name)] = 0 end
      s[field(w, LEFT)] = bounds.requests
    end
    return s
  end

  local function is_last(w, slow, ready)
    local others = bit.band(ready, bit.bnot(mark(w)))
    return others ~= 0 and bit.band(others, bit.bnot(slow)) == 0
  end

  local function look(s, w, emit)
    local n = copy(s)
    n[field(w, PC)], n[field(w, SEEN_SLOW)], n[field(w, SEEN_READY)] = LOOKED, s[SLOW], s[READY]
    emit(("worker %d looks"):format(w), n)
  end

  local function decide(s, w, emit)
    local n, seen = copy(s), s[field(w, SEEN_SLOW)]
    if is_last(w, seen, s[field(w, SEEN_READY)]) then
      n[field(w, PC)] = HELD
    elseif s[SLOW] == seen or mutations.marks_without_swap then
      n[field(w, PC)], n[SLOW] = RUNNING, bit.bor(s[SLOW], mark(w))
    else
      n[field(w, SEEN_SLOW)] = s[SLOW] -- what a failed swap has found
      emit(("worker %d looks again"):format(w), n)
      return
    end
    n[field(w, SEEN_SLOW)], n[field(w, SEEN_READY)] = 0, 0
    emit(("worker %d %s"):format(w, n[field(w, PC)] == HELD and "holds" or "runs"), n)
  end

  -- When nothing has changed, a look that finds so is no step.
  local function look_again(s, w, emit)
    if not mutations.looks_once and not is_last(w, s[SLOW], s[READY]) then look(s, w, emit) end
  end

  local function finish(s, w, emit)
    local n = copy(s)
    n[field(w, PC)], n[field(w, LEFT)] = FREE, s[field(w, LEFT)] - 1
    if not mutations.stays_marked then n[SLOW] = bit.band(s[SLOW], bit.bnot(mark(w))) end
    emit(("worker %d is done"):format(w), n)
  end

  local function kill(s, w, emit)
    if s[KILLS] == 0 then return end
    local n = copy(s)
    n[KILLS] = s[KILLS] - 1
    -- What it was executing is lost; what it held is lent to the next of its place.
    if s[field(w, PC)] == RUNNING then n[field(w, LEFT)] = s[field(w, LEFT)] - 1 end
    n[field(w, PC)], n[field(w, SEEN_SLOW)], n[field(w, SEEN_READY)] = DEAD, 0, 0
    emit(("worker %d is killed"):format(w), n)
  end

  -- The master: the dead one is not ready, then a new one is.
  local function replace(s, w, emit)
    local n = copy(s)
    if bit.band(s[READY], mark(w)) ~= 0 then
      n[READY] = bit.band(s[READY], bit.bnot(mark(w)))
      if not mutations.keeps_mark_of_dead then n[SLOW] = bit.band(s[SLOW], bit.bnot(mark(w))) end
      emit(("worker %d is reaped"):format(w), n)
    else
      n[field(w, PC)], n[READY] = FREE, bit.bor(s[READY], mark(w))
      emit(("worker %d is new"):format(w), n)
    end
  end

  local steps = { [FREE] = look, [LOOKED] = decide, [HELD] = look_again, [RUNNING] = finish, [DEAD] = replace }

  function model.successors(s, emit)
    for w = 1, bounds.workers do
      local pc = s[field(w, PC)]
      if pc ~= FREE or s[field(w, LEFT)] > 0 then steps[pc](s, w, emit) end
      if pc ~= DEAD then kill(s, w, emit) end
    end
  end

  function model.check(s)
    if s[KILLS] < bounds.kills then return end -- the free one may be the one that was killed
    for w = 1, bounds.workers do
      if s[field(w, PC)] ~= RUNNING then return end
    end
    return "slow code runs in all workers"
  end

  function model.check_end(s)
    for w = 1, bounds.workers do
      if s[field(w, LEFT)] > 0 then return "a request is held for ever" end
    end
    if s[SLOW] ~= 0 then return "a mark is never cleared" end
  end

  return model
end
