--- Where connect.session keeps sessions for all workers, over their deaths, reloads and upgrades: a directory.
--
--     connect.session { store = require "clua.connect.file_store" { path = "/var/lib/app/sessions" } }
--
-- One file a session, `ID.session`, of mode 0600; its modification time is when it expires, so that a visit is one
-- system call. A file becomes visible whole (rename), whoever is killed meanwhile. Not made for disks that are shared
-- over a network. Of a visitor's requests in parallel the last one wins; what two of them do within the same
-- microseconds can bring back what one of them has destroyed.
-- @module clua.connect.file_store

local async = require "clua.async"
local host = require "clua.core.host"
local options = require "clua.options"
local usage = require "clua.usage"
local uv = require "luv"

local NAME = "file_store(options)"
local KNOWN = { path = "string", sweep = "number" }
local DEFAULTS = { sweep = 600 }

local PRIVATE, PRIVATE_FOLDER = tonumber("600", 8), tonumber("700", 8)
local OTHERS_WRITE = tonumber("022", 8)
local LARGEST = 1048576 -- bytes of a session
local ABANDONED = 60 -- seconds after which a file that was never renamed is nobody's any more

local Store = {}
Store.__index = Store

-- Not where a script's own luv callback ends the answer: that is in no coroutine, and waits for the disk itself.
local function call(fn, ...)
  if coroutine.running() then return async.call(fn, ...) end
  return fn(...)
end

local function now()
  local seconds, microseconds = uv.gettimeofday()
  return seconds + microseconds / 1e6
end

-- What has this id is a file of ours, wherever the id came from: it can name nothing else.
local function file_of(self, id)
  if type(id) ~= "string" or #id > 64 or not id:find("^[%w_-]+$") then return nil end
  return ("%s/%s.session"):format(self.path, id)
end

-- false when there is none (any more); nil, message when it cannot be told.
local function absent(code, message)
  if code == "ENOENT" then return false end
  return nil, message
end

local function read(self, path)
  local fd, message, code = call(uv.fs_open, path, "r", 0)
  if not fd then return absent(code, message) end
  local stat, text
  stat, message = call(uv.fs_fstat, fd)
  if stat and stat.mtime.sec + stat.mtime.nsec / 1e9 <= self.clock() then
    text, message = false, nil
  elseif stat then
    text, message = call(uv.fs_read, fd, LARGEST, 0)
  end
  call(uv.fs_close, fd)
  if text == "" then return false end -- a machine that has lost its power
  return text, message
end

--- The text of a session; nil when there is none, nil, message when the disk does not tell.
function Store:get(id)
  local path = file_of(self, id)
  if not path then return nil end
  local text, message = read(self, path)
  return text or nil, message
end

local function write(self, path, text, expires)
  self.serial = self.serial + 1
  local fresh = ("%s.%d-%d.new"):format(path, uv.os_getpid(), self.serial)
  local fd, message = call(uv.fs_open, fresh, "wx", PRIVATE)
  if not fd then return nil, message end
  local written, ok
  written, message = call(uv.fs_write, fd, text, 0)
  if written and written < #text then written, message = nil, "ENOSPC: only a part could be written" end
  if written then ok, message = call(uv.fs_futime, fd, expires, expires) end
  call(uv.fs_close, fd)
  if ok then ok, message = call(uv.fs_rename, fresh, path) end
  if ok then return true end
  call(uv.fs_unlink, fresh)
  return nil, message
end

--- Stores it. Unless is_new, what is not there (destroyed meanwhile) stays so.
function Store:set(id, text, ttl, is_new)
  local path = file_of(self, id)
  if not path then return nil, "an id that was not made by connect.session" end
  if #text > LARGEST then return nil, ("a session of more than %d bytes"):format(LARGEST) end
  if not is_new then
    local known, message = read(self, path)
    if not known then return known == false or nil, message end
  end
  return write(self, path, text, self.clock() + ttl)
end

--- Keeps it for ttl more seconds.
function Store:touch(id, ttl)
  local path = file_of(self, id)
  if not path then return true end
  local expires = self.clock() + ttl
  local ok, message, code = call(uv.fs_utime, path, expires, expires)
  if ok or code == "ENOENT" then return true end
  return nil, message
end

--- Forgets it.
function Store:destroy(id)
  local path = file_of(self, id)
  if not path then return true end
  local ok, message, code = call(uv.fs_unlink, path)
  if ok or code == "ENOENT" then return true end
  return nil, message
end

--- Removes what has expired, and what a killed worker has not finished writing. Each worker does so by itself, every
-- `sweep` seconds.
-- @treturn number|nil how many; nil, message
function Store:sweep()
  local request, message = call(uv.fs_scandir, self.path)
  if not request then return nil, message end
  local count = 0
  for name in function() return uv.fs_scandir_next(request) end do
    local is_session, is_part = name:find("^[%w_-]+%.session$"), name:find("^[%w_-]+%.session%.%d+%-%d+%.new$")
    local path = self.path .. "/" .. name
    local stat = (is_session or is_part) and call(uv.fs_lstat, path)
    local time = self.clock()
    if stat and (is_session and stat.mtime.sec < time or is_part and stat.ctime.sec + ABANDONED < time) then
      if call(uv.fs_unlink, path) then count = count + 1 end
    end
  end
  return count
end

local function sweep_regularly(self, seconds)
  if seconds <= 0 then return end
  self.timer = uv.new_timer()
  self.timer:unref()
  -- Workers that were started together do not sweep together.
  self.timer:start(math.floor(seconds * math.random() * 1000), math.ceil(seconds * 1000), function()
    host.spawn(function()
      local count, message = self:sweep()
      if not count then host.log("warn", ("sessions in %s: %s"):format(self.path, message)) end
    end)
  end)
end

local function prepare(path)
  local made, message, code = uv.fs_mkdir(path, PRIVATE_FOLDER)
  if not made and code ~= "EEXIST" then usage.fail(2, "%s: cannot make %s: %s", NAME, path, message) end
  local stat
  stat, message = uv.fs_stat(path)
  if not stat then usage.fail(2, "%s: cannot use %s: %s", NAME, path, message) end
  if stat.type ~= "directory" then usage.fail(2, "%s: %s is no directory", NAME, path) end
  if require("bit").band(stat.mode, OTHERS_WRITE) ~= 0 then
    usage.fail(2, "%s: others may write into %s: they could make sessions; chmod 700 it", NAME, path)
  end
  if not uv.fs_access(path, "WX") then usage.fail(2, "%s: this user may not write into %s", NAME, path) end
end

--- Makes a store; its directory, too, if that is not there.
-- @tparam table given options:
-- @tparam string given.path a directory for nothing else, into which nobody else may write
-- @tparam[opt=600] number given.sweep seconds between two looks for expired sessions; 0: never
-- @tparam[opt] function clock seconds since 1970, for specs
-- @raise wrong options, a directory that cannot be used
return function(given, clock)
  given = options.complete(options.check(given, KNOWN, NAME), DEFAULTS)
  if not given.path then usage.fail(1, "%s: option 'path' is needed: a directory for the sessions", NAME) end
  local path = uv.fs_realpath(given.path) or given.path
  prepare(path)
  local self = setmetatable({ path = uv.fs_realpath(path), clock = clock or now, serial = 0 }, Store)
  sweep_regularly(self, given.sweep)
  return self
end
