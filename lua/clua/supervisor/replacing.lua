--- How a supervisor replaces workers: a reload of all of them or of one that has asked for it (a recycle) is a job;
-- one replacement at a time, over all jobs. In watch mode (`at_once`) a reload whose first worker has become ready
-- replaces all others at once: what is edited is to be seen everywhere, and memory is no matter there.
-- @module clua.supervisor.replacing

local outbox = require "clua.supervisor.outbox"
local places = require "clua.supervisor.places"

local replacing = {}

local RETRY_RECYCLE = 30 -- seconds before a worker that could not be replaced is tried again

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
  outbox.tell(self, job.done, failure)
end

local function job_progress(self, job)
  if job.todo == 0 and next(job.draining) == nil then end_job(self, job) end
end

-- One entry less, without a worker that drains for it.
local function skip_entry(self, job)
  job.todo = job.todo - 1
  job_progress(self, job)
end

local function kill(self, worker, why)
  worker.leaving, worker.killed = why, true
  self.ops.kill(worker.serial)
end

--- A replacement that was under way has failed, and its job with it.
function replacing.failed(self, serial, why)
  local job = self.replacing[serial].job
  self.replacing[serial] = nil
  end_job(self, job, why)
  for _, other in pairs(self.replacing) do
    if not other.worker.killed then kill(self, other.worker, "reload") end
  end
  replacing.next(self)
end

-- Whether a replacement of this job may begin now.
local function may_begin(self, job)
  local _, under_way = next(self.replacing)
  return not under_way or (self.at_once and job.proven and under_way.job == job)
end

--- Begins the next replacement, unless one is under way that it has to wait for.
function replacing.next(self)
  while #self.queue > 0 and may_begin(self, self.queue[1].job) do
    local entry = table.remove(self.queue, 1)
    entry.job.begun = true
    local place = self.places[entry.id]
    if not place or (entry.only and place.current ~= entry.only) then
      skip_entry(self, entry.job)
    else
      places.cancel_timer(place)
      local worker, message = places.fork(self, entry.id)
      place.incoming = worker
      local serial = worker and worker.serial or 0 -- 0: nobody's
      self.replacing[serial] = { id = entry.id, worker = worker, job = entry.job }
      if not worker then
        if not place.current then places.start_after_failure(self, entry.id) end
        replacing.failed(self, serial, "cannot start a worker: " .. message)
      end
    end
  end
end

--- The new worker is ready: its place is its own, the old one may finish.
function replacing.promote(self, worker)
  local under_way = self.replacing[worker.serial]
  local place, job = self.places[under_way.id], under_way.job
  local old = place.current
  place.current, place.incoming = worker, nil
  self.replacing[worker.serial] = nil
  job.todo, job.proven = job.todo - 1, true
  if old then
    job.draining[old.serial] = true
    old.job = job
    places.retire(self, old, job.only and job.only.recycling or "reload")
  end
  job_progress(self, job)
  replacing.next(self)
end

--- A worker is gone that a job had replaced.
function replacing.drained(self, worker)
  worker.job.draining[worker.serial] = nil
  job_progress(self, worker.job)
end

-- only: the worker that is to be replaced, when another one in its place would do.
local function new_job(self, ids, only, done)
  local job = { todo = #ids, draining = {}, done = done, reload = only == nil, only = only }
  self.jobs[#self.jobs + 1] = job
  for _, id in ipairs(ids) do self.queue[#self.queue + 1] = { id = id, job = job, only = only } end
  job_progress(self, job)
  replacing.next(self)
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
function replacing.reload(self, done)
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
  for id = 1, places.size(self) do ids[id] = id end
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
  outbox.end_step(self)
end

--- Ends replacements that are not ready yet: they would be the wrong ones by now. Their reload fails.
function replacing.give_up_incoming(self)
  if self.stopping then return end
  for _, under_way in pairs(self.replacing) do
    if not under_way.worker.killed then kill(self, under_way.worker, "reload") end
  end
end

--- Replaces a worker that has asked for it (maxc, max_rss).
function replacing.recycle(self, worker, reason)
  worker.recycling = reason
  new_job(self, { worker.id }, worker, function(failure)
    if not failure or self.stopping then return end
    self.ops.log("error", ("cannot recycle %s (%s): %s"):format(places.describe(self, worker), reason, failure))
    self.ops.after(RETRY_RECYCLE, function()
      if not self.stopping then replacing.recycle(self, worker, reason) end -- does nothing for one that is gone
      outbox.end_step(self)
    end)
  end)
end

--- Whether a reload has still workers to replace.
function replacing.is_reloading(self)
  for _, job in ipairs(self.jobs) do
    if job.reload and job.todo > 0 then return true end
  end
  return false
end

--- The place is not wanted any more, nor who was to come into it.
function replacing.drop_incoming(self, place)
  local worker = place.incoming
  local job = self.replacing[worker.serial].job
  worker.retiring = true
  kill(self, worker, "scale")
  self.replacing[worker.serial] = nil
  skip_entry(self, job)
end

--- No job goes on.
function replacing.stop(self, why)
  for _, job in ipairs(self.jobs) do end_job(self, job, why) end
  self.replacing = {}
end

return replacing
