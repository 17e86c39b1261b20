-- The state of the loan model: an array of small integers, and where in it everything stands. See loan_model.lua.

local layout = {
  -- Words of a loan (src/segment.h).
  FREE = 0, UNTOUCHED = 1, IDLE = 2, READING = 3, RESPONDING = 4, TAKEN = 5, RETURNED = 6, GIVEN_PARKED = 7,
  GIVEN_BACK = 8, WORD_ANSWERED = 9,
  WORD_NAMES = {
    [0] = "free", "untouched", "idle", "reading", "responding", "taken", "returned", "parked", "back", "answered",
  },
  -- Completions.
  DONE = 1, PARK = 2, BACK = 3, DROP = 4,
  -- Where the master has a connection.
  GONE = 0, LOBBY = 1, PARKED = 2, LENT = 3,
  -- What the client has come to.
  OPEN = 0, HUNG_UP = 1, LOST_REPLY = 2,
  -- A worker's process: alive, dead without the master's knowledge, dead and treated.
  RUNNING = 0, DEAD = 1, EMPTY = 2,
  -- What a worker does next with a stream.
  NONE = 0, WATCH = 1, CLAIMED = 2, EXECUTING = 3, ANSWERING = 4, ANSWERED = 5, SHUTTING = 6, CLOSING = 7, STORING = 8,
  PUSHING = 9,
  DRAIN = 1, -- the message
}

local WORKERS, CHANNEL, RING = 2, 3, 3

local CONNECTION = { "sent", "answered", "outcome", "unread", "where", "fd", "shut", "excused", "worker", "loan" }
local WORKER = { "life", "told", "draining" }
-- word and written are the segment's (an answer counts as one byte, so `begun` is always one less), conn and taken the
-- master's record; the rest is the worker's own view of the loan. What is of no more use is set to 0, for fewer states.
local LOAN = { "word", "written", "conn", "taken", "pc", "stream", "dup", "kind" }

--- Numbers the fields. bounds: connections, requests of each client, loans of each worker.
function layout.new(bounds)
  local m = { connections = {}, workers = {}, requests = bounds.requests or 2, loans = bounds.loans or 2, size = 0 }
  local function field()
    m.size = m.size + 1
    return m.size
  end
  local function fields(names, into)
    for _, name in ipairs(names) do into[name] = field() end
    return into
  end
  fields({ "kills", "steals", "drains", "truncations" }, m)
  for c = 1, bounds.connections or 1 do m.connections[c] = fields(CONNECTION, {}) end
  for w = 1, WORKERS do
    local worker = fields(WORKER, { channel = {}, ring = {} })
    for _, name in ipairs(LOAN) do
      worker[name] = {}
      for i = 1, m.loans do worker[name][i] = field() end
    end
    for k = 1, CHANNEL do worker.channel[k] = field() end
    for k = 1, RING do worker.ring[k] = field() end
    m.workers[w] = worker
  end
  return m
end

--- Queues are rows of places, 0 is an empty one.
function layout.push(s, queue, value)
  for k = 1, #queue do
    if s[queue[k]] == 0 then
      s[queue[k]] = value
      return
    end
  end
  error("a queue of the model is too short")
end

function layout.pop(s, queue)
  local value = s[queue[1]]
  for k = 1, #queue - 1 do s[queue[k]] = s[queue[k + 1]] end
  s[queue[#queue]] = 0
  return value
end

--- A message is DRAIN or a pair of loan and connection; an entry of the ring is a pair of loan and kind.
function layout.pair(high, low)
  return 2 + (high - 1) * 8 + (low - 1)
end

function layout.unpair(value)
  return math.floor((value - 2) / 8) + 1, (value - 2) % 8 + 1
end

--- Whether the message queue of a worker holds a loan (or, by_connection, a connection).
function layout.in_flight(s, worker, wanted, by_connection)
  for k = 1, #worker.channel do
    local value = s[worker.channel[k]]
    if value > layout.DRAIN then
      local loan, connection = layout.unpair(value)
      if (by_connection and connection or loan) == wanted then return true end
    end
  end
  return false
end

return layout
