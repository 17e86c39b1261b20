-- The steps of a worker in the loan model: one compare-and-swap, one store, one system call each, for a kill may strike
-- between any two. See loan_model.lua.

local copy = require("spec.support.explore").copy
local l = require "spec.support.loan.layout"

local UNTOUCHED, IDLE, READING, RESPONDING = l.UNTOUCHED, l.IDLE, l.READING, l.RESPONDING
local TAKEN = l.TAKEN
local NONE, WATCH, CLAIMED, EXECUTING, ANSWERING = l.NONE, l.WATCH, l.CLAIMED, l.EXECUTING, l.ANSWERING
local ANSWERED, SHUTTING, CLOSING, STORING, PUSHING = l.ANSWERED, l.SHUTTING, l.CLOSING, l.STORING, l.PUSHING

-- Returns worker_steps(state, w, emit).
return function(m, mutations)
  local connections, workers = m.connections, m.workers

  -- The worker's compare-and-swap out of UNTOUCHED or IDLE; false when the master has been faster.
  local function win(n, worker, i, target)
    if n[worker.word[i]] == TAKEN and not mutations.reads_without_winning then return false end
    n[worker.word[i]] = target
    return true
  end

  local function receive(s, w, emit)
    local worker, n = workers[w], copy(s)
    local message = l.pop(n, worker.channel)
    if message == l.DRAIN then
      n[worker.draining] = 1
      return emit(("worker %d begins to drain"):format(w), n)
    end
    local i, c = l.unpair(message)
    n[worker.stream[i]], n[worker.pc[i]], n[worker.dup[i]] = c, WATCH, 1
    emit(("worker %d receives %d"):format(w, c), n)
    if s[m.truncations] == 0 then return end
    n = copy(s)
    l.pop(n, worker.channel)
    n[m.truncations] = s[m.truncations] - 1
    if not mutations.ignores_truncation then
      -- No swap: if the master has taken it back meanwhile, it ignores how the loan is completed.
      n[worker.kind[i]], n[worker.stream[i]], n[worker.pc[i]] = l.BACK, c, STORING
    end
    emit(("worker %d receives %d without its descriptor"):format(w, c), n)
  end

  local function readable(s, conn)
    return s[conn.unread] == 1 or s[conn.outcome] == l.HUNG_UP or s[conn.shut] == 1
  end

  -- steps[pc](s, worker, i, c, go): go(what, pc, change) emits a step.
  local steps = {}

  steps[WATCH] = function(s, worker, i, c, go)
    local word = s[worker.word[i]]
    if word == TAKEN and not mutations.looks_only_when_readable then
      go("finds taken", CLOSING, function(n) n[worker.kind[i]] = l.DROP end)
    end
    if readable(s, connections[c]) then
      go("claims", nil, function(n)
        if win(n, worker, i, READING) then
          n[worker.pc[i]] = CLAIMED
        else
          n[worker.kind[i]], n[worker.pc[i]] = l.DROP, mutations.shuts_what_is_taken and SHUTTING or CLOSING
        end
      end)
    end
    if word == IDLE or (word == UNTOUCHED and s[worker.draining] == 1) then
      go("gives back", CLOSING, function(n)
        n[worker.kind[i]] = word == IDLE and l.PARK or l.BACK
        n[worker.word[i]] = word == IDLE and l.GIVEN_PARKED or l.GIVEN_BACK
      end)
    end
  end

  steps[CLAIMED] = function(s, _, _, c, go)
    if s[connections[c].unread] == 1 then
      go("reads", EXECUTING, function(n) n[connections[c].unread] = 0 end)
    elseif readable(s, connections[c]) then
      go("reads the end of", SHUTTING)
    end
  end

  -- An answer after which the connection goes on is announced before its only write; another one is not.
  steps[EXECUTING] = function(s, worker, i, c, go)
    local answered = s[connections[c].answered]
    local function begin(n, word)
      n[worker.written[i]], n[worker.word[i]] = answered + 1, word
    end
    if not mutations.announces_no_answer then
      go("announces its answer to", ANSWERING, function(n) begin(n, l.WORD_ANSWERED) end)
    end
    if mutations.announces_no_answer or answered + 1 == m.requests then
      go("publishes responding of", ANSWERING, function(n) begin(n, RESPONDING) end)
    end
  end

  steps[ANSWERING] = function(s, _, _, c, go)
    go("answers", ANSWERED, function(n) n[connections[c].answered] = s[connections[c].answered] + 1 end)
  end

  steps[ANSWERED] = function(s, worker, i, c, go)
    local announced = s[worker.word[i]] == l.WORD_ANSWERED or mutations.announces_no_answer
    if announced then
      go("publishes idle of", WATCH, function(n) n[worker.word[i]], n[worker.written[i]] = IDLE, 0 end)
    end
    if s[connections[c].answered] == m.requests then go("has done with", SHUTTING) end
  end

  steps[SHUTTING] = function(s, worker, i, c, go)
    go("shuts down", CLOSING, function(n)
      n[connections[c].shut] = 1
      if s[worker.kind[i]] == 0 then n[worker.kind[i]] = l.DONE end
    end)
  end

  steps[CLOSING] = function(_, worker, i, _, go)
    go("closes", mutations.pushes_before_storing and PUSHING or STORING, function(n) n[worker.dup[i]] = 0 end)
  end

  local function clear(n, worker, i)
    n[worker.pc[i]], n[worker.stream[i]], n[worker.kind[i]] = NONE, 0, 0
  end

  local word_after = {
    [l.DONE] = l.RETURNED, [l.DROP] = l.RETURNED, [l.PARK] = l.GIVEN_PARKED, [l.BACK] = l.GIVEN_BACK,
  }

  steps[STORING] = function(s, worker, i, _, go)
    go("stores the end of", PUSHING, function(n)
      n[worker.word[i]], n[worker.written[i]] = word_after[s[worker.kind[i]]], 0
      if mutations.pushes_before_storing then clear(n, worker, i) end
    end)
  end

  steps[PUSHING] = function(s, worker, i, _, go)
    go("completes", NONE, function(n)
      l.push(n, worker.ring, l.pair(i, s[worker.kind[i]]))
      if mutations.pushes_before_storing then n[worker.pc[i]] = STORING else clear(n, worker, i) end
    end)
  end

  local function kill(s, w, emit)
    local worker, n = workers[w], copy(s)
    n[m.kills], n[worker.life] = s[m.kills] - 1, l.DEAD
    for i = 1, m.loans do
      local c, word = s[worker.conn[i]], s[worker.word[i]]
      -- What design.md allows to be lost.
      local in_work = word == READING or word == RESPONDING or word == l.WORD_ANSWERED
      if c ~= 0 and s[worker.taken[i]] == 0 and in_work and s[connections[c].answered] < s[connections[c].sent] then
        n[connections[c].excused] = 1
      end
      clear(n, worker, i)
      n[worker.dup[i]] = 0
    end
    for k = 1, #worker.channel do n[worker.channel[k]] = 0 end
    emit(("kill -9 of worker %d"):format(w), n)
  end

  local function worker_steps(s, w, emit)
    local worker, busy = workers[w], false
    if s[worker.life] ~= l.RUNNING then return end
    if s[worker.channel[1]] ~= 0 then receive(s, w, emit) end
    for i = 1, m.loans do
      local pc, c = s[worker.pc[i]], s[worker.stream[i]]
      if pc ~= NONE then
        busy = true
        steps[pc](s, worker, i, c, function(what, target, change)
          local n = copy(s)
          if target then n[worker.pc[i]] = target end
          if change then change(n) end
          emit(("worker %d %s %d"):format(w, what, c), n)
        end)
      end
    end
    -- It may leave with loans still in the channel: they were never taken.
    if s[worker.draining] == 1 and not busy then
      local n = copy(s)
      n[worker.life] = l.DEAD
      for k = 1, #worker.channel do n[worker.channel[k]] = 0 end
      emit(("worker %d exits"):format(w), n)
    end
    if s[m.kills] > 0 then kill(s, w, emit) end
  end

  return worker_steps
end
