--- The writing calls of sockets: what is queued, and the end of this side.
-- @module clua.socket.writing

local uv = require "luv"
local waiting = require "clua.socket.waiting"

local writing = {}

writing.HIGH_WATER = 64 * 1024 -- bytes queued above which write() waits
local LINGER_MS = 5000 -- how long a finished connection may wait for the peer's end

--- Does what still comes belong to the script, even after finish() and though nobody reads it now?
function writing.keeps(self)
  return self.allowHalfOpen or self._outgoing
end

--- Hands bytes to C; returns how many are queued now, or nil, message, code.
function writing.send(self, bytes)
  if self.connecting then
    local early = self._early
    if self._finish_due then return nil, "broken pipe", "EPIPE" end
    early[#early + 1] = bytes
    early.len = early.len + #bytes
    return early.len
  end
  local queued, message, code = self[1]:write(bytes)
  if queued and queued > 0 then self._queued = true end -- until the drain
  waiting.touch(self)
  return queued, message, code
end

--- Writes; inside a coroutine it waits while more than 64 KiB are queued.
-- @tparam string bytes
-- @treturn boolean|nil true; false when the queue is long and the caller cannot wait (`drain` follows); nil, message,
--   code: "ECLOSED", "EPIPE" after finish(), "ECANCELED" when the connection went to another worker, "ETIMEDOUT" (the
--   bytes stay queued)
function writing:write(bytes)
  if type(bytes) ~= "string" and type(bytes) ~= "number" then
    error("write: a string is expected, got " .. type(bytes), 2)
  end
  local queued, message, code = writing.send(self, tostring(bytes))
  if not queued then return nil, message, code end
  if queued <= writing.HIGH_WATER then return true end
  if not waiting.running() or self._writer then return false end
  return waiting.wait(self, "_writer", "write()")
end

--- A finished socket whose bytes are all sent ends with the peer's end, which it does not wait for without end.
function writing.end_if_done(self)
  if not self.finished or self._queued or self.closed then return end
  if self.ended then
    self[1]:close()
  elseif not self._linger and not writing.keeps(self) then
    self._linger = uv.new_timer()
    self._linger:start(LINGER_MS, 0, function() self:destroy() end)
  end
end

--- Sends the bytes, then FIN. What the peer still sends is dropped unless somebody reads it; on a socket that
-- allowHalfOpen, and one that this process has opened, it is kept for who reads later.
-- @tparam[opt] string bytes
-- @treturn boolean|nil true; nil, message, code as write()
function writing:finish(bytes)
  if bytes then
    local ok, message, code = writing.send(self, tostring(bytes))
    if not ok then return nil, message, code end
  end
  if self.finished then return true end
  if self.connecting then
    self._finish_due = true
    return true
  end
  local ok, message, code = self[1]:shutdown()
  if not ok then return nil, message, code end
  self.finished = true
  self[1]:read_start() -- to see the peer's end
  writing.end_if_done(self)
  return true
end

return writing
