--- The master's control socket: who may connect, lines, answers. What can be asked for is clua.control.requests;
-- src/README.md describes the protocol.
--
-- The master must not suffer from its clients: a line is bounded, nothing is read from one that has not taken its
-- answers, one that does not take them at all is closed, and log lines that it is too slow for are left out.
-- @module clua.control

local core = require "clua.core.control"
local cjson = require "cjson.safe"
local host = require "clua.core.host"
local place = require "clua.control.place"
local Registration = require "clua.registration"
local requests = require "clua.control.requests"
local usage = require "clua.usage"
local uv = require "luv"
local wire = require "clua.wire"

local json = cjson.new()
json.encode_invalid_numbers "null"
json.decode_max_depth(32)

local Control = {}
Control.__index = Control

Control.PROTOCOL = 1

local CLIENTS_MAX = 64
local LINE_BYTES = 65536
local UNDER_WAY_MAX = 32 -- requests of one client that have no answer yet
local EVENT_BYTES = 262144 -- what may wait for a client before events are left out
local EVALUATION_S = 60 -- in which code in a worker must end
local STALL_S = 30 -- in which a client must take what waits for it
local EXIT_SYSTEM = 111

-- ---- one client -----------------------------------------------------------------------------------------------------

local Client = {}
Client.__index = Client

function Client:close()
  if self.closed then return end
  self.closed = true
  self.control.clients[self] = nil
  self.control.count = self.control.count - 1
  self.pipe:close()
  self.stall:close()
  for _, fn in ipairs(self.on_close) do fn() end
end

local read

-- All that waited has been taken.
local function drained(self)
  self.stall:stop()
  if self.left_out > 0 then
    local count = self.left_out
    self.left_out = 0
    self:send { id = self.follows, event = "lost", count = count }
  end
  if self.paused and not self.closed then
    self.paused = false
    read(self)
  end
end

function Client:waiting()
  return self.pipe:get_write_queue_size()
end

--- Sends one line.
function Client:send(message)
  if self.closed then return end
  local line, why = json.encode(message)
  if not line then
    line = json.encode { id = message.id, ok = false, error = "the answer cannot be sent: " .. why, code = "EBADMSG" }
  end
  self.pipe:write(line .. "\n", function(err)
    if self.closed then return end
    if err then return self:close() end
    if self:waiting() == 0 then drained(self) end
  end)
  if self:waiting() == 0 or self.paused then return end
  self.paused = true
  self.pipe:read_stop()
  self.stall:start(STALL_S * 1000, 0, function() self:close() end)
end

--- Sends a line that may be left out when the client is slow.
function Client:event(message)
  if self.closed then return end
  if self.left_out > 0 or self:waiting() > EVENT_BYTES then
    self.left_out = self.left_out + 1
    return
  end
  self:send(message)
end

-- One that speaks another language is told so; it is not guessed where its next line would begin.
local function give_up(self, message, code)
  self:send { ok = false, error = message, code = code }
  self:close()
end

local function handle(self, request)
  local answered = false
  local function answer(result, message, code)
    if answered then return end
    answered = true
    self.under_way = self.under_way - 1
    if result == nil then
      self:send { id = request.id, ok = false, error = message, code = code }
    else
      self:send { id = request.id, ok = true, result = result }
    end
  end
  self.under_way = self.under_way + 1
  if self.under_way > UNDER_WAY_MAX then
    return answer(nil, ("%d requests are under way on this connection"):format(UNDER_WAY_MAX), "EBUSY")
  end
  local stream = {}
  function stream.begin(stop) -- one stream a connection
    if self.follows ~= nil then return false end
    self.follows = request.id == nil and cjson.null or request.id
    self.on_close[#self.on_close + 1] = stop
    return true
  end
  function stream.send(message)
    message.id = request.id
    self:event(message)
  end
  function stream.note(what) -- logged once a connection
    if self.noted[what] then return end
    self.noted[what] = true
    local uid, pid = core.peer(self.pipe:fileno())
    host.log("warn", ("control socket: user %s (pid %s) %s"):format(tostring(uid), tostring(pid), what))
  end
  host.spawn(function()
    local ok, err = xpcall(requests.run, function(err)
      return type(err) == "table" and err or debug.traceback(err, 2)
    end, self.control.master, request, answer, stream)
    if ok then return end
    if type(err) == "table" then
      return answer(nil, (err.message:gsub("^clua/[%w_/-]+%.lua:%d+: ", "")), err.code) -- no line of the user's
    end
    host.log("error", ("request '%s' of the control socket: %s"):format(tostring(request.op), err))
    answer(nil, "a bug of clua: see the log of the master", "EFAULT")
  end)
end

local function take_line(self, line)
  local request = json.decode(line)
  if type(request) ~= "table" or type(request.op) ~= "string" then
    self:send { ok = false, code = "EINVAL", error = 'a request is a line of JSON, such as {"id": 1, "op": "status"}' }
    return
  end
  if type(request.id) == "table" then request.id = nil end
  handle(self, request)
end

local function take_lines(self)
  while not self.closed and not self.paused do
    local newline = self.rest:find("\n", 1, true)
    if (newline or #self.rest) > LINE_BYTES then
      return give_up(self, ("a line has at most %d bytes"):format(LINE_BYTES), "EMSGSIZE")
    end
    if not newline then return end
    local line = self.rest:sub(1, newline - 1)
    self.rest = self.rest:sub(newline + 1)
    if line:find("%S") then take_line(self, line) end
  end
end

function read(self)
  take_lines(self)
  if self.closed or self.paused then return end
  self.pipe:read_start(function(err, bytes)
    if self.closed then return end
    if err or not bytes then return self:close() end
    self.rest = self.rest .. bytes
    take_lines(self)
  end)
end

-- ---- the socket -----------------------------------------------------------------------------------------------------

local function unref(uv_handle)
  uv.unref(uv_handle)
  return uv_handle
end

local function accept(self)
  local pipe = unref(uv.new_pipe(false))
  if not self.pipe:accept(pipe) then return pipe:close() end
  local client = setmetatable({
    control = self, pipe = pipe, rest = "", under_way = 0, left_out = 0, on_close = {}, noted = {},
    stall = unref(uv.new_timer()),
  }, Client)
  self.count = self.count + 1
  self.clients[client] = true
  local uid, pid, allowed = core.peer(pipe:fileno())
  if not allowed then
    host.log("warn", ("control socket: user %s (pid %s) was refused"):format(tostring(uid), tostring(pid)))
    return give_up(client, "only the user of the master, or root, may do that", "EACCES")
  end
  if self.count > CLIENTS_MAX then
    return give_up(client, ("%d clients are connected already"):format(CLIENTS_MAX), "EAGAIN")
  end
  client:send {
    hello = "clua", protocol = Control.PROTOCOL, version = self.version, pid = uv.os_getpid(),
    generation = self.master.upgrades,
  }
  read(client)
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
-- @tparam string code
-- @tparam function answer
function Control:evaluate(worker, code, answer)
  self.last_evaluation = self.last_evaluation + 1
  local id, timer = self.last_evaluation, unref(uv.new_timer())
  local ok, message, failure = require("clua.core.master").deliver(worker.serial, wire.encode({ id = id, code = code },
    "master", 0), true)
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
