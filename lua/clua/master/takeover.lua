--- The beginning of a master that is the upgrade of another: the same process, with its workers and connections.
-- @module clua.master.takeover

local adopting = require "clua.upgrade.adopting"
local core = require "clua.core.master"
local host = require "clua.core.host"
local logs = require "clua.logs"
local options = require "clua.options"
local Registration = require "clua.registration"
local running = require "clua.master.running"

local takeover = {}

--- After an upgrade clients are being served: what fails now is told, and the old file stays.
function takeover.keep_pidfile(self, state)
  local wanted = self.options.pidfile and Registration.absolute(self.options.pidfile)
  self.pidfile = state.pidfile
  if state.pidfile_fd >= 0 then core.adopt_pidfile(state.pidfile_fd, state.pidfile) end
  if not wanted or wanted == state.pidfile then return end
  local ok, message = core.pidfile(wanted)
  if ok then self.pidfile = wanted else host.log("error", message) end
end

-- A registration that the script had before the upgrade and has no more: finishes and goes.
local function wind_up(self, state, old)
  if #old.pool.listeners + #old.pool.slots + #old.pool.connections == 0 then return end
  local registration = {
    name = old.name, specs = {}, options = options.complete({ cnum = 0 }, old.options), closed = true,
  }
  registration.pool = core.pool(registration.options)
  self.by_pool[registration.pool] = registration
  self.registrations[#self.registrations + 1] = registration
  running.supervise(self, registration)
  adopting.adopt(state, registration, old)
end

--- Takes over what the master before this one had.
-- @tparam Master self
-- @tparam table state of adopting.take()
-- @tparam function listen listen(registration, spec): binds a new address, or raises an error
function takeover.go_on(self, state, listen)
  local function listen_if_possible(registration, spec)
    local ok, message = pcall(listen, registration, spec)
    if not ok then host.log("error", tostring(message)) end
  end
  self.upgrades = state.upgrades
  local registrations = { unpack(self.registrations) }
  local previous, successor = adopting.match(state, registrations)
  for _, registration in ipairs(registrations) do
    adopting.adopt_listeners(state, registration, previous[registration], listen_if_possible)
  end
  for _, registration in ipairs(registrations) do
    running.watch(self, registration, previous[registration] and previous[registration].watched)
    if previous[registration] then
      adopting.adopt(state, registration, previous[registration])
    else
      registration.supervisor:start()
    end
  end
  for _, old in ipairs(state.registrations) do
    if not successor[old] then wind_up(self, state, old) end
  end
  logs.adopt(self, state.logs)
  core.publish_pid()
  core.adopted()
  host.log("info", ("upgraded, generation %d"):format(self.upgrades))
  running.emit(self, "upgrade")
end

return takeover
