--- Which cluster a command is for: `--control`, `--pidfile`, `--name`, or the only one that there is.
-- @module clua.control.target

local Client = require "clua.control.client"
local place = require "clua.control.place"
local usage = require "clua.usage"

local target = {}

local EXIT_FAILED = 1
local EXIT_USAGE = 100
local EXIT_NO_MASTER = 111

--- The options of every command that asks a master.
function target.configure(parser)
  parser:mutex(
    parser:option("--control", "the master's control socket"):argname "PATH",
    parser:option("--pidfile", "the master's pid file"):argname "PATH",
    parser:option("--name", "the cluster's name, or the master's pid: see clua ps"):argname "NAME")
end

local function pid_in(path)
  local file, message = io.open(path, "r")
  if not file then usage.refuse("cannot read the pid file " .. message, "ENOENT", EXIT_NO_MASTER) end
  local pid = tonumber(file:read "*l")
  file:close()
  return pid
end

local function choose(list, fits, what)
  local found = {}
  for _, entry in ipairs(list) do
    if fits(entry) then found[#found + 1] = entry end
  end
  if #found == 1 then return found[1].path end
  if #found == 0 then usage.refuse(what, "ENOENT", EXIT_NO_MASTER) end
  local lines = { "several clusters run here: name one with --name" }
  for _, entry in ipairs(found) do lines[#lines + 1] = ("  --name %s-%d"):format(entry.name, entry.pid) end
  usage.refuse(table.concat(lines, "\n"), "EINVAL", EXIT_USAGE)
end

local function of_pidfile(path)
  local beside = path .. place.SUFFIX
  if require("luv").fs_stat(beside) then return beside end
  local pid = pid_in(path)
  return choose(place.list(), function(entry) return entry.pid == pid end,
    ("the master of %s has no control socket that can be found (pid %s)"):format(path, tostring(pid)))
end

--- The path of the socket that the options mean. Raises an error of clua.usage when there is none, or more than one.
function target.path(args)
  if args.control then return args.control end
  if args.pidfile then return of_pidfile(args.pidfile) end
  local name = args.name
  if not name then
    return choose(place.list(), function() return true end, "no cluster of yours runs here: see clua ps")
  end
  return choose(place.list(), function(entry)
    return entry.name == name or tostring(entry.pid) == name or ("%s-%d"):format(entry.name, entry.pid) == name
  end, ("no cluster of yours is called '%s': see clua ps"):format(name))
end

local reasons = {
  ENOENT = "no master listens there", ECONNREFUSED = "no master listens there",
  EACCES = "only the user of the master, or root, may do that",
}

--- Connects to it. Raises an error of clua.usage with status 111 when nobody answers there.
-- @treturn Client
function target.open(args)
  local path = target.path(args)
  local client, message, code = Client.open(path)
  if client then return client end
  usage.refuse(("%s: %s"):format(path, reasons[code] or message), code, EXIT_NO_MASTER)
end

--- Says why a command has failed.
-- @treturn number its exit status
function target.fail(command, message)
  io.stderr:write(("clua %s: %s\n"):format(command, message))
  return EXIT_FAILED
end

return target
