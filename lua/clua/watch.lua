--- Watch mode: an edit to a file that the workers have loaded, or that is named, reloads them. For development.
--
-- The master watches (uv_fs_event) and compiles what has changed, without running any of it; a file that does not
-- compile is shown in the log, and the old workers go on until it does. What workers load, they tell
-- (clua.watch.report).
--
-- Directories are watched, not files: so it does not matter whether an editor writes in place, renames a new file over
-- the old one, or a link on the way is set to another target (clua.watch.places). An event only makes the watcher look;
-- what counts is whether a file is another one than before.
-- @module clua.watch

local host = require "clua.core.host"
local places = require "clua.watch.places"
local trace = require "clua.trace"
local uv = require "luv"

local Watch = {}
Watch.__index = Watch

local DEBOUNCE_MS = 15 -- an editor's save is several events
local DOUBT_MS = 60 -- what does not compile may be half of a save that is slower: it is looked at once more
local DEBOUNCES_MAX = 4 -- but one that goes on writing does not hold it up for ever
local FILES_MAX = 5000 -- a worker that reports names without end is told so

--- The name under which workers report; nothing can be registered by it.
Watch.TOPIC = "=watch"

-- In microseconds: an earlier master may have been started in the same second.
local function epoch_us()
  local seconds, microseconds = uv.gettimeofday()
  return seconds * 1e6 + microseconds
end

-- Of the workers' code. It begins with the time, so that a page of an earlier master is known to be old (livereload).
local generation = tonumber(os.getenv("CLUA_GENERATION")) or epoch_us()

--- @tparam table options `name` of the registration; `paths` files and directories; `directory` of relative ones;
--   `changed` function() that reloads
function Watch.new(options)
  local self = setmetatable({
    name = options.name, changed = options.changed, directory = options.directory or uv.cwd(), signatures = {},
    handles = {}, broken = {}, count = 0, timer = uv.new_timer(), postponed = 0,
  }, Watch)
  self.timer:unref()
  for _, path in ipairs(options.paths) do self:add(path) end
  return self
end

--- Whether a file has this extension: those are compiled before a reload.
local function is_lua(path)
  return path:find("%.lua$") ~= nil
end

local function fail(self, directory, message)
  host.log("warn", ("watch of %s: cannot watch %s: %s"):format(self.name, directory, message))
end

local function watch_directory(self, directory)
  if self.handles[directory] then return end
  local handle = uv.new_fs_event()
  local ok, message = handle:start(directory, {}, function() self:touch() end)
  if not ok then
    handle:close()
    return fail(self, directory, message)
  end
  handle:unref()
  self.handles[directory] = handle
end

--- One file or directory more; what is known already changes nothing.
-- @tparam string path
function Watch:add(path)
  if path:sub(1, 1) ~= "/" then path = self.directory .. "/" .. path end
  if self.signatures[path] then return end
  if self.count >= FILES_MAX then
    if self.count == FILES_MAX then fail(self, path, ("%d files are watched already"):format(FILES_MAX)) end
    self.count = FILES_MAX + 1
    return
  end
  self.count = self.count + 1
  self.signatures[path] = places.signature(path)
  self:follow(path)
end

-- The directories on the way to a path are others when a link has changed.
function Watch:follow(path)
  for _, directory in ipairs(places.of(path)) do watch_directory(self, directory) end
end

--- All that is watched, for the next master after an upgrade.
-- @treturn table array of paths
function Watch:files()
  local list = {}
  for path in pairs(self.signatures) do list[#list + 1] = path end
  table.sort(list)
  return list
end

--- Something may have changed.
function Watch:touch()
  if self.timer:is_closing() then return end
  if self.timer:is_active() then
    if self.postponed >= DEBOUNCES_MAX then return end
    self.postponed = self.postponed + 1
  end
  self.timer:start(DEBOUNCE_MS, 0, function()
    self.postponed = 0
    self:look()
  end)
end

-- A handle of a directory that was removed and made again hears nothing any more.
local function watch_anew(self)
  for directory, handle in pairs(self.handles) do
    if not places.same_directory(directory, self.inodes and self.inodes[directory]) then
      handle:close()
      self.handles[directory] = nil
    end
  end
  for path in pairs(self.signatures) do self:follow(path) end
  self.inodes = {}
  for directory in pairs(self.handles) do self.inodes[directory] = places.inode(directory) end
end

local function check(self, path)
  self.broken[path] = nil
  if not is_lua(path) then return end
  local chunk, message = loadfile(path)
  if not chunk then self.broken[path] = trace.syntax(message, path) end
end

-- What is not there now is about to come back, or is not wanted any more.
local function changes(self)
  local list = {}
  for path, before in pairs(self.signatures) do
    local now = places.signature(path)
    if now ~= before and now ~= places.MISSING then
      self.signatures[path] = now
      list[#list + 1] = path
    end
  end
  table.sort(list)
  return list
end

-- Whether something that does not compile deserves another look before it is told of.
local function doubts(self, changed)
  local is_doubtful = next(self.broken) ~= nil and not self.doubted
  self.doubted = is_doubtful and changed or nil
  if is_doubtful then self.timer:start(DOUBT_MS, 0, function() self:look() end) end
  return is_doubtful
end

--- Looks for changes, and reloads when there are some and everything compiles.
function Watch:look()
  local changed = changes(self)
  watch_anew(self)
  for _, path in ipairs(self.doubted or {}) do changed[#changed + 1] = path end
  if #changed == 0 then return end
  for _, path in ipairs(changed) do check(self, path) end
  if doubts(self, changed) then return end
  local what = changed[1] .. (#changed > 1 and (" and %d more"):format(#changed - 1) or "")
  if next(self.broken) then
    for _, message in pairs(self.broken) do
      host.log("error", ("%s changed, but does not compile: the old workers of %s go on\n%s"):format(what, self.name,
        message))
    end
    return
  end
  host.log("info", ("%s changed: reloading %s"):format(what, self.name))
  generation = generation + 1
  uv.os_setenv("CLUA_GENERATION", ("%d"):format(generation))
  self.changed()
end

--- Watches no more.
function Watch:close()
  for _, handle in pairs(self.handles) do handle:close() end
  self.handles = {}
  if not self.timer:is_closing() then self.timer:close() end
end

--- What the workers of this process are started with, so that they report.
function Watch.announce()
  uv.os_setenv("CLUA_WATCH", "1")
  uv.os_setenv("CLUA_GENERATION", ("%d"):format(generation))
end

return Watch
