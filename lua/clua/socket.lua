--- Sockets: a connection that this worker has on loan (or any connected descriptor), as an event emitter and, inside a
-- coroutine, as plain calls.
--
-- Events: `data` (bytes), `end`, `drain`, `error` (message, code), `recall` (the worker drains: finish soon), `close`.
-- Nothing is read before somebody wants to: a `data` handler, or read(). While a handler of `data` waits, the connection is
-- not read.
-- @module clua.socket

local core = require "clua.core.socket"
local host = require "clua.core.host"
local Emitter = require "clua.emitter"

local HIGH_WATER = 64 * 1024 -- bytes queued above which write() waits
local LINGER_MS = 5000 -- how long a finished connection may wait for the peer's end

local Socket = Emitter.class("Socket")

local lazy = {
  lent = function(box) return (box:info()) end,
  port = function(box) return (select(2, box:info())) end,
}

--- Fields: `lent` (how often the connection has been lent, from 1; 0 when it is no loan), `port` (local port the
-- client came to, 0 for a unix socket), `closed`, `ended` (the peer has shut down its side).
function Socket.__index(self, key)
  local method = Socket[key] or Emitter[key]
  if method ~= nil then return method end
  local get = lazy[key]
  if get then
    local value = get(self[1])
    if value then rawset(self, key, value) end
    return value
  end
  return nil
end

function Socket:__tostring()
  return ("Socket: %s"):format(self.closed and "closed" or "open")
end

--- Adds a handler; one for `data` starts reading. See clua.emitter.
function Socket:on(event, fn)
  Emitter.on(self, event, fn)
  if event ~= "data" then return self end
  local chunk = self.unread
  if chunk then
    self.unread = nil
    host.spawn(function()
      self:emit("data", chunk)
      self[1]:read_start()
    end)
  else
    self[1]:read_start()
  end
  return self
end

local function wake(self, field, ...)
  local co = self[field]
  if not co then return false end
  self[field] = nil
  host.resume(co, ...)
  return true
end

local function wait(self, field, what)
  local co = coroutine.running()
  if not co then error(what .. " waits and must be called inside a coroutine", 3) end
  if self[field] then error("another coroutine waits in " .. what .. " of this socket already", 3) end
  self[field] = co
  return coroutine.yield()
end

--- Waits for the next bytes, as many as have come.
-- @treturn string|nil bytes; nil at the peer's end; nil, message, code after an error
function Socket:read()
  local chunk = self.unread
  if chunk then
    self.unread = nil
    return chunk
  end
  if self.closed then return nil, "the socket is closed", "ECLOSED" end
  if self.ended then return nil end
  local ok, message, code = self[1]:read_start()
  if not ok then return nil, message, code end
  return wait(self, "_reader", "read()")
end

-- Hands bytes to C; returns how many are queued now, or nil, message, code.
local function send(self, bytes)
  local queued, message, code = self[1]:write(bytes)
  if queued and queued > 0 then self._queued = true end -- until the drain
  return queued, message, code
end

--- Writes; inside a coroutine it waits while more than 64 KiB are queued.
-- @tparam string bytes
-- @treturn boolean|nil true; false when the queue is long and the caller cannot wait (`drain` follows); nil, message,
--   code: "ECLOSED", "EPIPE" after finish(), "ECANCELED" when the connection went to another worker
function Socket:write(bytes)
  if type(bytes) ~= "string" and type(bytes) ~= "number" then
    error("write: a string is expected, got " .. type(bytes), 2)
  end
  local queued, message, code = send(self, bytes)
  if not queued then return nil, message, code end
  if queued <= HIGH_WATER then return true end
  if not coroutine.running() or self._writer then return false end
  return wait(self, "_writer", "write()")
end

-- A finished socket whose bytes are all sent ends with the peer's end, which it does not wait for without end.
local function end_if_done(self)
  if not self.finished or self._queued or self.closed then return end
  if self.ended then
    self[1]:close()
  elseif not self._linger then
    self._linger = require("luv").new_timer()
    self._linger:start(LINGER_MS, 0, function() self:destroy() end)
  end
end

--- Sends the bytes, then FIN; what the peer still sends is dropped unless somebody reads it.
-- @tparam[opt] string bytes
function Socket:finish(bytes)
  if bytes then
    local ok, message, code = send(self, bytes)
    if not ok then return nil, message, code end
  end
  if self.finished then return true end
  local ok, message, code = self[1]:shutdown()
  if not ok then return nil, message, code end
  self.finished = true
  self[1]:read_start() -- to see the peer's end
  end_if_done(self)
  return true
end

--- Ends the connection at once; queued bytes are dropped. `close` follows.
function Socket:destroy()
  self[1]:close()
end

--- The same with a reset (RST) instead of FIN.
function Socket:reset()
  self[1]:reset()
end

function Socket:pause()
  self[1]:read_stop()
  return self
end

function Socket:resume()
  self[1]:read_start()
  return self
end

--- Declares a boundary of the protocol: nothing of the client's is pending here, another worker may go on. The
-- connection goes back to the master until bytes arrive and is lent again (the same `ready` callback, `lent` + 1).
-- @tparam[opt] number keep seconds that it may wait there; 0 or nil: no limit
-- @treturn boolean false: it stays here (bytes queued, or the master keeps no descriptor of it)
function Socket:park(keep)
  if self.unread then return false end
  return self[1]:park((keep or 0) * 1000)
end

--- @treturn string,number address and port of this side ("unix", 0)
function Socket:address()
  return self[1]:address(false)
end

--- @treturn string,number address and port of the client ("unix", 0)
function Socket:remoteAddress()
  return self[1]:address(true)
end

-- ---- events from C (lua_socket.c), each in a task of its own ------------------------------------------------------

local events = {}

function events.data(self, bytes)
  if wake(self, "_reader", bytes) then
    if not self._reader and not self.finished and self:listenerCount("data") == 0 then self[1]:read_stop() end
    return
  end
  if self:emit("data", bytes) or self.finished then return end
  -- Nobody wants it now: keep it for the next read().
  self.unread = (self.unread or "") .. bytes
  self[1]:read_stop()
end

events["end"] = function(self)
  self.ended = true
  wake(self, "_reader", nil)
  self:emit("end")
  if not self.allowHalfOpen and not self.closed then self:finish() end
  end_if_done(self)
end

function events.drain(self)
  self._queued = nil
  wake(self, "_writer", true)
  self:emit("drain")
  end_if_done(self)
end

function events.error(self, message, code)
  self.ended = true
  wake(self, "_reader", nil, message, code)
  wake(self, "_writer", nil, message, code)
  self:emit("error", message, code)
  self[1]:close()
end

function events.recall(self)
  self:emit("recall")
end

function events.close(self)
  self.closed, self.ended = true, true
  if self._linger then
    self._linger:close()
    self._linger = nil
  end
  wake(self, "_reader", nil, "the socket is closed", "ECLOSED")
  wake(self, "_writer", nil, "the socket is closed", "ECLOSED")
  self:emit("close")
end

core.setup(Socket, function(socket, kind, value, code)
  return events[kind](socket, value, code)
end)

--- A socket for a connected descriptor, which it then owns.
-- @tparam number fd
-- @treturn Socket|nil nil, message, code
function Socket.from_fd(fd)
  return core.from_fd(fd)
end

return Socket
