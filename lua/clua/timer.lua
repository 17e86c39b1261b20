--- Timers. A callback runs in a coroutine of its own, so it may be written straight down; an error in it is an uncaught
-- one (it ends a worker or a script, with a traceback in the log).
--
--     local timer = require "clua.timer"
--     local t = timer.every(60, collect_figures)
--     t:stop()
-- @module clua.timer

local async = require "clua.async"
local uv = require "luv"

local timer = {}

local Timer = { __name = "Timer" }
Timer.__index = Timer

function Timer:__tostring()
  return "Timer: " .. (self.handle and "running" or "stopped")
end

--- Stops it for good; a callback that runs goes on. Again: does nothing.
function Timer:stop()
  local handle = self.handle
  self.handle = nil
  if handle then handle:close() end
end

--- Lets the process end although the timer runs.
-- @return self
function Timer:unref()
  if self.handle then self.handle:unref() end
  return self
end

local function check(name, seconds, fn)
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds < 1e12) then
    error(name .. "(seconds, fn): a number of seconds, 0 or more, is needed", 3)
  end
  if type(fn) ~= "function" then error(name .. "(seconds, fn): a function is expected, got " .. type(fn), 3) end
end

local function start(seconds, again, fn)
  local self = setmetatable({ handle = uv.new_timer() }, Timer)
  -- A timer counts from when the loop last looked at the clock, which is before everything that this handler has done.
  uv.update_time()
  local ms = math.ceil(seconds * 1000)
  self.handle:start(ms, again and math.max(ms, 1) or 0, function() fn(self) end)
  return self
end

--- Calls fn(timer) once.
-- @tparam number seconds from now, to the millisecond
-- @tparam function fn
-- @treturn Timer with stop() and unref()
function timer.after(seconds, fn)
  check("timer.after", seconds, fn)
  return start(seconds, false, function(self)
    self:stop()
    fn(self)
  end)
end

--- Calls fn(timer) again and again. While a call waits, the next ones are left out, not queued.
-- @tparam number seconds between two calls, the first one included
-- @tparam function fn
-- @treturn Timer
function timer.every(seconds, fn)
  check("timer.every", seconds, fn)
  local busy
  return start(seconds, true, function(self)
    -- One that has failed is dead, if there is somebody who survives that.
    if busy and coroutine.status(busy) ~= "dead" then return end
    busy = coroutine.running()
    fn(self)
    busy = nil
  end)
end

--- Waits: see clua.async.
timer.sleep = async.sleep

return timer
