--- One registration of a dispatch script: its name taken apart, its options checked and completed.
-- @module clua.registration

local access_log = require "clua.access_log"
local core = require "clua.core.master"
local names = require "clua.names"
local options = require "clua.options"
local replies = require "clua.replies"
local trace = require "clua.trace"
local usage = require "clua.usage"

local registration = {}

local ARGS_BYTES = 4096 -- SEGMENT_ARGS_BYTES of src/segment.h
local WORKERS_MAX = 1024 -- of a registration: to start so many takes the master a second
local LOST_BYTES = 65000 -- what fits into a packet to a worker, beside a line

local known = {
  cnum = "integer", gone = "string", lost = "string", maxc = "integer", max_rss = "integer", user = "string",
  group = "string", args = "table", mode = "integer|string", balance = "function", ready_timeout = "number",
  term_timeout = "number", hang_timeout = "number", steal_after = "number", slow_after = "number", linger = "number",
  queue_max = "integer", queue_timeout = "number", quarantine = "number", idle_timeout = "number",
  defer_accept = "boolean", watch = "boolean|table", repl = "boolean",
  access_log = "string|table", output = "string", sched_batch = "boolean",
}

local defaults = {
  gone = replies.gone, lost = replies.lost, maxc = 0, max_rss = 0, ready_timeout = 30, term_timeout = 30,
  hang_timeout = 60, steal_after = 0.003, slow_after = 0.02, linger = 0.2, queue_max = 16384, queue_timeout = 10,
  quarantine = 0, idle_timeout = 60, defer_accept = true, repl = false,
  output = "log", sched_batch = true,
}

--- A path as seen from a directory; by default the working directory of this process.
function registration.absolute(path, directory)
  if path:sub(1, 1) == "/" then return path end
  return (directory or require("luv").cwd()) .. "/" .. path:gsub("^%./+", "")
end

-- The worker script stands beside the dispatch script, or where the caller stands.
local function find_script(path)
  local beside = path
  if path:sub(1, 1) ~= "/" then beside = registration.absolute((rawget(_G, "__dirname") or ".") .. "/" .. path) end
  for _, candidate in ipairs { beside, registration.absolute(path) } do
    local file = io.open(candidate, "r")
    if file then
      file:close()
      return candidate
    end
  end
  return beside
end

--- Checks a number of workers; wrong use is an error at `level`.
-- @treturn number count
function registration.count(count, where, level)
  if type(count) ~= "number" or count ~= math.floor(count) or count < 0 or count > WORKERS_MAX then
    usage.fail(level, "%s must be a whole number from 0 to %d, got %s", where, WORKERS_MAX,
      type(count) == "string" and "'" .. count .. "'" or tostring(count))
  end
  return count
end

local function pack_args(args)
  local parts = {}
  for i, value in ipairs(args or {}) do
    if type(value) ~= "string" and type(value) ~= "number" then
      usage.fail(3, "register: args[%d] must be a string, got %s", i, type(value))
    end
    parts[i] = tostring(value):gsub("%z", "") .. "\0"
  end
  for key in pairs(args or {}) do
    if parts[key] == nil then usage.fail(3, "register: args must be a list, got the key '%s'", tostring(key)) end
  end
  local packed = table.concat(parts)
  if #packed > ARGS_BYTES then
    usage.fail(3, "register: args have %d bytes, at most %d can be passed", #packed, ARGS_BYTES)
  end
  return packed, #parts
end

-- As chmod(2) has it, or as chmod(1) writes it: who writes 660 means the latter, but it is octal 1224.
local function socket_mode(mode, where)
  if mode == nil then return nil end
  local number = mode
  if type(mode) == "string" then number = tonumber(mode, 8) end
  if not number or number < 0 or number > 511 then
    usage.fail(3, "%s 'mode' must be an octal string like '0660', got %s", where,
      type(mode) == "string" and "'" .. mode .. "'" or "the number " .. mode)
  end
  return number
end

-- Of a variable that is not set, for example: the workers would keep the master's rights, and nobody would know.
local function check_user(all, where)
  for _, name in ipairs { "user", "group" } do
    if all[name] == "" then
      usage.fail(3, "%s '%s' is empty: name one, or leave it out to keep the master's", where, name)
    end
  end
end

-- Array of what is watched beside the worker script, or nil.
local function watched(watch)
  if not watch then return nil end
  local paths = type(watch) == "table" and watch or {}
  for i, path in ipairs(paths) do
    if type(path) ~= "string" then
      usage.fail(3, "register: watch[%d] must be the path of a file or directory, got %s", i, type(path))
    end
  end
  return paths
end

--- Checks what a script has given to register(); wrong use is an error at the line of that call.
-- @tparam[opt] string directory of relative socket paths
-- @treturn table { name =, specs =, options = }
function registration.new(name, path, given, directory)
  local specs, text = names.parse(name)
  if not specs then usage.fail(2, "register: %s", text) end
  for _, spec in ipairs(specs) do
    if spec.path then spec.path = registration.absolute(spec.path, directory) end
  end
  if type(path) ~= "string" then
    usage.fail(2, "register: path of the worker script must be a string, got %s", type(path))
  end
  options.check(given, known, "register", 3)
  local all = options.complete(given, defaults)
  all.cnum = all.cnum and registration.count(all.cnum, "register: option 'cnum'", 3) or core.cpus()
  check_user(all, "register: option")
  all.mode = socket_mode(all.mode, "register: option")
  access_log.complete(all, registration.absolute)
  if all.quarantine > 0 and #all.lost > LOST_BYTES then
    usage.fail(2, "register: option 'lost' has %d bytes, at most %d go together with 'quarantine'", #all.lost,
      LOST_BYTES)
  end
  if all.output ~= "log" and all.output ~= "inherit" then
    usage.fail(2, "register: option 'output' must be 'log' or 'inherit', got '%s'", all.output)
  end
  all.watch = watched(all.watch)
  all.name, all.script = text, path:sub(1, 1) == "=" and path or find_script(path)
  all.args, all.argc = pack_args(all.args)
  all.directory = directory -- in which its workers run
  return { name = text, specs = specs, options = all }
end

--- A registration of clua's own: its workers run a module that is a part of the binary.
-- @tparam string name
-- @tparam table specs where they take their connections from, see clua.names
-- @tparam string module
-- @tparam table given options, known to be right but for `mode`
-- @tparam[opt] string directory of relative socket paths
-- @treturn table as of new(), `builtin`
function registration.builtin(name, specs, module, given, directory)
  for _, spec in ipairs(specs) do
    if spec.path then spec.path = registration.absolute(spec.path, directory) end
  end
  local all = options.complete(given, defaults)
  all.mode = socket_mode(all.mode, "Master: option 'admin':")
  check_user(all, "Master: option 'admin':")
  all.name, all.script = name, "=" .. module
  all.args, all.argc = pack_args()
  all.directory = directory
  return { name = name, specs = specs, options = all, builtin = true }
end

local function check_script(self)
  local script = self.options.script
  local file, message = io.open(script, "r")
  if not file then
    usage.refuse(("cannot read the worker script of %s: %s"):format(self.name, message), "ENOENT")
  end
  file:close()
  local chunk
  chunk, message = loadfile(script)
  if not chunk then usage.refuse(trace.syntax(message, script)) end
end

--- Whether its workers could start: a typo is to end the start here, not to crash worker after worker.
-- Raises an error (clua.usage) when the script is missing or does not compile, or the user cannot be had.
function registration.check(self)
  if self.options.script:sub(1, 1) ~= "=" then check_script(self) end
  local ok, why, code = core.check_user(self.options.user or "", self.options.group or "")
  if not ok then usage.refuse(("register %s: %s"):format(self.name, why), code) end
end

return registration
