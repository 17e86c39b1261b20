-- Waiting. A spec is written straight down: loop.wait() runs the event loop until something has come true.
--
-- Where many clients run at once, each is a task (a coroutine): the same calls then suspend the task instead, and the
-- event that they wait for resumes it. Tasks run whenever somebody runs the loop, so a load goes on in the background
-- while the spec waits for a line of a log. Deadlines only bound a hang; nothing here waits for time to pass but
-- loop.sleep(), the think time of simulated clients.

local uv = require "luv"

local loop = {}

local TICK_MS = 20

-- Predicates without an event of their own (a file in /proc) are looked at once a tick; so are deadlines of tasks.
local waiting = {}
local ticker

local tasks = setmetatable({}, { __mode = "k" })

local function now()
  return uv.hrtime() / 1e9
end

loop.now = now

local function resume(task, ...)
  waiting[task] = nil
  local ok, result = coroutine.resume(task.thread, ...)
  if not ok then
    task.error = debug.traceback(task.thread, tostring(result))
  elseif coroutine.status(task.thread) == "dead" then
    task.result = result
  else
    return
  end
  task.done = true
  if task.timer then task.timer:close() end
  if task.on_done then task.on_done(task) end
end

local function tick()
  local late, time = {}, now()
  for task, deadline in pairs(waiting) do
    if time > deadline then late[#late + 1] = task end
  end
  for _, task in ipairs(late) do
    -- One that was resumed for another's sake may have begun a new wait.
    if waiting[task] and now() > waiting[task] then resume(task) end
  end
end

local function start_ticker()
  if ticker then return end
  ticker = uv.new_timer()
  ticker:start(TICK_MS, TICK_MS, tick)
end

--- The task that is running, or nil in the main line of a spec.
function loop.current()
  return tasks[coroutine.running() or false]
end

--- Runs a function as a task, until its first wait at once. task.done, .result, .error tell how it went.
function loop.task(fn, on_done)
  start_ticker()
  local task = { on_done = on_done }
  task.thread = coroutine.create(fn)
  tasks[task.thread] = task
  resume(task, task)
  return task
end

--- Waits until predicate() is true, by the main line of a spec. Returns its value, or nil and a message.
local function pump(predicate, seconds)
  start_ticker()
  local deadline = now() + seconds
  repeat
    local value = predicate()
    if value then return value end
    uv.run("once")
  until now() > deadline
  return predicate() or nil, "timeout"
end

--- Waits for something that happens to `subject`: whoever changes it calls loop.wake(subject).
-- Returns what the predicate returns, or nil and "timeout".
function loop.await(subject, predicate, seconds)
  local task = loop.current()
  if not task then return pump(predicate, seconds) end
  local deadline = now() + seconds
  while true do
    local value = predicate()
    if value then return value end
    if now() > deadline then return nil, "timeout" end
    subject.waiter = task
    waiting[task] = deadline
    coroutine.yield()
    subject.waiter = nil
  end
end

function loop.wake(subject)
  if subject.waiter then resume(subject.waiter) end
end

--- Waits in the main line until predicate() is true and returns its value; raises at the deadline.
-- explain: a text, or a function that makes one.
function loop.wait(predicate, seconds, explain)
  local value = pump(predicate, seconds)
  if value then return value end
  if type(explain) == "function" then explain = explain() end
  error(("waited %g s for %s"):format(seconds, explain or "something that did not happen"), 2)
end

--- Runs fn in a coroutine of clua's, as handlers are run, and waits in the main line for its end. Returns what it
-- returns, raises what it raises.
function loop.run(fn, seconds)
  local results, failure
  require("clua.core.host").spawn(function()
    local function keep(ok, ...)
      if ok then results = { n = select("#", ...), ... } else failure = (...) end
    end
    keep(xpcall(fn, debug.traceback))
  end)
  loop.wait(function() return results or failure end, seconds, "the coroutine")
  if failure then error(failure, 0) end
  return unpack(results, 1, results.n)
end

--- How many handles there are that nobody has closed.
function loop.handles()
  local count = 0
  uv.walk(function(handle) if not handle:is_closing() then count = count + 1 end end)
  return count
end

--- Suspends a task for a while: what a client does between two requests.
function loop.sleep(seconds)
  local task = assert(loop.current(), "loop.sleep() is for tasks only")
  task.timer = task.timer or uv.new_timer()
  task.timer:start(math.ceil(seconds * 1000), 0, function() resume(task) end)
  coroutine.yield()
end

--- Runs fn(i) for i = 1..count, at most `width` of them at a time, and waits for all. Returns their results.
function loop.all(count, fn, seconds, width)
  local results, active, begun, failure = {}, 0, 0, nil
  local function refill()
    while not failure and begun < count and active < (width or count) do
      begun = begun + 1
      active = active + 1
      local i = begun
      loop.task(function() return fn(i) end, function(task)
        active = active - 1
        results[i] = task.result
        failure = failure or task.error
      end)
    end
  end
  loop.wait(function()
    refill()
    return failure or (active == 0 and begun == count)
  end, seconds or 60, function()
    return ("%d tasks, of which %d have begun and %d have not ended"):format(count, begun, active)
  end)
  if failure then error(failure, 0) end
  return results
end

return loop
