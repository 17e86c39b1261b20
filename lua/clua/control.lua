--- The master's control socket: where it is, who may connect, code that runs in a worker. Lines and answers of one
-- client are clua.control.connection, what can be asked for is clua.control.requests; src/README.md describes the
-- protocol.
-- @module clua.control

local Connection = require "clua.control.connection"
local core = require "clua.core.control"
local host = require "clua.core.host"
local place = require "clua.control.place"
local Registration = require "clua.registration"
local usage = require "clua.usage"
local uv = require "luv"
local wire = require "clua.wire"

local Control = {}
Control.__index = Control

Control.PROTOCOL = 1

local CLIENTS_MAX = 64
local EVALUATION_S = 60 -- in which code in a worker must end
local EXIT_SYSTEM = 111

-- ---- the socket -----------------------------------------------------------------------------------------------------

local function unref(uv_handle)
  uv.unref(uv_handle)
  return uv_handle
end

local function accept(self)
  local pipe = unref(uv.new_pipe(false))
  if not self.pipe:accept(pipe) then return pipe:close() end
  local client = Connection.new(self, pipe)
  self.count = self.count + 1
  self.clients[client] = true
  local uid, pid, allowed = core.peer(pipe:fileno())
  if not allowed then
    host.log("warn", ("control socket: user %s (pid %s) was refused"):format(tostring(uid), tostring(pid)))
    return client:give_up("only the user of the master, or root, may do that", "EACCES")
  end
  if self.count > CLIENTS_MAX then
    return client:give_up(("%d clients are connected already"):format(CLIENTS_MAX), "EAGAIN")
  end
  client:send {
    hello = "clua", protocol = Control.PROTOCOL, version = self.version, pid = uv.os_getpid(),
    generation = self.master.upgrades,
  }
  client:read()
end

-- What the script wants: a path or nil, whether its failure ends the start, and why there is none.
local function wanted_path(master)
  local option = master.options.control
  if option == false then return nil, false end
  if type(option) == "string" then return Registration.absolute(option), true end
  if master.pidfile then return master.pidfile .. place.SUFFIX, option == true end
  local path, why = place.own(master.name)
  return path, option == true, why
end

-- Where `clua ps` looks; a cluster that cannot be found there is still reached by its path.
local function be_found(self)
  local own = place.own(self.master.name)
  if not own or own == self.path then return end
  local ok, message = core.link(own)
  if ok then
    self.link = own
  else
    host.log("debug", ("control socket: no link at %s: %s"):format(own, message))
  end
end

local function listen(self, fd)
  self.pipe = unref(uv.new_pipe(false))
  assert(self.pipe:open(fd))
  assert(self.pipe:listen(CLIENTS_MAX, function(err)
    if not err then accept(self) end
  end))
end

-- The one of the master before the upgrade is not wanted any more.
local function drop(before)
  core.adopt(before.fd, before.path, before.link)
  core.remove()
  local pipe = uv.new_pipe(false)
  pipe:open(before.fd)
  pipe:close()
end

--- Opens the control socket of a master, or takes over the one from before an upgrade. Raises an error (clua.usage)
-- when the script has asked for one that cannot be had, but never after an upgrade.
-- @tparam Master master gets its field `control`
-- @tparam[opt] table before result of state() before an upgrade
function Control.open(master, before)
  local self = setmetatable({
    master = master, clients = {}, count = 0, waiters = {}, link = "", evaluations = {}, last_evaluation = 0,
    version = require("clua.core.master").itself().version,
  }, Control)
  master.control = self
  local path, must, why = wanted_path(master)
  if before and before.path == path then
    self.path, self.link = path, before.link
    core.adopt(before.fd, path, before.link)
    return listen(self, before.fd)
  end
  if before then drop(before) end
  local fd, code
  if path then fd, why, code = core.open(path) end
  if fd then
    self.path = path
    listen(self, fd)
    be_found(self)
  elseif why and must and not before then
    usage.refuse(why, code, EXIT_SYSTEM)
  elseif why then
    host.log("warn", "no control socket: " .. why)
  end
end

--- What crosses an upgrade; nil without a socket. The descriptor does too.
function Control:state()
  return self.path and { fd = self.pipe:fileno(), path = self.path, link = self.link }
end

-- ---- code that runs in a worker -------------------------------------------------------------------------------------

--- Hands code to a worker; answer() comes when it has been run, when the worker is gone, or when that takes too long.
-- @tparam table worker of clua.supervisor
-- @tparam table request `code`, or `prefix` of a word that is to be completed
-- @tparam function answer
function Control:evaluate(worker, request, answer)
  self.last_evaluation = self.last_evaluation + 1
  local id, timer = self.last_evaluation, unref(uv.new_timer())
  -- With code in any case: a worker from before an upgrade may know of nothing else.
  local bytes = wire.encode({ id = id, code = request.code or "", prefix = request.prefix }, "master", 0)
  local ok, message, failure = require("clua.core.master").deliver(worker.serial, bytes, true)
  if not ok then
    timer:close()
    return answer(nil, "the worker cannot be reached: " .. message, failure)
  end
  local function done(...)
    self.evaluations[id] = nil
    timer:close()
    answer(...)
  end
  self.evaluations[id] = { serial = worker.serial, done = done }
  timer:start(EVALUATION_S * 1000, 0, function()
    done(nil, ("not done after %d s: it goes on in the worker"):format(EVALUATION_S), "ETIMEDOUT")
  end)
end

--- What a worker says of it: untrusted bytes.
function Control:evaluated(serial, bytes)
  local result = wire.decode(bytes)
  local evaluation = type(result) == "table" and self.evaluations[result.id]
  if evaluation and evaluation.serial == serial then
    result.id = nil
    evaluation.done(result)
  end
end

--- A worker has ended: it answers nobody any more.
function Control:worker_gone(serial)
  for _, evaluation in pairs(self.evaluations) do
    if evaluation.serial == serial then evaluation.done(nil, "the worker has ended", "ECONNRESET") end
  end
end

--- Tells who waits for the upgrade that it has failed. When it succeeds, their connections end.
function Control:upgrade_failed(why)
  local waiters = self.waiters
  self.waiters = {}
  for _, answer in ipairs(waiters) do answer(nil, why, "ECANCELED") end
end

return Control
