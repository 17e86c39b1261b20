--- Opens what lies below a directory, and nothing outside of it.
-- @module clua.connect.root

local uv = require "luv"
local async = require "clua.async"
local condition = require "clua.connect.condition"
local core = require "clua.core.http"
local usage = require "clua.usage"

local root = {}

-- Non-blocking: opening a named pipe would wait for its writer, and one of the few threads with it.
local OPEN_FLAGS = uv.constants.O_RDONLY + uv.constants.O_NONBLOCK

-- What failing to open a file means for the client; anything else is our own trouble.
local OPEN_STATUS = {
  EACCES = 403, ELOOP = 404, ENAMETOOLONG = 404, ENOENT = 404, ENOTDIR = 404, ENXIO = 403, EPERM = 403,
}

-- What core.open_cached says for sure. Anything else, a symbolic link and a cold cache above all, is looked at by a
-- thread, which may wait for the disk.
local CERTAIN = { EACCES = true, ENAMETOOLONG = true, ENOENT = true, ENOTDIR = true }

-- Real paths of directories on such a file system as a thread must ask.
local is_remote = {}

--- Closes a descriptor of root.open().
root.close = core.close_file

-- What the open file is: its stat when it is below the directory, or nil, status, message. The kernel is asked where
-- the descriptor leads; a check of the name before or after opening could be outrun by a change of a link.
local function inspect(fd, directory)
  local stat, message = async.call(uv.fs_fstat, fd)
  if not stat then return nil, 500, message end
  local real, why = async.call(uv.fs_readlink, "/proc/self/fd/" .. fd)
  if not real then return nil, 500, "cannot see where an open file leads: " .. why end
  local prefix = directory == "/" and directory or directory .. "/"
  if real ~= directory and real:sub(1, #prefix) ~= prefix then return nil, 403, "outside of the root" end
  return stat
end

local function open_by_thread(directory, path)
  local fd, message, code = async.call(uv.fs_open, path, OPEN_FLAGS, 0)
  if not fd then return nil, OPEN_STATUS[code] or 500, message end
  local ok, stat, status, why = pcall(inspect, fd, directory)
  if ok and stat then return fd, stat.size, stat.mtime.sec, condition.etag(stat), stat.type end
  root.close(fd)
  if not ok then error(stat, 0) end
  return nil, status, why
end

--- Opens a file or directory. What the kernel has in its cache, which is next to everything, is opened at once; for the
-- rest the coroutine waits.
-- @tparam string directory of root.real()
-- @tparam string relative of clua.connect.path
-- @treturn number|nil descriptor, which the caller closes; or nil, status, message
-- @treturn string "file" or "directory"
-- @treturn number size in bytes
-- @treturn number time of the last change, whole seconds since 1970
-- @treturn string its entity tag, see clua.connect.condition
function root.open(directory, relative)
  local path = directory .. "/" .. relative
  local fd, size, modified, etag, kind
  if not is_remote[directory] then fd, size, modified, etag, kind = core.open_cached(path) end
  if not fd then
    if CERTAIN[modified] then return nil, OPEN_STATUS[modified], size end
    fd, size, modified, etag, kind = open_by_thread(directory, path)
    if not fd then return nil, size, modified end
  end
  if kind == "file" or kind == "directory" then return fd, kind, size, modified, etag end
  root.close(fd)
  return nil, 403, "a " .. kind .. " is not served"
end

--- The real path of a directory; wrong use is an error at `level`. Followed once, now: a link that is changed later
-- takes effect with the next reload, for all files at the same time.
-- @tparam string name of the function that was called, for the message
-- @tparam string path
-- @tparam number level as for usage.fail, in the caller
-- @tparam[opt="root"] string what the argument is called there
-- @treturn string
function root.real(name, path, level, what)
  if type(path) ~= "string" then
    usage.fail(level + 1, "%s: %s must be the path of a directory, got %s", name, what or "root", type(path))
  end
  local real, message = uv.fs_realpath(path)
  if not real then usage.fail(level + 1, "%s: %s", name, message) end
  local stat = uv.fs_stat(real)
  if not stat or stat.type ~= "directory" then usage.fail(level + 1, "%s: %s is not a directory", name, path) end
  is_remote[real] = core.is_remote(real) or nil
  return real
end

return root
