--- Keeps the workers of one registration as many and as new as they are wanted: starts, restarts, replaces, scales,
-- stops.
--
-- A place is a position, 1 to count; it has a current worker and, while that is being replaced, an incoming one. All
-- that touches processes or time comes in through `ops`, so that this module is tested without either.
--
-- What others are to hear of a step waits in an outbox until the state is whole (supervisor/outbox). supervisor/places
-- starts and ends single workers, supervisor/replacing has reloads and recycles, supervisor/adopting an upgrade.
--
-- With a count of 0 a worker is started when clients wait for one, and finishes when it has been idle (`demanded`).
-- @module clua.supervisor

local adopting = require "clua.supervisor.adopting"
local outbox = require "clua.supervisor.outbox"
local places = require "clua.supervisor.places"
local replacing = require "clua.supervisor.replacing"

local Supervisor = {}
Supervisor.__index = Supervisor

--- @tparam table options
--   `name`; `count`; `on_demand` (true; false: a count of 0 means none); `at_once` (false; true: a reload whose first
--   worker is ready goes on with all others at once); `restart` (clua.restart);
--   `ops`: start(id) -> serial, pid | nil, message; retire(serial); kill(serial); after(seconds, fn) -> cancel; now();
--   log(level, text); emit(event, ...); all_ready(); all_gone(); on_demand(wanted): whether demand() and idle() are to
--   be called
function Supervisor.new(options)
  return setmetatable({
    name = options.name,
    count = options.count,
    on_demand = options.on_demand ~= false,
    at_once = options.at_once or false,
    restart = options.restart,
    ops = options.ops,
    places = {}, -- id -> { current =, incoming =, cancel = }
    demanded = false, -- there is a place although the count is 0
    workers = {}, -- serial -> worker
    worker_count = 0,
    queue = {}, -- replacements to come: { id =, job =, only = }
    replacing = {}, -- those that are under way: serial -> { id =, worker =, job = }
    jobs = {}, -- reloads and recycles that have not ended
    reloads = 0, -- how many of them are reloads
    exits = {}, -- cause -> how many workers have ended so
    outbox = {}, -- what others are to hear at the end of this step
  }, Supervisor)
end

-- Says once that every place has a worker that is ready.
local function check_ready(self)
  if self.was_ready or self.stopping then return end
  for id = 1, self.count do
    local worker = self.places[id].current
    if not worker or not worker.ready then return end
  end
  self.was_ready = true
  outbox.tell(self, self.ops.all_ready)
end

local function check_gone(self)
  if self.worker_count == 0 then outbox.tell(self, self.ops.all_gone) end
end

--- Starts the first workers.
function Supervisor:start()
  for id = 1, self.count do
    self.places[id] = {}
    places.start(self, id)
  end
  self.ops.on_demand(self.on_demand and self.count == 0)
  check_ready(self)
  outbox.end_step(self)
end

--- Clients wait, and no worker is there or on the way.
function Supervisor:demand()
  if self.stopping or not self.on_demand or self.count > 0 or self.demanded then return end
  self.demanded = true
  self.places[1] = {}
  places.start(self, 1)
  outbox.end_step(self)
end

--- The worker has had nothing to do for its idle time.
function Supervisor:idle(serial)
  local worker, place = self.workers[serial], self.places[1]
  if self.stopping or not self.demanded or worker.retiring or place.current ~= worker or place.incoming then return end
  self.ops.log("info", ("%s is idle, pid %d"):format(places.describe(self, worker), worker.pid))
  places.leave(self)
  places.retire(self, worker, "idle")
  outbox.end_step(self)
end

--- How many places have a worker that is ready.
function Supervisor:ready_count()
  local count = 0
  for _, place in pairs(self.places) do
    if place.current and place.current.ready then count = count + 1 end
  end
  return count
end

--- Whether there is a worker that is ready, or none is wanted.
function Supervisor:is_serving()
  return self.was_ready == true and (self.count == 0 or self:ready_count() > 0)
end

Supervisor.reload = replacing.reload
Supervisor.is_reloading = replacing.is_reloading
Supervisor.give_up_incoming = replacing.give_up_incoming
Supervisor.state = adopting.state
Supervisor.adopt = adopting.adopt

-- ---- events of the workers ----------------------------------------------------------------------------------------

--- The worker has called ready().
function Supervisor:on_ready(serial)
  local worker = self.workers[serial]
  worker.ready = true
  self.ops.log("info", ("%s ready, pid %d"):format(places.describe(self, worker), worker.pid))
  outbox.tell(self, self.ops.emit, "ready", self.name, worker.id, worker.pid)
  if self.replacing[serial] and not worker.killed then
    replacing.promote(self, worker)
  end
  check_ready(self)
  outbox.end_step(self)
end

--- The worker asks to be replaced: "maxc" and "max_rss" wait for it, "term" has begun to drain by itself. One that is
-- not ready yet has nothing to leave: it is counted when it exits.
function Supervisor:on_leave(serial, reason)
  local worker = self.workers[serial]
  if not worker or not worker.ready or worker.retiring or self.stopping then return end
  if reason ~= "term" and worker.recycling then return end
  self.ops.log("info", ("%s leaves (%s), pid %d"):format(places.describe(self, worker), reason, worker.pid))
  if reason == "term" then
    local place = self.places[worker.id]
    worker.retiring, worker.leaving = true, reason
    place.current = nil
    if not place.incoming then
      if self.demanded then places.leave(self) else places.start(self, worker.id) end
    end
  else
    replacing.recycle(self, worker, reason)
  end
  outbox.end_step(self)
end

--- Whether a worker has been told to go, or says so itself: its end is no crash.
function Supervisor:is_leaving(serial)
  return self.stopping or self.workers[serial].retiring or false
end

-- A worker that was told to go and then crashed, or did not finish in time, counts as that.
local function count_exit(self, worker, info)
  local cause = info.killed_for or (worker.killed and worker.leaving) or info.signal
  if not cause then
    cause = info.status ~= 0 and "status " .. info.status or worker.leaving or "status 0"
  end
  self.exits[cause] = (self.exits[cause] or 0) + 1
end

--- The process is gone.
-- @tparam number serial
-- @tparam table info `status` or `signal` (name), `killed_for` (why the master has killed it by itself, or nil),
--   `lived` seconds, `scores`; for the log `how`, and `executing` and `late` (that it was not ready in time) or nil
function Supervisor:on_exit(serial, info)
  local worker = self.workers[serial]
  self.workers[serial] = nil
  self.worker_count = self.worker_count - 1
  count_exit(self, worker, info)
  local expected = worker.retiring or self.stopping
  local level = expected and info.status == 0 and "info" or "warn"
  self.ops.log(level, ("%s exited, pid %d, %s (age %.1f s, %d requests)%s"):format(places.describe(self, worker),
    worker.pid, info.how, info.lived, info.scores, info.executing and ", " .. info.executing or ""))
  outbox.tell(self, self.ops.emit, "exit", self.name, worker.id, worker.pid, info.status, info.signal)
  local place = self.places[worker.id]
  if self.stopping then
    check_gone(self)
  elseif self.replacing[serial] then
    place.incoming = nil
    if not place.current then places.start_later(self, worker.id, places.count_death(self, info.lived)) end
    local why = info.late or worker.killed and "was given up, since there is a newer edit"
      or info.how .. " before it was ready"
    replacing.failed(self, serial, places.describe(self, worker) .. " " .. why)
  elseif worker.job then
    replacing.drained(self, worker)
  elseif place and place.current == worker then
    place.current = nil
    local delay = places.count_death(self, info.lived)
    if not place.incoming then places.start_later(self, worker.id, delay) end -- else its successor is on the way
  end
  outbox.end_step(self)
end

-- ---- scale and stop -----------------------------------------------------------------------------------------------

--- Sets the number of workers; the last places go first.
function Supervisor:scale(count)
  if self.stopping then return end
  self.ops.log("info", ("%s scaled from %d to %d workers"):format(self.name, self.count, count))
  local before = places.size(self)
  self.count, self.demanded = count, false
  for id = before + 1, count do
    self.places[id] = {}
    places.start(self, id)
  end
  for id = before, count + 1, -1 do
    local place = self.places[id]
    self.places[id] = nil
    places.cancel_timer(place)
    if place.current then places.retire(self, place.current, "scale") end
    if place.incoming then replacing.drop_incoming(self, place) end
  end
  self.ops.on_demand(self.on_demand and count == 0)
  replacing.next(self)
  check_ready(self)
  outbox.end_step(self)
end

--- Lets every worker finish; `all_gone` follows. A reload that has not ended fails.
function Supervisor:stop()
  if self.stopping then return end
  self.stopping = true
  self.ops.on_demand(false)
  replacing.stop(self, "the master stops")
  for _, place in pairs(self.places) do places.cancel_timer(place) end
  for _, worker in pairs(self.workers) do places.retire(self, worker, "stop") end
  check_gone(self)
  outbox.end_step(self)
end

--- Ends every worker at once; `all_gone` follows.
function Supervisor:kill()
  self:stop()
  for serial, worker in pairs(self.workers) do
    worker.leaving, worker.killed = "stop", true
    self.ops.kill(serial)
  end
end

return Supervisor
