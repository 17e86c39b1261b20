--- Sockets: a connection that this worker has on loan, one that this process has opened (clua.net), or any connected
-- descriptor: as an event emitter and, inside a coroutine, as plain calls.
--
-- Events: `connect`, `data` (bytes), `end`, `drain`, `timeout`, `error` (message, code), `recall` (the worker drains:
-- finish soon), `close`. Nothing is read before somebody wants to: a `data` handler, or a reading call. A call that
-- waits is served first. While a handler of `data` waits, the connection is not read.
--
-- The calls are in clua.socket.reading and clua.socket.writing, who waits and until when in clua.socket.waiting.
-- @module clua.socket

local core = require "clua.core.socket"
local uv = require "luv"
local Emitter = require "clua.emitter"
local buffering = require "clua.socket.buffering"
local reading = require "clua.socket.reading"
local waiting = require "clua.socket.waiting"
local writing = require "clua.socket.writing"

local touch, wake, wake_all = waiting.touch, waiting.wake, waiting.wake_all
local end_if_done, keeps = writing.end_if_done, writing.keeps
local HIGH_WATER = writing.HIGH_WATER

local Socket = Emitter.class("Socket")

local lazy = {
  lent = function(box) return (box:info()) end,
  port = function(box) return (select(2, box:info())) end,
}

--- Fields: `lent` (how often the connection has been lent, from 1; 0 when it is no loan), `port` (local port the
-- client came to, 0 for a unix socket), `connecting`, `closed`, `ended` (the peer has shut down its side). To be set:
-- `allowHalfOpen` (the peer's end does not finish() this side, and finish() does not limit how long the peer may go
-- on).
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

local events = {} -- from C, see below

-- ---- reading -------------------------------------------------------------------------------------------------------

-- The end, when all bytes before it have been taken.
local function emit_end(self)
  if self._end_due and not buffering.pending(self) then
    self._end_due = nil
    self:emit("end")
  end
end

-- On the next turn of the loop, in a coroutine.
local function defer(fn)
  local timer = uv.new_timer()
  timer:start(0, 0, function()
    timer:close()
    fn()
  end)
end

local function emit_kept(self)
  if self._reader or self:listenerCount("data") == 0 then return end
  local bytes = buffering.take_all(self)
  if bytes then self:emit("data", bytes) end
end

-- Not at once: the script may be about to add more handlers.
local function deliver_later(self)
  if self._delivering then return end
  self._delivering = true
  defer(function()
    self._delivering = nil
    emit_kept(self)
    emit_end(self)
    if self._reader or self:listenerCount("data") > 0 then self[1]:read_start() end
  end)
end

--- Adds a handler; one for `data` starts reading, and gets first what has been read and not taken. See clua.emitter.
function Socket:on(event, fn)
  Emitter.on(self, event, fn, 2)
  if event == "data" then self:resume() end
  return self
end

--- Waits for bytes that have not been read yet; for clua.socket.reading.
function Socket:_more()
  if self.ended or self._ending then return nil, self._why, self._code end
  local ok, message, code = self[1]:read_start()
  if not ok and not self.connecting then return nil, message, code end
  return waiting.wait(self, "_reader", "read()")
end

--- Everything that waited before is taken now.
function Socket:_taken()
  if self._end_due then deliver_later(self) end
end

for name, method in pairs(reading) do Socket[name] = method end
Socket.write = writing.write
Socket.finish = writing.finish
Socket.setTimeout = waiting.setTimeout

function Socket:pause()
  self[1]:read_stop()
  return self
end

function Socket:resume()
  if buffering.pending(self) and self:listenerCount("data") > 0 then
    deliver_later(self)
  else
    self[1]:read_start()
  end
  return self
end

--- Puts bytes back in front of what will be read next.
-- @tparam string bytes
function Socket:unshift(bytes)
  if type(bytes) ~= "string" then error("unshift: a string is expected, got " .. type(bytes), 2) end
  buffering.unshift(self, bytes)
  if self:listenerCount("data") > 0 then deliver_later(self) end
end

-- ---- ending --------------------------------------------------------------------------------------------------------

--- Ends the connection at once; queued bytes are dropped. `close` follows.
-- @tparam[opt] string message why: who waits gets nil, message, code, and there is an `error` event
-- @tparam[opt] string code
function Socket:destroy(message, code)
  if self.closed or self._ending then return end
  self._ending, self._failed = true, message ~= nil
  self._why, self._code = message or "the socket is closed", message and (code or "ECANCELED") or "ECLOSED"
  buffering.take_all(self)
  if self.connecting then
    self[1]:forget()
    defer(function() events.close(self) end) -- no handle, so no event of C's
  else
    self[1]:close()
  end
end

--- The same with a reset (RST) instead of FIN.
function Socket:reset()
  if self.connecting then return self:destroy() end
  self[1]:reset()
end

--- Declares a boundary of the protocol: nothing of the client's is pending here, another worker may go on. The
-- connection goes back to the master until bytes arrive and is lent again (the same `ready` callback, `lent` + 1).
-- @tparam[opt] number keep seconds that it may wait there; 0 or nil: no limit
-- @treturn boolean false: it stays here (bytes queued, or the master keeps no descriptor of it)
function Socket:park(keep)
  if buffering.pending(self) then return false end
  return self[1]:park((keep or 0) * 1000)
end

-- ---- settings ------------------------------------------------------------------------------------------------------

-- While connecting, for when it is.
local function set(self, method, ...)
  if not self.connecting then return self[1][method](self[1], ...) end
  self._settings = self._settings or {}
  self._settings[method] = { ... }
  return true
end

--- Sends small pieces at once (TCP_NODELAY).
-- @tparam[opt=true] boolean on
-- @treturn boolean|nil true (also for a unix socket, which never waits); nil, message, code
function Socket:setNoDelay(on)
  return set(self, "nodelay", on ~= false)
end

--- Has the kernel ask an idle peer whether it is still there (SO_KEEPALIVE).
-- @tparam[opt=true] boolean on
-- @tparam[opt=60] number delay whole seconds of idleness before the first question
-- @treturn boolean|nil true; nil, message, code
function Socket:setKeepAlive(on, delay)
  return set(self, "keepalive", on ~= false, delay or 60)
end

--- @treturn string,number address and port of this side ("unix", 0)
function Socket:address()
  return self[1]:address(false)
end

--- @treturn string,number address and port of the peer ("unix", 0)
function Socket:remoteAddress()
  return self[1]:address(true)
end

-- ---- events from C (lua_socket.c), each in a task of its own ------------------------------------------------------

function events.connect(self, message, code)
  self._on_connect(message, code) -- clua.net, which may try another address
end

function events.data(self, bytes)
  touch(self)
  if wake(self, "_reader", bytes) then
    if not self._reader and not self.finished and self:listenerCount("data") == 0 then self[1]:read_stop() end
    return
  end
  if self:listenerCount("data") > 0 then
    local before = buffering.take_all(self)
    self:emit("data", before and before .. bytes or bytes)
    return
  end
  if self.finished and not keeps(self) then return end
  -- Nobody wants it now: keep it for the next read.
  local count = buffering.append(self, bytes)
  if not self.finished or count > HIGH_WATER then self[1]:read_stop() end
end

events["end"] = function(self)
  self.ended = true
  wake(self, "_reader", nil)
  emit_kept(self)
  self._end_due = true
  emit_end(self)
  if not self.allowHalfOpen and not self.closed then self:finish() end
  end_if_done(self)
end

function events.drain(self)
  self._queued = nil
  touch(self)
  wake(self, "_writer", true)
  self:emit("drain")
  end_if_done(self)
end

function events.error(self, message, code)
  self.ended, self._why, self._code = true, message, code
  wake_all(self, nil, message, code)
  self:emit("error", message, code)
  self[1]:close()
end

function events.recall(self)
  self:emit("recall")
end

function events.close(self)
  local cut = self._ending or not self.ended
  self.closed, self.ended, self.connecting, self._end_due = true, true, nil, not cut and self._end_due
  self:setTimeout(0)
  if self._linger then
    self._linger:close()
    self._linger = nil
  end
  if cut then buffering.take_all(self) end
  if cut and not self._ending then self._why, self._code = "the socket is closed", "ECLOSED" end
  wake_all(self, nil, self._why or "the socket is closed", self._code or "ECLOSED")
  if self._failed then self:emit("error", self._why, self._code) end
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

-- ---- for clua.net --------------------------------------------------------------------------------------------------

--- A socket that is not connected yet: what is written is kept. decide(message, code) is called when an attempt to
-- connect has ended.
function Socket._new(decide)
  local self = core.new()
  self.connecting, self._outgoing, self._early, self._on_connect = true, true, { len = 0 }, decide
  return self
end

--- Waits until it is connected: self, or nil, message, code.
function Socket:_connected()
  return waiting.wait(self, "_connector", "net.connect()")
end

--- The attempts have come to an end.
function Socket:_settle(message, code)
  if self.closed or self._ending then return end
  if message then
    self._why, self._code, self._failed, self._ending = message, code, true, true
    events.close(self)
    return
  end
  local early = table.concat(self._early)
  self.connecting, self._early = nil, nil
  for method, arguments in pairs(self._settings or {}) do self[1][method](self[1], unpack(arguments)) end
  local queued = early ~= "" and writing.send(self, early) or 0
  if self._finish_due then self:finish() end
  if self._reader or self:listenerCount("data") > 0 then self[1]:read_start() end
  if queued <= HIGH_WATER then wake(self, "_writer", true) end
  wake(self, "_connector", self)
  self:emit("connect")
end

return Socket
