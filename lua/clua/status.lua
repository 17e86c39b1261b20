--- What a master knows of itself and of its registrations, as plain tables. lua/README.md describes the fields.
-- @module clua.status

local core = require "clua.core.master"

local status = {}

local function copy_of(counts)
  local copy = {}
  for name, count in pairs(counts) do copy[name] = count end
  return copy
end

local function itself(master, state, ready)
  local figures = core.itself()
  figures.state, figures.ready = state, ready
  figures.pid = require("luv").os_getpid()
  figures.generation, figures.started = master.upgrades, master.started
  return figures
end

--- @tparam Master master
-- @treturn table array of { name, builtin, ready, wanted, counters, exits, workers }; `ready`: clients should come
-- @treturn table the master's own figures
function status.of(master)
  local all = {}
  local state, ready = master:state()
  for i, registration in ipairs(master.registrations) do
    local supervisor = registration.supervisor
    all[i] = {
      name = registration.name,
      builtin = registration.builtin,
      ready = state == "running" and supervisor:is_serving(),
      wanted = supervisor.count,
      counters = core.counters(registration.pool),
      exits = copy_of(supervisor.exits),
      workers = core.workers(registration.pool),
    }
  end
  return all, itself(master, state, ready)
end

return status
