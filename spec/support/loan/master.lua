-- The steps of the master in the loan model. Its treatment of one event is one step, since the segments of two workers
-- have nothing in common. See loan_model.lua.

local copy = require("spec.support.explore").copy
local l = require "spec.support.loan.layout"

local FREE, UNTOUCHED, IDLE, READING, RESPONDING = l.FREE, l.UNTOUCHED, l.IDLE, l.READING, l.RESPONDING
local TAKEN, RETURNED = l.TAKEN, l.RETURNED
local GONE, LOBBY, PARKED, LENT = l.GONE, l.LOBBY, l.PARKED, l.LENT
local pair, unpair, push, pop = l.pair, l.unpair, l.push, l.pop

-- Returns master_steps(state, emit).
return function(m, mutations)
  local connections, workers = m.connections, m.workers

  local function to(s, c, where)
    s[connections[c].where], s[connections[c].worker], s[connections[c].loan] = where, 0, 0
  end

  local function forget(s, c)
    to(s, c, GONE)
    if not mutations.keeps_descriptor then s[connections[c].fd] = 0 end
  end

  local function free(s, worker, i)
    s[worker.conn[i]], s[worker.taken[i]], s[worker.word[i]], s[worker.written[i]] = 0, 0, FREE, 0
  end

  local function lend(s, c, w, emit)
    local worker = workers[w]
    if s[worker.life] == l.EMPTY or s[worker.told] == 1 then return end
    for i = 1, m.loans do
      if s[worker.conn[i]] == 0 then
        local n, violation = copy(s), nil
        if s[worker.life] == l.RUNNING then
          local used = s[worker.pc[i]] ~= l.NONE or l.in_flight(s, worker, i)
          for k = 1, #worker.ring do used = used or s[worker.ring[k]] ~= 0 and unpair(s[worker.ring[k]]) == i end
          if used then violation = "a loan index is used again before its completion" end
          push(n, worker.channel, pair(i, c))
        end -- else EPIPE: what was sent to a dead worker is found untouched when the death is treated
        n[worker.word[i]], n[worker.conn[i]] = UNTOUCHED, c
        n[connections[c].where], n[connections[c].worker], n[connections[c].loan] = LENT, w, i
        if mutations.does_not_own then n[connections[c].fd] = 0 end
        return emit(("master lends %d to worker %d as loan %d"):format(c, w, i), n, violation)
      end
    end
  end

  local function steal(s, c, emit)
    local worker, i = workers[s[connections[c].worker]], s[connections[c].loan]
    local word = s[worker.word[i]]
    local careless = mutations.steals_without_swap and word >= READING and word <= RESPONDING
    if word ~= UNTOUCHED and word ~= IDLE and not careless then return end
    local n = copy(s)
    n[m.steals] = s[m.steals] - 1
    n[worker.word[i]], n[worker.taken[i]] = TAKEN, 1
    if mutations.reuses_before_drop then n[worker.conn[i]], n[worker.taken[i]] = 0, 0 end
    to(n, c, LOBBY)
    emit(("master takes %d back from worker %d"):format(c, s[connections[c].worker]), n)
  end

  local function complete(n, worker, entry)
    local i, kind = unpair(entry)
    local c = n[worker.conn[i]]
    if c == 0 then return end
    local taken = n[worker.taken[i]] == 1
    free(n, worker, i)
    if taken or kind == l.DROP then return end
    if kind == l.DONE then
      forget(n, c)
    else
      to(n, c, kind == l.PARK and PARKED or LOBBY)
    end
  end

  -- What the kernel knows better than a worker that died beside its write: how much of the answer it was given.
  local function true_word(n, worker, i, c, word)
    if word ~= l.WORD_ANSWERED and word ~= RESPONDING then return word end
    if word == l.WORD_ANSWERED and mutations.believes_announcement then return IDLE end
    local given = n[connections[c].answered]
    if word == l.WORD_ANSWERED and given == n[worker.written[i]] then return IDLE end
    return given == n[worker.written[i]] - 1 and READING or RESPONDING
  end

  -- The end of a loan whose worker has died without a word in the ring.
  local function sweep_one(n, worker, i)
    local c, word, taken = n[worker.conn[i]], n[worker.word[i]], n[worker.taken[i]] == 1
    word = true_word(n, worker, i, c, word)
    local given_back = word == l.GIVEN_PARKED or word == l.GIVEN_BACK
    if not (mutations.sweeps_before_ring and given_back) then free(n, worker, i) end
    if taken then return end
    if word == READING and not mutations.relends_reading then
      -- Of a client that has hung up only the end was being read.
      if n[connections[c].outcome] == l.OPEN then n[connections[c].outcome] = l.LOST_REPLY end
      forget(n, c)
    elseif word == RESPONDING or word == RETURNED or (word == UNTOUCHED and mutations.closes_untouched)
      or (given_back and mutations.given_back_means_done) then
      forget(n, c)
    else
      to(n, c, (word == IDLE or word == l.GIVEN_PARKED) and PARKED or LOBBY)
    end
  end

  local function treat_death(s, w, emit)
    local worker, n = workers[w], copy(s)
    while n[worker.ring[1]] ~= 0 and not mutations.sweeps_before_ring do complete(n, worker, pop(n, worker.ring)) end
    for i = 1, m.loans do
      if n[worker.conn[i]] ~= 0 then sweep_one(n, worker, i) end
    end
    n[worker.life], n[worker.told], n[worker.draining] = l.EMPTY, 0, 0
    emit(("master treats the death of worker %d"):format(w), n)
  end

  local function master_steps(s, emit)
    for c, conn in ipairs(connections) do
      local where, hung_up = s[conn.where], s[conn.outcome] == l.HUNG_UP
      if where == LOBBY or where == PARKED then
        if hung_up or s[conn.shut] == 1 then
          local n = copy(s)
          forget(n, c)
          emit(("master closes %d, which has hung up"):format(c), n)
        elseif where == PARKED and s[conn.unread] == 1 then
          local n = copy(s)
          n[conn.where] = LOBBY
          emit(("master sees bytes of %d"):format(c), n)
        end
      end
      -- Nothing says that the master hears of the end of a connection before it lends it.
      if where == LOBBY then
        for w = 1, #workers do lend(s, c, w, emit) end
      elseif where == LENT and s[m.steals] > 0 then
        steal(s, c, emit)
      end
    end
    for w, worker in ipairs(workers) do
      if s[worker.ring[1]] ~= 0 then
        local n = copy(s)
        complete(n, worker, pop(n, worker.ring))
        emit(("master reads the ring of worker %d"):format(w), n)
      end
      if s[worker.life] == l.RUNNING and s[worker.told] == 0 and s[m.drains] > 0 then
        local n = copy(s)
        n[m.drains], n[worker.told] = s[m.drains] - 1, 1
        push(n, worker.channel, l.DRAIN)
        emit(("master tells worker %d to drain"):format(w), n)
      elseif s[worker.life] == l.DEAD then
        treat_death(s, w, emit)
      elseif s[worker.life] == l.EMPTY then
        local n = copy(s)
        n[worker.life] = l.RUNNING
        emit(("master starts worker %d"):format(w), n)
      end
    end
  end

  return master_steps
end
