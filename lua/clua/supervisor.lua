--- Keeps the workers of one registration as many and as new as they are wanted: starts, restarts, replaces, scales, stops.
--
-- A place is a position, 1 to count; it has a current worker and, while that is being replaced, an incoming one. All that
-- touches processes or time comes in through `ops`, so that this module is tested without either.
-- @module clua.supervisor

local Supervisor = {}
Supervisor.__index = Supervisor

local RETRY_RECYCLE = 30 -- seconds before a worker that could not be replaced is tried again

--- @tparam table options
--   `name`; `count`; `restart` (clua.restart);
--   `ops`: start(id) -> serial, pid | nil, message; retire(serial); kill(serial); after(seconds, fn) -> cancel; now();
--   log(level, text); emit(event, ...); all_ready(); all_gone()
function Supervisor.new(options)
  return setmetatable({
    name = options.name,
    count = options.count,
    restart = options.restart,
    ops = options.ops,
    places = {}, -- id -> { current =, incoming =, cancel = }
    workers = {}, -- serial -> worker
    queue = {}, -- replacements to come: { id =, job = }
    replacing = nil, -- the one that is under way: { id =, worker =, job = }
    worker_count = 0,
  }, Supervisor)
end

local function describe(self, worker)
  return ("worker %d of %s"):format(worker.id, self.name)
end

-- Forks; the worker is known from here until its exit.
local function fork(self, id)
  local serial, pid = self.ops.start(id)
  if not serial then return nil, pid end
  local worker = { id = id, serial = serial, pid = pid }
  self.workers[serial] = worker
  self.worker_count = self.worker_count + 1
  self.ops.log("info", describe(self, worker) .. " started, pid " .. pid)
  self.ops.emit("fork", self.name, id, pid)
  return worker
end

local start_place

local function start_later(self, id, delay)
  local place = self.places[id]
  self.ops.log(delay > 1 and "warn" or "info", ("restart of worker %d of %s in %.3g s"):format(id, self.name, delay))
  place.cancel = self.ops.after(delay, function()
    place.cancel = nil
    if self.places[id] == place and not place.current and not self.stopping then start_place(self, id) end
  end)
end

function start_place(self, id)
  local place = self.places[id]
  local worker, message = fork(self, id)
  if worker then
    place.current = worker
    return
  end
  -- No process, no memory, no descriptor: nothing that a tight loop would mend.
  self.ops.log("error", ("cannot start worker %d of %s: %s"):format(id, self.name, message))
  start_later(self, id, math.max(1, (self.restart:died(self.ops.now(), 0))))
end

local function cancel_timer(place)
  if place.cancel then place.cancel() end
  place.cancel = nil
end

local function retire(self, worker)
  worker.retiring = true
  self.ops.retire(worker.serial)
end

--- Starts the first workers.
function Supervisor:start()
  for id = 1, self.count do
    self.places[id] = {}
    start_place(self, id)
  end
  self:check_ready()
end

--- Says once that every place has a worker that is ready.
function Supervisor:check_ready()
  if self.was_ready then return end
  for id = 1, self.count do
    local worker = self.places[id].current
    if not worker or not worker.ready then return end
  end
  self.was_ready = true
  self.ops.all_ready()
end

-- ---- replacing, one at a time -------------------------------------------------------------------------------------

local function end_job(self, job, failure)
  if job.ended then return end
  job.ended = true
  local kept = {}
  for _, entry in ipairs(self.queue) do
    if entry.job ~= job then kept[#kept + 1] = entry end
  end
  self.queue = kept
  job.done(failure)
end

local function job_progress(self, job)
  if job.todo == 0 and next(job.draining) == nil then end_job(self, job) end
end

local next_replacement

local function replacement_failed(self, why)
  local job = self.replacing.job
  self.replacing = nil
  end_job(self, job, why)
  next_replacement(self)
end

function next_replacement(self)
  while not self.replacing and not self.stopping and #self.queue > 0 do
    local entry = table.remove(self.queue, 1)
    local place = self.places[entry.id]
    if not place then
      entry.job.todo = entry.job.todo - 1
      job_progress(self, entry.job)
    else
      cancel_timer(place)
      local worker, message = fork(self, entry.id)
      self.replacing = { id = entry.id, worker = worker, job = entry.job }
      if not worker then
        replacement_failed(self, "cannot start a worker: " .. message)
        return
      end
      place.incoming = worker
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
    retire(self, old)
  end
  job_progress(self, job)
  next_replacement(self)
end

local function new_job(self, ids, done)
  local job = { todo = #ids, draining = {}, done = done }
  for _, id in ipairs(ids) do self.queue[#self.queue + 1] = { id = id, job = job } end
  if #ids == 0 then end_job(self, job) end
  next_replacement(self)
end

--- Replaces every worker, one at a time, each new one ready before its old one finishes. A reload asked for during one
-- follows it.
-- @tparam[opt] function done done(failure or nil), when the last old worker is gone or the reload has stopped
function Supervisor:reload(done)
  local ids = {}
  for id = 1, self.count do ids[id] = id end
  self.ops.log("info", ("reload of %s started"):format(self.name))
  new_job(self, ids, function(failure)
    if failure then
      self.ops.log("error", ("reload of %s failed: %s: the old workers go on"):format(self.name, failure))
    else
      self.ops.log("info", ("reload of %s done"):format(self.name))
    end
    self.ops.emit("reload", self.name, failure)
    if done then done(failure) end
  end)
end

-- A worker that has asked for it (maxc, max_rss).
local function recycle(self, worker, reason)
  new_job(self, { worker.id }, function(failure)
    if not failure then return end
    self.ops.log("error", ("cannot recycle %s (%s): %s"):format(describe(self, worker), reason, failure))
    self.ops.after(RETRY_RECYCLE, function()
      if self.workers[worker.serial] and not self.stopping and not worker.retiring then recycle(self, worker, reason) end
    end)
  end)
end

-- ---- events of the workers ----------------------------------------------------------------------------------------

--- The worker has called ready().
function Supervisor:on_ready(serial)
  local worker = self.workers[serial]
  worker.ready = true
  self.ops.log("info", ("%s ready, pid %d"):format(describe(self, worker), worker.pid))
  self.ops.emit("ready", self.name, worker.id, worker.pid)
  if self.replacing and self.replacing.worker == worker then
    promote(self, worker)
  end
  self:check_ready()
end

--- The worker asks to be replaced: "maxc" and "max_rss" wait for it, "term" has begun to drain by itself.
function Supervisor:on_leave(serial, reason)
  local worker = self.workers[serial]
  if not worker or worker.retiring or self.stopping then return end
  self.ops.log("info", ("%s leaves (%s), pid %d"):format(describe(self, worker), reason, worker.pid))
  if reason ~= "term" then
    recycle(self, worker, reason)
    return
  end
  worker.retiring = true
  local place = self.places[worker.id]
  if place and place.current == worker then
    place.current = nil
    if not place.incoming then start_place(self, worker.id) end
  end
end

local function crashed(self, worker, lived)
  local place = self.places[worker.id]
  place.current = nil
  local delay, gives_up = self.restart:died(self.ops.now(), lived)
  if gives_up then
    local text = ("%d deaths within %.3g s"):format(self.restart.max + 1, self.restart.window)
    self.ops.log("error", ("gave up on %s: %s: trying every %.3g s"):format(self.name, text, delay))
    self.ops.emit("giveup", self.name, text)
    self.ops.emit("restartgiveup", self.name, text)
  end
  if place.incoming then return end -- its successor is on the way
  start_later(self, worker.id, delay)
end

--- The process is gone.
-- @tparam number serial
-- @tparam table info `status` or `signal` (name), `lived` seconds, `scores`, `how` for the log
function Supervisor:on_exit(serial, info)
  local worker = self.workers[serial]
  self.workers[serial] = nil
  self.worker_count = self.worker_count - 1
  local expected = worker.retiring or self.stopping
  local level = expected and info.status == 0 and "info" or "warn"
  self.ops.log(level, ("%s exited, pid %d, %s (age %.1f s, %d requests)"):format(describe(self, worker), worker.pid,
    info.how, info.lived, info.scores))
  self.ops.emit("exit", self.name, worker.id, worker.pid, info.status, info.signal)
  local place = self.places[worker.id]
  if self.stopping then
    if self.worker_count == 0 then self.ops.all_gone() end
  elseif self.replacing and self.replacing.worker == worker then
    place.incoming = nil
    if not place.current then start_later(self, worker.id, (self.restart:died(self.ops.now(), info.lived))) end
    replacement_failed(self, ("%s %s before it was ready"):format(describe(self, worker), info.how))
  elseif worker.job then
    worker.job.draining[serial] = nil
    job_progress(self, worker.job)
  elseif place and place.current == worker then
    crashed(self, worker, info.lived)
  end
end

-- ---- scale and stop -----------------------------------------------------------------------------------------------

--- Sets the number of workers; the last places go first.
function Supervisor:scale(count)
  local before = self.count
  self.count = count
  self.ops.log("info", ("%s scaled from %d to %d workers"):format(self.name, before, count))
  for id = before + 1, count do
    self.places[id] = {}
    start_place(self, id)
  end
  for id = before, count + 1, -1 do
    local place = self.places[id]
    self.places[id] = nil
    cancel_timer(place)
    if place.current then retire(self, place.current) end
    if place.incoming then
      place.incoming.retiring = true
      self.ops.kill(place.incoming.serial)
      self.replacing.job.todo = self.replacing.job.todo - 1
      local job = self.replacing.job
      self.replacing = nil
      job_progress(self, job)
      next_replacement(self)
    end
  end
end

--- Lets every worker finish; `all_gone` follows.
function Supervisor:stop()
  if self.stopping then return end
  self.stopping = true
  self.queue = {}
  for _, place in pairs(self.places) do cancel_timer(place) end
  for _, worker in pairs(self.workers) do retire(self, worker) end
  if self.worker_count == 0 then self.ops.all_gone() end
end

--- Ends every worker at once; `all_gone` follows.
function Supervisor:kill()
  self:stop()
  for serial in pairs(self.workers) do self.ops.kill(serial) end
end

return Supervisor
