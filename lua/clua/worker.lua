--- The worker's side of a cluster: takes connections, counts its work, talks to others, finishes when told.
-- @module clua.worker

local core = require "clua.core.worker"
local Emitter = require "clua.emitter"
local evaluate = require "clua.evaluate"
local host = require "clua.core.host"
local usage = require "clua.usage"
local wire = require "clua.wire"
require "clua.socket" -- gives the connections their methods

local Worker = Emitter.class("Worker")

local boot = core.boot()
local singleton

if boot and os.getenv("CLUA_WATCH") then require "clua.watch.report" end

--- Fields: `id` (position in its registration, from 1), `name` (of the registration), `pid`, `remain`, `scores`.
function Worker.__index(_, key)
  if key == "remain" then return (core.figures()) end
  if key == "scores" then return (select(2, core.figures())) end
  local method = Worker[key]
  if method ~= nil then return method end
  return Emitter[key]
end

local function on_event(kind, bytes, what)
  if kind == "evaluate" then return evaluate.run(bytes, core.broadcast) end
  if kind ~= "message" then
    singleton:emit(kind, bytes, what)
    return
  end
  local message, why, from, pid = wire.decode(bytes)
  if why then
    host.log("warn", "message dropped: " .. why)
  else
    singleton:emit("message", message, from, pid)
  end
end

--- The worker of this process. Events: `message` (message, name and pid of the sender), `drain` (told to finish),
-- `exit`.
-- @tparam[opt] number term_timeout seconds that it may take to finish; default: the registration's
-- @treturn Worker
function Worker.new(term_timeout)
  if term_timeout ~= nil and (type(term_timeout) ~= "number" or not (term_timeout >= 0 and term_timeout <= 3600)) then
    usage.fail(1, "Worker: term_timeout must be seconds, 0 to 3600, got %s", tostring(term_timeout))
  end
  if not singleton then
    singleton = setmetatable({
      id = boot and boot.id or 0, name = boot and boot.name, pid = require("luv").os_getpid(),
    }, Worker)
    core.setup(on_event)
  end
  if term_timeout then singleton.term_timeout = term_timeout end
  return singleton
end

--- From now on the master lends this worker connections: fn(socket, port) is called for each, in a coroutine.
-- @tparam function fn
-- @return self
function Worker:ready(fn)
  if type(fn) ~= "function" and fn ~= nil then usage.fail(1, "ready: a function is expected, got %s", type(fn)) end
  if not boot then
    usage.fail(1, "ready: this is no worker: register this script in a dispatch script and run that")
  end
  self.has_called_ready = true
  core.ready(fn or function(socket) socket:destroy() end, (self.term_timeout or boot.term_timeout) * 1000)
  return self
end

--- Counts a piece of work that begins: `remain` and `scores` + 1. (`clua.http` counts by itself.)
function Worker:transact() -- luacheck: ignore self
  core.transact()
end

--- Counts its end.
-- @tparam[opt] number remain what is still in execution, if the script knows better; default: one less than before
function Worker:release(remain) -- luacheck: ignore self
  core.release(remain)
end

--- Publishes a value for status and metrics.
-- @tparam string key 1 to 31 bytes
-- @param value shown by tostring(), of which 63 bytes are kept
-- @treturn boolean|nil nil, message, code "ENOSPC" after 32 keys
function Worker:monset(key, value) -- luacheck: ignore self
  local ok, message, code = core.monset(key, tostring(value))
  if code == "ENOSPC" then message = "32 keys are there already, as many as a worker can have" end
  return ok, message, code
end

--- Sends a message to the other workers of a registration, to one of them, or to the master ("master").
-- @tparam string|number name
-- @param message string, number, boolean or table of these; at most 65,000 bytes encoded
-- @tparam[opt] number pid
-- @treturn boolean|nil nil, message, code
function Worker:broadcast(name, message, pid)
  local bytes, why, why_code = wire.broadcast(message, self.name, self.pid)
  if not bytes then return nil, why, why_code end
  return core.broadcast(tostring(name), bytes, pid)
end

--- Finishes as SIGTERM does: gives idle connections back, completes what it executes, exits with 0; a replacement
-- comes.
function Worker:leave() -- luacheck: ignore self
  core.leave()
end

return Worker
