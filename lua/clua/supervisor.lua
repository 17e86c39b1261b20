--- Keeps the workers of one registration as many and as new as they are wanted: starts, restarts, replaces, scales,
-- stops.
--
-- A place is a position, 1 to count; it has a current worker and, while that is being replaced, an incoming one. All
-- that touches processes or time comes in through `ops`, so that this module is tested without either.
--
-- With a count of 0 a worker is started when clients wait for one, and finishes when it has been idle (`demanded`).
-- @module clua.supervisor

local Supervisor = {}
Supervisor.__index = Supervisor

local RETRY_RECYCLE = 30 -- seconds before a worker that could not be replaced is tried again

--- @tparam table options
--   `name`; `count`; `on_demand` (true; false: a count of 0 means none); `restart` (clua.restart);
--   `ops`: start(id) -> serial, pid | nil, message; retire(serial); kill(serial); after(seconds, fn) -> cancel; now();
--   log(level, text); emit(event, ...); all_ready(); all_gone(); on_demand(wanted): whether demand() and idle() are to
--   be called
function Supervisor.new(options)
  return setmetatable({
    name = options.name,
    count = options.count,
    on_demand = options.on_demand ~= false,
    restart = options.restart,
    ops = options.ops,
    places = {}, -- id -> { current =, incoming =, cancel = }
    demanded = false, -- there is a place although the count is 0
    workers = {}, -- serial -> worker
    worker_count = 0,
    queue = {}, -- replacements to come: { id =, job =, only = }
    replacing = nil, -- the one that is under way: { id =, worker =, job = }
    jobs = {}, -- reloads and recycles that have not ended
    reloads = 0, -- how many of them are reloads
    exits = {}, -- cause -> how many workers have ended so
    outbox = {}, -- what others are to hear at the end of this step
  }, Supervisor)
end

-- Others hear of a step when its state is whole, since what they hear may make them reload, scale or stop.
local function tell(self, fn, ...)
  local count, arguments = select("#", ...), { ... }
  self.outbox[#self.outbox + 1] = function() fn(unpack(arguments, 1, count)) end
end

local function end_step(self)
  while #self.outbox > 0 do table.remove(self.outbox, 1)() end
end

-- How many places there are.
local function size(self)
  return self.demanded and 1 or self.count
end

local function describe(self, worker)
  return ("worker %d of %s"):format(worker.id, self.name)
end

-- Says once that every place has a worker that is ready.
local function check_ready(self)
  if self.was_ready or self.stopping then return end
  for id = 1, self.count do
    local worker = self.places[id].current
    if not worker or not worker.ready then return end
  end
  self.was_ready = true
  tell(self, self.ops.all_ready)
end

local function check_gone(self)
  if self.worker_count == 0 then tell(self, self.ops.all_gone) end
end

-- ---- starting -----------------------------------------------------------------------------------------------------

-- Forks; the worker is known from here until its exit.
local function fork(self, id)
  local serial, pid = self.ops.start(id)
  if not serial then return nil, pid end
  local worker = { id = id, serial = serial, pid = pid }
  self.workers[serial] = worker
  self.worker_count = self.worker_count + 1
  self.ops.log("info", describe(self, worker) .. " started, pid " .. pid)
  tell(self, self.ops.emit, "fork", self.name, id, pid)
  return worker
end

-- Counts a death that nobody asked for; seconds to wait before the next start.
local function count_death(self, lived)
  local delay, gives_up = self.restart:died(self.ops.now(), lived)
  if gives_up then
    local text = ("%d deaths within %.3g s"):format(self.restart.max + 1, self.restart.window)
    self.ops.log("error", ("gave up on %s: %s: trying every %.3g s"):format(self.name, text, delay))
    tell(self, self.ops.emit, "giveup", self.name, text)
    tell(self, self.ops.emit, "restartgiveup", self.name, text)
  end
  return delay
end

local start_place

-- What was started on demand is not wanted any more.
local function leave_place(self)
  self.demanded = false
  self.places[1] = nil
end

local function start_later(self, id, delay)
  local place = self.places[id]
  self.ops.log(delay > 1 and "warn" or "info", ("restart of worker %d of %s in %.3g s"):format(id, self.name, delay))
  place.cancel = self.ops.after(delay, function()
    place.cancel = nil
    if self.demanded then
      leave_place(self) -- if clients still wait, they say so
    else
      start_place(self, id)
    end
    end_step(self)
  end)
end

-- No process, no memory, no descriptor: nothing that a tight loop would mend.
local function start_after_failure(self, id)
  start_later(self, id, math.max(1, count_death(self, 0)))
end

function start_place(self, id)
  local worker, message = fork(self, id)
  self.places[id].current = worker
  if worker then return end
  self.ops.log("error", ("cannot start worker %d of %s: %s"):format(id, self.name, message))
  start_after_failure(self, id)
end

local function cancel_timer(place)
  if place.cancel then place.cancel() end
  place.cancel = nil
end

-- why: what its end is counted as, if it ends well
local function retire(self, worker, why)
  worker.retiring = true
  worker.leaving = worker.leaving or why
  worker.killed = not worker.ready -- that is what the slot does with it
  self.ops.retire(worker.serial)
end

--- Starts the first workers.
function Supervisor:start()
  for id = 1, self.count do
    self.places[id] = {}
    start_place(self, id)
  end
  self.ops.on_demand(self.on_demand and self.count == 0)
  check_ready(self)
  end_step(self)
end

--- Clients wait, and no worker is there or on the way.
function Supervisor:demand()
  if self.stopping or not self.on_demand or self.count > 0 or self.demanded then return end
  self.demanded = true
  self.places[1] = {}
  start_place(self, 1)
  end_step(self)
end

--- The worker has had nothing to do for its idle time.
function Supervisor:idle(serial)
  local worker, place = self.workers[serial], self.places[1]
  if self.stopping or not self.demanded or worker.retiring or place.current ~= worker or place.incoming then return end
  self.ops.log("info", ("%s is idle, pid %d"):format(describe(self, worker), worker.pid))
  leave_place(self)
  retire(self, worker, "idle")
  end_step(self)
end

--- Whether a reload has still workers to replace.
function Supervisor:is_reloading()
  for _, job in ipairs(self.jobs) do
    if job.reload and job.todo > 0 then return true end
  end
  return false
end

--- What is under way, for adopt(): `reloading`, `recycling` (pid -> reason), `demanded`; and `exits`.
function Supervisor:state()
  local recycling, leaving = {}, {}
  for _, worker in pairs(self.workers) do
    leaving[worker.pid] = worker.leaving
    if worker.recycling and not worker.retiring then recycling[worker.pid] = worker.recycling end
  end
  return {
    reloading = self:is_reloading(), recycling = recycling, demanded = self.demanded, exits = self.exits,
    leaving = leaving,
  }
end

local recycle

--- Takes over workers that run already (an upgraded master).
-- @tparam table workers array of { id, serial, pid, state }
-- @tparam[opt] table state what state() said before the upgrade: that is begun again
function Supervisor:adopt(workers, state)
  self.was_ready = true
  self.exits = state and state.exits or {}
  self.demanded = self.on_demand and self.count == 0 and state ~= nil and state.demanded == true
  for id = 1, size(self) do self.places[id] = {} end
  for _, known in ipairs(workers) do
    local worker = { id = known.id, serial = known.serial, pid = known.pid, ready = known.state ~= "starting" }
    self.workers[known.serial] = worker
    self.worker_count = self.worker_count + 1
    local place = self.places[known.id]
    local other = place and place.current
    if known.state ~= "ready" and known.state ~= "starting" then
      worker.retiring = true
      worker.leaving = state and state.leaving[worker.pid]
    elseif not place or (other and (other.ready or not worker.ready)) then
      retire(self, worker, "scale")
    else -- the first, or one that is ready where the first was the successor of an unfinished reload
      place.current = worker
      if other then retire(self, other, "reload") end
    end
  end
  for id = 1, size(self) do
    if not self.places[id].current then start_place(self, id) end
  end
  self.ops.on_demand(self.on_demand and self.count == 0)
  for _, worker in pairs(self.workers) do
    local reason = state and state.recycling[worker.pid]
    if reason and not worker.retiring then recycle(self, worker, reason) end
  end
  if state and state.reloading then self:reload() end
  end_step(self)
end

-- ---- replacing, one at a time -------------------------------------------------------------------------------------

local function without(list, drop)
  local kept = {}
  for _, entry in ipairs(list) do
    if not drop(entry) then kept[#kept + 1] = entry end
  end
  return kept
end

local function end_job(self, job, failure)
  if job.ended then return end
  job.ended = true
  self.queue = without(self.queue, function(entry) return entry.job == job end)
  self.jobs = without(self.jobs, function(other) return other == job end)
  tell(self, job.done, failure)
end

local function job_progress(self, job)
  if job.todo == 0 and next(job.draining) == nil then end_job(self, job) end
end

-- One entry less, without a worker that drains for it.
local function skip_entry(self, job)
  job.todo = job.todo - 1
  job_progress(self, job)
end

local next_replacement

local function replacement_failed(self, why)
  local job = self.replacing.job
  self.replacing = nil
  end_job(self, job, why)
  next_replacement(self)
end

function next_replacement(self)
  while not self.replacing and #self.queue > 0 do
    local entry = table.remove(self.queue, 1)
    entry.job.begun = true
    local place = self.places[entry.id]
    if not place or (entry.only and place.current ~= entry.only) then
      skip_entry(self, entry.job)
    else
      cancel_timer(place)
      local worker, message = fork(self, entry.id)
      place.incoming = worker
      self.replacing = { id = entry.id, worker = worker, job = entry.job }
      if not worker then
        if not place.current then start_after_failure(self, entry.id) end
        replacement_failed(self, "cannot start a worker: " .. message)
      end
    end
  end
end

local function promote(self, worker)
  local replacing = self.replacing
  local place, job = self.places[replacing.id], replacing.job
  local old = place.current
  place.current, place.incoming = worker, nil
  self.replacing = nil
  job.todo = job.todo - 1
  if old then
    job.draining[old.serial] = true
    old.job = job
    retire(self, old, job.only and job.only.recycling or "reload")
  end
  job_progress(self, job)
  next_replacement(self)
end

-- only: the worker that is to be replaced, when another one in its place would do.
local function new_job(self, ids, only, done)
  local job = { todo = #ids, draining = {}, done = done, reload = only == nil, only = only }
  self.jobs[#self.jobs + 1] = job
  for _, id in ipairs(ids) do self.queue[#self.queue + 1] = { id = id, job = job, only = only } end
  job_progress(self, job)
  next_replacement(self)
end

-- The reload that has not replaced anything yet, if there is one: it does for whoever asks now, too.
local function waiting_reload(self)
  for _, job in ipairs(self.jobs) do
    if job.reload and not job.begun then return job end
  end
end

--- Replaces every worker, one at a time, each new one ready before its old one finishes. What is asked for during a
-- reload is done by one more, which follows it, however often that was.
-- @tparam[opt] function done done(failure or nil), when the last old worker is gone or the reload has stopped
function Supervisor:reload(done)
  if self.stopping then return end
  local waiting = waiting_reload(self)
  if waiting then
    local first = waiting.done
    waiting.done = function(failure)
      first(failure)
      if done then done(failure) end
    end
    return
  end
  local ids = {}
  for id = 1, size(self) do ids[id] = id end
  self.ops.log("info", ("reload of %s started"):format(self.name))
  self.reloads = self.reloads + 1
  new_job(self, ids, nil, function(failure)
    self.reloads = self.reloads - 1
    if not failure then
      self.ops.log("info", ("reload of %s done"):format(self.name))
    elseif not self.stopping then
      self.ops.log("error", ("reload of %s failed: %s: the old workers go on"):format(self.name, failure))
    end
    self.ops.emit("reload", self.name, failure)
    if done then done(failure) end
  end)
  end_step(self)
end

--- Ends a replacement that is not ready yet: it would be the wrong one by now. Its reload fails.
function Supervisor:give_up_incoming()
  local replacing = self.replacing
  if not replacing or self.stopping then return end
  replacing.worker.leaving, replacing.worker.killed = "reload", true
  self.ops.kill(replacing.worker.serial)
end

-- A worker that has asked for it (maxc, max_rss).
function recycle(self, worker, reason)
  worker.recycling = reason
  new_job(self, { worker.id }, worker, function(failure)
    if not failure or self.stopping then return end
    self.ops.log("error", ("cannot recycle %s (%s): %s"):format(describe(self, worker), reason, failure))
    self.ops.after(RETRY_RECYCLE, function()
      if not self.stopping then recycle(self, worker, reason) end -- does nothing for one that is gone
      end_step(self)
    end)
  end)
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

-- ---- events of the workers ----------------------------------------------------------------------------------------

--- The worker has called ready().
function Supervisor:on_ready(serial)
  local worker = self.workers[serial]
  worker.ready = true
  self.ops.log("info", ("%s ready, pid %d"):format(describe(self, worker), worker.pid))
  tell(self, self.ops.emit, "ready", self.name, worker.id, worker.pid)
  if self.replacing and self.replacing.worker == worker then
    promote(self, worker)
  end
  check_ready(self)
  end_step(self)
end

--- The worker asks to be replaced: "maxc" and "max_rss" wait for it, "term" has begun to drain by itself. One that is
-- not ready yet has nothing to leave: it is counted when it exits.
function Supervisor:on_leave(serial, reason)
  local worker = self.workers[serial]
  if not worker or not worker.ready or worker.retiring or self.stopping then return end
  if reason ~= "term" and worker.recycling then return end
  self.ops.log("info", ("%s leaves (%s), pid %d"):format(describe(self, worker), reason, worker.pid))
  if reason == "term" then
    local place = self.places[worker.id]
    worker.retiring, worker.leaving = true, reason
    place.current = nil
    if not place.incoming then
      if self.demanded then leave_place(self) else start_place(self, worker.id) end
    end
  else
    recycle(self, worker, reason)
  end
  end_step(self)
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
--   `lived` seconds, `scores`; for the log `how`, and `executing` or nil
function Supervisor:on_exit(serial, info)
  local worker = self.workers[serial]
  self.workers[serial] = nil
  self.worker_count = self.worker_count - 1
  count_exit(self, worker, info)
  local expected = worker.retiring or self.stopping
  local level = expected and info.status == 0 and "info" or "warn"
  self.ops.log(level, ("%s exited, pid %d, %s (age %.1f s, %d requests)%s"):format(describe(self, worker), worker.pid,
    info.how, info.lived, info.scores, info.executing and ", " .. info.executing or ""))
  tell(self, self.ops.emit, "exit", self.name, worker.id, worker.pid, info.status, info.signal)
  local place = self.places[worker.id]
  if self.stopping then
    check_gone(self)
  elseif self.replacing and self.replacing.worker == worker then
    place.incoming = nil
    if not place.current then start_later(self, worker.id, count_death(self, info.lived)) end
    replacement_failed(self, ("%s %s before it was ready"):format(describe(self, worker), info.how))
  elseif worker.job then
    worker.job.draining[serial] = nil
    job_progress(self, worker.job)
  elseif place and place.current == worker then
    place.current = nil
    local delay = count_death(self, info.lived)
    if not place.incoming then start_later(self, worker.id, delay) end -- else its successor is on the way
  end
  end_step(self)
end

-- ---- scale and stop -----------------------------------------------------------------------------------------------

local function drop_incoming(self, place)
  local job = self.replacing.job
  local worker = place.incoming
  worker.retiring, worker.leaving, worker.killed = true, "scale", true
  self.ops.kill(worker.serial)
  self.replacing = nil
  skip_entry(self, job)
end

--- Sets the number of workers; the last places go first.
function Supervisor:scale(count)
  if self.stopping then return end
  self.ops.log("info", ("%s scaled from %d to %d workers"):format(self.name, self.count, count))
  local before = size(self)
  self.count, self.demanded = count, false
  for id = before + 1, count do
    self.places[id] = {}
    start_place(self, id)
  end
  for id = before, count + 1, -1 do
    local place = self.places[id]
    self.places[id] = nil
    cancel_timer(place)
    if place.current then retire(self, place.current, "scale") end
    if place.incoming then drop_incoming(self, place) end
  end
  self.ops.on_demand(self.on_demand and count == 0)
  next_replacement(self)
  check_ready(self)
  end_step(self)
end

--- Lets every worker finish; `all_gone` follows. A reload that has not ended fails.
function Supervisor:stop()
  if self.stopping then return end
  self.stopping = true
  self.ops.on_demand(false)
  for _, job in ipairs(self.jobs) do end_job(self, job, "the master stops") end
  self.replacing = nil
  for _, place in pairs(self.places) do cancel_timer(place) end
  for _, worker in pairs(self.workers) do retire(self, worker, "stop") end
  check_gone(self)
  end_step(self)
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
