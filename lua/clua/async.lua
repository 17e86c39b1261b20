--- Callback functions, written straight down.
-- Every handler of clua runs in a coroutine, so a function that reports through a callback (all of luv's) can be
-- waited for where it is called.
--
--     local async = require "clua.async"
--     local stat, message, code = async.call(uv.fs_stat, "/etc/motd")
--     async.sleep(0.1)
--
-- The loop goes on meanwhile; only the calling coroutine waits.
-- @module clua.async

local uv = require "luv"

local async = {}

-- Who is waiting, or an error in the words of the caller's mistake. LuaJIT with 5.2 compatibility returns the main
-- coroutine and true where plain LuaJIT returns nil.
local function waiting_coroutine(name)
  local co, is_main = coroutine.running()
  if not co or is_main then
    error(name .. "() waits, so it must be called inside a coroutine (a handler of clua, or coroutine.wrap)", 3)
  end
  return co
end

-- The results of a started call: nil and a message without an exception is how luv says that it did not even start,
-- and that no callback will follow. The message then stands where the callback's error stands.
local function start(fn, callback, ...)
  local count = select("#", ...)
  local arguments = { ... }
  arguments[count + 1] = callback
  local started, message = fn(unpack(arguments, 1, count + 1))
  if started == nil and type(message) == "string" then
    callback(message)
  end
end

local function wait(co, fn, ...)
  local results, waiting
  start(fn, function(...)
    -- One that comes again (a repeating timer, a late answer) must not wake whatever the coroutine waits for by then.
    if results then
      return
    end
    results = { n = select("#", ...), ... }
    if waiting then
      require("clua.core.host").resume(co)
    end
  end, ...)
  -- Nothing to wait for when the callback came before fn returned. Otherwise only our own callback ends the wait: were
  -- the coroutine resumed by somebody else, results would be missing.
  waiting = true
  while not results do
    coroutine.yield()
  end
  return unpack(results, 1, results.n)
end

--- Calls fn(..., callback) and waits until the callback is called.
-- @tparam function fn a function that takes its callback as the last argument
-- @param ... its other arguments; give every one, nil too, up to the callback
-- @return what the callback was given (for luv: an error message or nil, then the values); the message alone when fn
-- could not start, that is, returned nil and a message
-- @raise what fn raises; an error when called outside a coroutine
function async.await(fn, ...)
  return wait(waiting_coroutine("async.await"), fn, ...)
end

local function settle(err, ...)
  if not err then
    return ...
  end
  return nil, err, tostring(err):match("^(E[%u%d]+)") or "EUNKNOWN"
end

--- Like await, for callbacks whose first argument is an error (all of luv's file and name functions).
-- @tparam function fn a function that takes its callback as the last argument
-- @param ... its other arguments
-- @return the values after the error argument, or
-- @treturn nil
-- @treturn string message, such as "ENOENT: no such file or directory: /nowhere"
-- @treturn string code, such as "ENOENT"
-- @raise what fn raises; an error when called outside a coroutine
function async.call(fn, ...)
  return settle(wait(waiting_coroutine("async.call"), fn, ...))
end

--- Waits.
-- @tparam number seconds how long, to the millisecond; 0 lets everything else that is ready go first
-- @raise an error when called outside a coroutine, or with a negative or missing time
function async.sleep(seconds)
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds < math.huge) then
    error("async.sleep(seconds): a number of seconds, 0 or more, is needed", 2)
  end
  local co = waiting_coroutine("async.sleep")
  local timer = assert(uv.new_timer())
  -- A timer counts from when the loop last looked at the clock, which is before everything that this handler has done.
  uv.update_time()
  wait(co, function(callback)
    return timer:start(math.ceil(seconds * 1000), 0, callback)
  end)
  timer:close()
end

return async
