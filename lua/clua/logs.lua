--- The master's logs: where they go, opening them anew, their level, and who follows them.
--
-- What a worker logs or prints comes to the master through a pipe (src/capture.c); the master writes all of it to
-- standard error, which is the file of `error_log` once the start has succeeded.
-- @module clua.logs

local core = require "clua.core.master"
local host = require "clua.core.host"
local registration = require "clua.registration"
local trace = require "clua.trace"
local usage = require "clua.usage"

local logs = {}
logs.__index = logs

local EXIT_SYSTEM = 111

local levels = { debug = true, info = true, warn = true, error = true }
local prefixes = { auto = true, time = true, priority = true }

local function check_one_of(options, name, known, text)
  if not known[options[name]] then
    usage.fail(3, "Master: option '%s' must be %s, got '%s'", name, text, options[name])
  end
end

--- Checks the master's options of logging.
function logs.check_options(options)
  check_one_of(options, "log_level", levels, "debug, info, warn or error")
  check_one_of(options, "log_prefix", prefixes, "auto, time or priority")
end

local absolute = registration.absolute

local function refuse(what, path, message, code)
  usage.refuse(("cannot open the %s %s: %s"):format(what, path, message), code, EXIT_SYSTEM)
end

--- Ends the start when a log could not be written.
function logs.check_files(master)
  local function check(what, path)
    local ok, message, code = core.log_check(path)
    if not ok then refuse(what, path, message, code) end
  end
  if master.options.error_log then check("error log", absolute(master.options.error_log)) end
  for _, one in ipairs(master.registrations) do
    if one.options.access_log then check("access log", one.options.access_log) end
  end
end

-- Opens the access log of each registration, anew if it is open: tries all, and calls failed(path, message, code) for
-- those that cannot be had.
local function open_access_logs(master, failed)
  for _, one in ipairs(master.registrations) do
    local options = one.options
    if options.access_log and not one.closed then
      local ok, message, code = core.access_log(one.pool, options.access_log, options.access_format,
        options.access_json)
      if not ok then failed(options.access_log, message, code) end
    end
  end
end

--- After an upgrade, before any worker is started: those that run have theirs.
function logs.open_access(master)
  open_access_logs(master, function(path, message)
    host.log("error", ("cannot open the access log %s: %s: new workers have none"):format(path, message))
  end)
end

--- This process becomes a master. With a file for the error log, lines wait until begin(): who starts a cluster sees on
-- standard error why it does not start.
-- @tparam table master gets its field `logs`
-- @tparam[opt] table before result of state() before an upgrade: standard error is what it was
function logs.open(master, before)
  local options = master.options
  local self = setmetatable({ master = master, followers = {}, error_log = before and before.error_log }, logs)
  master.logs = self
  self.wanted = options.error_log and absolute(options.error_log)
  host.log_level(options.log_level)
  core.log_open(options.log_prefix)
  if before then
    core.log_restore(before.lines, before.position)
    core.log_pend(before.pending)
  end
  if self.wanted and not before then core.log_hold(true) end
end

--- The addresses are bound: from here on the log goes where the script wants it.
function logs.begin(master)
  local self = master.logs
  open_access_logs(master, function(path, message, code) refuse("access log", path, message, code) end)
  if not self.wanted then return end
  local ok, message, code = core.error_log(self.wanted)
  if not ok then refuse("error log", self.wanted, message, code) end
  self.error_log = self.wanted
  core.log_hold(false)
end

--- After an upgrade: the workers go on writing. What fails now is told, and the log stays where it was.
function logs.adopt(master, before)
  local self = master.logs
  if self.wanted and self.wanted ~= before.error_log then
    local ok, message = core.error_log(self.wanted)
    if ok then
      self.error_log = self.wanted
      core.hand_logs()
    else
      host.log("error", ("cannot open the error log %s: %s: it stays where it was"):format(self.wanted, message))
    end
  elseif not self.wanted and before.error_log then
    host.log("warn", ("the script names no error log any more: it stays %s until a restart"):format(before.error_log))
  end
  local ok, message = core.adopt_captures(before.captures)
  if not ok then host.log("error", "the output of a worker is lost from here on: " .. message) end
  core.log_level(master.options.log_level)
end

--- What crosses an upgrade. Nothing may be logged behind it.
function logs:state()
  local lines, position = core.log_read()
  return {
    error_log = self.error_log, captures = core.captures(), pending = core.log_pending(), lines = lines,
    position = position,
  }
end

--- See Master:reopen_logs.
function logs.reopen(master)
  local self, failure, failure_code = master.logs, nil, nil
  local function failed(what, path, message, code)
    message = ("cannot open the %s %s: %s"):format(what, path, message)
    host.log("error", message .. ": the file of before is written to")
    failure, failure_code = failure or message, failure_code or code
  end
  if self.error_log then
    local ok, message, code = core.error_log(self.error_log)
    if not ok then failed("error log", self.error_log, message, code) end
  end
  open_access_logs(master, function(path, message, code) failed("access log", path, message, code) end)
  core.hand_logs()
  if failure then return nil, failure, failure_code end
  host.log("info", "log files opened anew")
  return true
end

--- See Master:log_level.
function logs.level(master, level) -- luacheck: ignore master
  if level ~= nil and not levels[level] then
    usage.fail(2, "log_level: must be debug, info, warn or error, got '%s'", tostring(level))
  end
  local before = core.log_level(level)
  if level and level ~= before then host.log("warn", ("log level changed from %s to %s"):format(before, level)) end
  return before
end

-- ---- followers ----------------------------------------------------------------------------------------------------

local function lines_of(text)
  local lines = {}
  for line in text:gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
  return lines
end

-- A follower that has begun behind that position knows of it.
local function tell(self, line, position)
  local followers = {} -- one that is told may end itself, or begin another
  for follower in pairs(self.followers) do followers[#followers + 1] = follower end
  for _, follower in ipairs(followers) do
    local ok, message = true, nil
    if position > follower.from then ok, message = xpcall(follower.fn, trace.handler, line, position) end
    if not ok then
      self.followers[follower] = nil
      host.log("error", "a follower of the log has failed, and gets no more of it: " .. message)
    end
  end
end

-- What followers have logged themselves is behind the position that the next call begins at.
local function new_lines(self)
  local text, last, missed = core.log_read(self.position)
  local position = last - #text
  if missed then tell(self, nil, position) end
  for _, line in ipairs(lines_of(text)) do
    position = position + #line + 1
    tell(self, line, position)
  end
  self.position = select(2, core.log_read(math.huge))
end

--- See Master:on_log. fn(line, position) for what is written from now on; position: see since().
function logs.follow(master, fn)
  local self, follower = master.logs, { fn = fn, from = select(2, core.log_read(math.huge)) }
  if not next(self.followers) then
    self.position = follower.from
    core.log_follow(function() new_lines(self) end)
  end
  self.followers[follower] = true
  return function()
    self.followers[follower] = nil
    if not next(self.followers) then core.log_follow(nil) end
  end
end

--- Tells the followers at once what they would hear of in the next turn of the loop: there is none.
function logs.flush(master)
  if next(master.logs.followers) then new_lines(master.logs) end
end

--- See Master:last_log.
function logs.last(count)
  local lines, last = lines_of((core.log_read())), {}
  for i = math.max(1, #lines - count + 1), #lines do last[#last + 1] = lines[i] end
  return last
end

--- The lines behind a position, as many as are kept. Positions count bytes of the log, over upgrades, too.
-- @tparam number position
-- @treturn table array of strings
-- @treturn number the position behind the last one
-- @treturn boolean whether some are missing
function logs.since(position)
  local text, last, missed = core.log_read(position)
  return lines_of(text), last, missed
end

return logs
