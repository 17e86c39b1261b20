--- Who waits in a call of a socket, and until when: `_connector`, `_reader` and `_writer` are the coroutines.
-- @module clua.socket.waiting

local host = require "clua.core.host"
local uv = require "luv"

local waiting = {}

--- Something has happened: the time-out begins anew.
function waiting.touch(self)
  local idle = self._idle
  if not idle then return end
  idle.at = uv.now()
  if not idle.timer:is_active() then idle.timer:start(idle.ms, 0, idle.expired) end
end

--- Resumes who waits there, with these values; false when nobody does.
function waiting.wake(self, field, ...)
  local co = self[field]
  if not co then return false end
  self[field] = nil
  host.resume(co, ...)
  return true
end

--- The coroutine that runs, or nil.
-- LuaJIT with 5.2 compatibility returns the main coroutine and true where plain LuaJIT returns nil.
function waiting.running()
  local co, is_main = coroutine.running()
  return not is_main and co or nil
end

--- Waits until wake() of the same field; returns what that is given.
-- @tparam string what the public call, for messages
function waiting.wait(self, field, what)
  local co = waiting.running()
  if not co then error(what .. " waits and must be called inside a coroutine", 3) end
  if self[field] then error("another coroutine waits in " .. what .. " of this socket already", 3) end
  self[field] = co
  waiting.touch(self)
  return coroutine.yield()
end

--- Resumes all who wait.
function waiting.wake_all(self, ...)
  waiting.wake(self, "_connector", ...)
  waiting.wake(self, "_reader", ...)
  waiting.wake(self, "_writer", ...)
end

--- What to do when nothing has been read or written for so long: a call that waits returns nil, "timed out",
-- "ETIMEDOUT", then there is the event `timeout`. The socket stays open. A call that begins to wait counts as activity.
-- @tparam number seconds 0: no limit
-- @tparam[opt] function fn handler of `timeout`
-- @return self
function waiting:setTimeout(seconds, fn)
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds < 1e9) then
    error("setTimeout: a number of seconds, 0 or more, is needed", 2)
  end
  if fn then self:on("timeout", fn) end
  if self._idle then
    self._idle.timer:close()
    self._idle = nil
  end
  if seconds == 0 or self.closed then return self end
  local idle = { timer = uv.new_timer(), ms = math.ceil(seconds * 1000), at = uv.now() }
  function idle.expired()
    local rest = idle.at + idle.ms - uv.now()
    if rest > 0 then
      idle.timer:start(rest, 0, idle.expired)
      return
    end
    waiting.wake(self, "_reader", nil, "timed out", "ETIMEDOUT")
    waiting.wake(self, "_writer", nil, "timed out", "ETIMEDOUT")
    self:emit("timeout")
  end
  idle.timer:unref() -- the socket itself keeps the loop running
  idle.timer:start(idle.ms, 0, idle.expired)
  self._idle = idle
  return self
end

return waiting
