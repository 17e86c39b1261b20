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

local is_callable = require "clua.callable"
local uv = require "luv"
local check_options = require("clua.options").check

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

local function check_function(name, fn)
  if not is_callable(fn) then
    error(("%s: a function that takes a callback is expected first, got %s"):format(name, type(fn)), 3)
  end
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
  check_function("async.await", fn)
  return wait(waiting_coroutine("async.await"), fn, ...)
end

local function settle(err, ...)
  if not err then
    return ...
  end
  return nil, err, tostring(err):match("^(E[%u%d_]+)") or "EUNKNOWN"
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
  check_function("async.call", fn)
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

-- ---- child processes -----------------------------------------------------------------------------------------------

local OUTPUT_LIMIT = 8 * 1024 * 1024

-- Reads a pipe to its end into a string; too much is the end of the child.
local function collect(child, name)
  local pipe, parts, have = uv.new_pipe(false), {}, 0
  child.open = child.open + 1
  local function read(err, chunk)
    have = have + #(chunk or "")
    if chunk and have <= child.limit then
      parts[#parts + 1] = chunk
      return
    end
    if chunk then child.fail(("more than %d bytes of %s"):format(child.limit, name), "EMSGSIZE") end
    if err then child.fail(err, err:match("^(E[%u%d_]+)")) end
    child[name] = table.concat(parts)
    pipe:close()
    child.closed()
  end
  return pipe, function() pipe:read_start(read) end
end

local spawn_options = { cwd = "string", env = "table", input = "string", timeout = "number", limit = "integer" }

local function environment(env)
  if not env then return nil end
  local list = {}
  for name, value in pairs(env) do list[#list + 1] = name .. "=" .. tostring(value) end
  return list
end

-- Starts the child; callback(status, stdout, stderr) or callback(nil, message, code) when all of it has ended.
local function spawn(cmd, args, options, callback)
  local child = { open = 1, limit = options.limit or OUTPUT_LIMIT }
  function child.closed()
    child.open = child.open - 1
    if child.open > 0 then return end
    if child.timer then child.timer:close() end
    if child.message then return callback(nil, child.message, child.code) end
    callback(child.status, child.stdout, child.stderr)
  end
  function child.fail(message, code)
    if child.message then return end
    child.message, child.code = message, code or "EUNKNOWN"
    if child.handle and not child.handle:is_closing() then child.handle:kill("sigkill") end
  end
  local stdin = options.input and uv.new_pipe(false) or nil
  local stdout, read_stdout = collect(child, "stdout")
  local stderr, read_stderr = collect(child, "stderr")
  local message, code
  child.handle, message, code = uv.spawn(cmd, {
    args = args, cwd = options.cwd, env = environment(options.env), stdio = { stdin, stdout, stderr },
  }, function(status, signal)
    child.status = signal ~= 0 and 128 + signal or status
    child.handle:close()
    child.closed()
  end)
  if not child.handle then
    for _, pipe in pairs { stdout, stderr, stdin } do pipe:close() end
    local where = options.cwd and " in " .. options.cwd or "" -- which may be what is missing
    return callback(nil, ("cannot run %s%s: %s"):format(cmd, where, message), code)
  end
  read_stdout()
  read_stderr()
  if options.timeout then
    child.timer = uv.new_timer()
    child.timer:start(math.ceil(options.timeout * 1000), 0, function()
      child.fail(("%s was still running after %g s"):format(cmd, options.timeout), "ETIMEDOUT")
    end)
  end
  if stdin then stdin:write(options.input, function() stdin:close() end) end
end

--- Runs a program and waits for its end and that of its output.
-- @tparam string cmd a path, or a name that is looked for in PATH; no shell
-- @tparam[opt] {string,...} args
-- @tparam[opt] table options `cwd`, `env` (name = value, all of it), `input` (string for its standard input; default:
--   none), `timeout` (seconds; then it is killed), `limit` (bytes of output and of errors each, 8 MiB)
-- @treturn number|nil exit status, 128 + signal when a signal has ended it; nil, message, code: "ENOENT", "ETIMEDOUT",
--   "EMSGSIZE", ...
-- @treturn string what it wrote to its standard output
-- @treturn string and to standard error
-- @raise an error when called outside a coroutine, or with a wrong option
function async.spawn(cmd, args, options)
  local co = waiting_coroutine("async.spawn")
  if type(cmd) ~= "string" then error("async.spawn: a command is expected, got " .. type(cmd), 2) end
  if args ~= nil and type(args) ~= "table" then
    error("async.spawn: a table of arguments is expected, got " .. type(args), 2)
  end
  options = check_options(options, spawn_options, "async.spawn")
  return wait(co, function(callback) spawn(cmd, args or {}, options, callback) end)
end

return async
