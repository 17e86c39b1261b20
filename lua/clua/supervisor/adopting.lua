--- What a supervisor tells the one that comes after it in an upgraded master, and how that takes its workers over.
-- @module clua.supervisor.adopting

local outbox = require "clua.supervisor.outbox"
local places = require "clua.supervisor.places"
local replacing = require "clua.supervisor.replacing"

local adopting = {}

--- What is under way, for adopt(): `reloading`, `recycling` (pid -> reason), `demanded`; and `exits`.
function adopting.state(self)
  local recycling, leaving = {}, {}
  for _, worker in pairs(self.workers) do
    leaving[worker.pid] = worker.leaving
    if worker.recycling and not worker.retiring then recycling[worker.pid] = worker.recycling end
  end
  return {
    reloading = replacing.is_reloading(self), recycling = recycling, demanded = self.demanded, exits = self.exits,
    leaving = leaving,
  }
end

--- Takes over workers that run already (an upgraded master).
-- @tparam table workers array of { id, serial, pid, state }
-- @tparam[opt] table state what state() said before the upgrade: that is begun again
function adopting.adopt(self, workers, state)
  self.was_ready = true
  self.exits = state and state.exits or {}
  self.demanded = self.on_demand and self.count == 0 and state ~= nil and state.demanded == true
  for id = 1, places.size(self) do self.places[id] = {} end
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
      places.retire(self, worker, "scale")
    else -- the first, or one that is ready where the first was the successor of an unfinished reload
      place.current = worker
      if other then places.retire(self, other, "reload") end
    end
  end
  for id = 1, places.size(self) do
    if not self.places[id].current then places.start(self, id) end
  end
  self.ops.on_demand(self.on_demand and self.count == 0)
  for _, worker in pairs(self.workers) do
    local reason = state and state.recycling[worker.pid]
    if reason and not worker.retiring then replacing.recycle(self, worker, reason) end
  end
  if state and state.reloading then replacing.reload(self) end
  outbox.end_step(self)
end

return adopting
