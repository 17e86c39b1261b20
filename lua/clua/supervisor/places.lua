--- The places of a supervisor and the workers in them: a worker is started, started again after a death, told to go.
-- @module clua.supervisor.places

local outbox = require "clua.supervisor.outbox"

local places = {}

--- How many places there are.
function places.size(self)
  return self.demanded and 1 or self.count
end

--- What the log calls a worker.
function places.describe(self, worker)
  return ("worker %d of %s"):format(worker.id, self.name)
end

--- Forks; the worker is known from here until its exit. Returns it, or nil and a message.
function places.fork(self, id)
  local serial, pid = self.ops.start(id)
  if not serial then return nil, pid end
  local worker = { id = id, serial = serial, pid = pid }
  self.workers[serial] = worker
  self.worker_count = self.worker_count + 1
  self.ops.log("info", places.describe(self, worker) .. " started, pid " .. pid)
  outbox.tell(self, self.ops.emit, "fork", self.name, id, pid)
  return worker
end

--- Counts a death that nobody asked for; seconds to wait before the next start.
function places.count_death(self, lived)
  local delay, gives_up = self.restart:died(self.ops.now(), lived)
  if gives_up then
    local text = ("%d deaths within %.3g s"):format(self.restart.max + 1, self.restart.window)
    self.ops.log("error", ("gave up on %s: %s: trying every %.3g s"):format(self.name, text, delay))
    outbox.tell(self, self.ops.emit, "giveup", self.name, text)
    outbox.tell(self, self.ops.emit, "restartgiveup", self.name, text)
  end
  return delay
end

--- What was started on demand is not wanted any more.
function places.leave(self)
  self.demanded = false
  self.places[1] = nil
end

--- Starts a worker in a place whose last one has died, after `delay` seconds.
function places.start_later(self, id, delay)
  local place = self.places[id]
  self.ops.log(delay > 1 and "warn" or "info", ("restart of worker %d of %s in %.3g s"):format(id, self.name, delay))
  place.cancel = self.ops.after(delay, function()
    place.cancel = nil
    if self.demanded then
      places.leave(self) -- if clients still wait, they say so
    else
      places.start(self, id)
    end
    outbox.end_step(self)
  end)
end

--- After a start that has failed: no process, no memory, no descriptor: nothing that a tight loop would mend.
function places.start_after_failure(self, id)
  places.start_later(self, id, math.max(1, places.count_death(self, 0)))
end

--- Starts a worker in a place that has none.
function places.start(self, id)
  local worker, message = places.fork(self, id)
  self.places[id].current = worker
  if worker then return end
  self.ops.log("error", ("cannot start worker %d of %s: %s"):format(id, self.name, message))
  places.start_after_failure(self, id)
end

--- Nothing is to be started in it later.
function places.cancel_timer(place)
  if place.cancel then place.cancel() end
  place.cancel = nil
end

--- Lets a worker finish.
-- @tparam string why what its end is counted as, if it ends well
function places.retire(self, worker, why)
  worker.retiring = true
  worker.leaving = worker.leaving or why
  worker.killed = not worker.ready -- that is what the slot does with it
  self.ops.retire(worker.serial)
end

return places
