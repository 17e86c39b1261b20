-- The loan protocol of src/segment.h as a model: clients, a master, two workers, and death at any instant. explore.lua
-- walks through all orders of their steps; every step is what one process does between two points at which another may
-- act. `mutations` breaks a rule on purpose, to show that the search notices:
--
--   reads_without_winning, steals_without_swap, reuses_before_drop, does_not_own, relends_reading, closes_untouched,
--   given_back_means_done, sweeps_before_ring, ignores_truncation, looks_only_when_readable, shuts_what_is_taken,
--   pushes_before_storing, keeps_descriptor, announces_no_answer, believes_announcement
--
-- Not in the model: memory order (words and ring positions are atomic in C), a full ring, what a hostile worker does.

local copy = require("spec.support.explore").copy
local l = require "spec.support.loan.layout"
local new_master = require "spec.support.loan.master"
local new_worker = require "spec.support.loan.worker"

local OPEN, HUNG_UP, LOST_REPLY = l.OPEN, l.HUNG_UP, l.LOST_REPLY

-- bounds: see layout.new(); besides, how often at most: kills, steals, drains, truncations.
return function(bounds, mutations)
  local m = l.new(bounds)
  local connections, workers = m.connections, m.workers
  local master_steps = new_master(m, mutations or {})
  local worker_steps = new_worker(m, mutations or {})

  -- Calls visit(worker, i) for each loan of each worker until it returns something.
  local function each_loan(visit)
    for _, worker in ipairs(workers) do
      for i = 1, m.loans do
        local found = visit(worker, i)
        if found then return found end
      end
    end
  end

  -- Whether any process, or a message on its way, holds a descriptor of the connection.
  local function held_open(s, c)
    if s[connections[c].fd] == 1 then return true end
    for _, worker in ipairs(workers) do
      if l.in_flight(s, worker, c, true) then return true end
    end
    return each_loan(function(worker, i) return s[worker.dup[i]] == 1 and s[worker.stream[i]] == c end)
  end

  local function is_over(s, c)
    return s[connections[c].shut] == 1 or not held_open(s, c)
  end

  -- A client sends a request when the last one is answered, and hangs up after the last answer.
  local function client_steps(s, c, emit)
    local connection = connections[c]
    if s[connection.outcome] ~= OPEN then return end
    local n = copy(s)
    if is_over(s, c) then
      n[connection.outcome], n[connection.unread] = HUNG_UP, 0
      emit(("client %d sees the end"):format(c), n)
    elseif s[connection.answered] == m.requests then
      n[connection.outcome] = HUNG_UP
      emit(("client %d hangs up"):format(c), n)
    elseif s[connection.sent] == s[connection.answered] then
      n[connection.sent], n[connection.unread] = s[connection.sent] + 1, 1
      emit(("client %d sends"):format(c), n)
    end
  end

  local model = {}

  function model.initial()
    local s = {}
    for k = 1, m.size do s[k] = 0 end
    for _, name in ipairs { "kills", "steals", "drains", "truncations" } do s[m[name]] = bounds[name] or 0 end
    for _, connection in ipairs(connections) do s[connection.where], s[connection.fd] = l.LOBBY, 1 end
    return s
  end

  function model.successors(s, emit)
    master_steps(s, emit)
    for w = 1, #workers do worker_steps(s, w, emit) end
    for c = 1, #connections do client_steps(s, c, emit) end
  end

  --- Calls visit(before, after) for each word that differs between two states.
  function model.each_change(s, n, visit)
    each_loan(function(worker, i)
      local before, after = s[worker.word[i]], n[worker.word[i]]
      if before ~= after then visit(before, after) end
    end)
  end

  function model.check(s)
    for c, connection in ipairs(connections) do
      local readers = 0
      each_loan(function(worker, i)
        local pc = s[worker.pc[i]]
        if s[worker.stream[i]] == c and pc >= l.CLAIMED and pc <= l.ANSWERED then readers = readers + 1 end
      end)
      if readers > 1 then return "a connection is read by two workers" end
      if s[connection.answered] > s[connection.sent] then return "a request is answered twice" end
      -- excused: its worker was killed between a request and its answer.
      if s[connection.excused] == 0 then
        if s[connection.outcome] == LOST_REPLY then return "a lost reply for a request that nobody was reading" end
        if s[connection.outcome] == OPEN and s[connection.answered] < m.requests and is_over(s, c) then
          return "a connection is lost"
        end
      end
    end
  end

  -- A state from which nothing more happens: everything must have come to its end.
  function model.check_end(s)
    for _, connection in ipairs(connections) do
      if s[connection.outcome] == OPEN then return "a client waits for ever" end
      if s[connection.where] ~= l.GONE then return "the master never hears of the end of a connection" end
      if s[connection.fd] ~= 0 then return "a descriptor is left in the master" end
    end
    return each_loan(function(worker, i)
      return s[worker.conn[i]] ~= 0 and "a loan is never completed"
        or s[worker.dup[i]] ~= 0 and "a descriptor is left in a worker"
    end) or nil
  end

  return model
end
