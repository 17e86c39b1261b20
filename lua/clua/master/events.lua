--- What the C side tells the master: a worker is ready, gone, wants to leave, has sent a message; a signal has come.
-- @module clua.master.events

local admin = require "clua.admin"
local blame = require "clua.blame"
local core = require "clua.core.master"
local evaluate = require "clua.evaluate"
local host = require "clua.core.host"
local logs = require "clua.logs"
local running = require "clua.master.running"
local upgrade = require "clua.upgrade"
local Watch = require "clua.watch"
local wire = require "clua.wire"

local events = {}

-- What blame.lua needs of a master.
local function blaming(self)
  return { now = running.now, after = running.after, emit = function(event, ...) running.emit(self, event, ...) end }
end

function events.ready(self, registration, serial)
  blame.on_ready(blaming(self), registration, serial)
  registration.supervisor:on_ready(serial)
  running.accept(registration)
end

function events.demand(_, registration)
  registration.supervisor:demand()
end

function events.idle(_, registration, serial)
  registration.supervisor:idle(serial)
end

function events.exit(self, registration, serial, status, signal, lived, scores, executing, killed_for)
  local name = signal and core.signal_name(signal)
  local unasked = not registration.supervisor:is_leaving(serial)
  local late = killed_for == "ready_timeout" and ("was not ready in %.3g s"):format(registration.options.ready_timeout)
  self.control:worker_gone(serial)
  registration.supervisor:on_exit(serial, {
    status = status, signal = name, killed_for = killed_for, lived = lived, scores = scores,
    executing = blame.describe(executing),
    late = late or nil,
    how = name and ("killed by " .. name) or ("status " .. status),
  })
  if unasked then blame.on_death(blaming(self), registration, executing) end
  if registration.closed and not self.stopping and registration.supervisor.worker_count == 0 then
    core.turn_away(registration.pool)
  end
end

function events.leave(_, registration, serial, reason)
  registration.supervisor:on_leave(serial, reason)
end

function events.broadcast(self, registration, serial, pid, name, bytes)
  local worker = registration.supervisor.workers[serial]
  if name == evaluate.REPLY then
    self.control:evaluated(serial, bytes)
    return
  end
  if name == Watch.TOPIC then
    local path = wire.decode(bytes)
    if registration.watch and type(path) == "string" then registration.watch:add(path) end
    return
  end
  if name == "master" then
    local message, why = wire.decode(bytes)
    if why then
      host.log("warn", "message of a worker dropped: " .. why)
    else
      running.emit(self, "message", message, registration.name, worker and worker.pid)
    end
    return
  end
  self:route(name, bytes, pid, serial)
end

function events.ask(self, registration, serial, what)
  admin.answer(self, registration, serial, what)
end

function events.signal(self, name)
  if name == "SIGTERM" or name == "SIGINT" then
    if self.leaving then self:stop_now() else self:close() end
  elseif name == "SIGQUIT" then
    self:stop_now()
  elseif name == "SIGUSR1" then
    logs.reopen(self)
    self:reload()
  elseif name == "reopen" then
    logs.reopen(self)
  elseif name == "SIGUSR2" then
    upgrade.start(self)
  elseif name == "SIGTTIN" or name == "SIGTTOU" then
    for _, registration in ipairs(self.registrations) do
      local count = registration.supervisor.count + (name == "SIGTTIN" and 1 or -1)
      local is_scaled = not self.stopping and not registration.closed and not registration.builtin
      if count >= 0 and is_scaled then registration.supervisor:scale(count) end
    end
  end
end

function events.finished(self)
  host.log("info", "stopped")
  logs.flush(self)
end

--- Tells a master what has happened.
-- @tparam Master self
-- @tparam string kind
-- @param pool of the registration that it is about, or the first value
return function(self, kind, pool, ...)
  local registration = self.by_pool[pool]
  events[kind](self, registration or pool, ...)
  self.systemd:update()
end
