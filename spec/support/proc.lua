-- What the kernel says of a process: the judge of most cluster specs.

local uv = require "luv"

local proc = {}

local CLOCK_TICKS = 100 -- sysconf(_SC_CLK_TCK) is that on every Linux that clua runs on

--- The text of a file, or nil.
local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("*a")
  file:close()
  return text
end
proc.read = read

local function names(path)
  local request = uv.fs_scandir(path)
  if not request then return nil end
  local list = {}
  for name in function() return uv.fs_scandir_next(request) end do list[#list + 1] = name end
  return list
end

-- Fields of /proc/PID/stat from the third on; the second may contain spaces.
local function stat(pid)
  local text = read(("/proc/%d/stat"):format(pid))
  local rest = text and text:match("^.*%) (.*)$")
  if not rest then return nil end
  local fields = {}
  for field in rest:gmatch("%S+") do fields[#fields + 1] = field end
  return { state = fields[1], parent = tonumber(fields[2]),
    cpu = (tonumber(fields[12]) + tonumber(fields[13])) / CLOCK_TICKS, started = fields[20],
    policy = tonumber(fields[39]) }
end

--- state (R, S, Z, ...), parent, cpu (seconds), started (with the pid unique), policy (of sched(7), a number); nil when
-- there is no such process.
proc.stat = stat

--- Exists and is no zombie.
function proc.alive(pid)
  local entry = stat(pid)
  return entry ~= nil and entry.state ~= "Z" and entry.state ~= "X"
end

--- Fields of /proc/PID/status by name.
function proc.status(pid)
  local text = read(("/proc/%d/status"):format(pid))
  if not text then return nil end
  local fields = {}
  for name, value in text:gmatch("(%w+):%s*([^\n]*)\n") do fields[name] = value end
  return fields
end

--- Descriptors of a process: table of number -> what it points to.
function proc.fds(pid)
  local folder = ("/proc/%d/fd"):format(pid)
  local list = {}
  for _, name in ipairs(names(folder) or {}) do
    -- One that is closed between the two calls is none.
    list[tonumber(name)] = uv.fs_readlink(folder .. "/" .. name)
  end
  return list
end

function proc.count_fds(pid)
  return #(names(("/proc/%d/fd"):format(pid)) or {})
end

--- Connections that a worker holds: its sockets, but for the standard ones, the channel (3), and the log (5), which may
-- be a socket of the harness.
function proc.count_connections(pid)
  local count = 0
  for fd, target in pairs(proc.fds(pid)) do
    if fd > 3 and fd ~= 5 and target:find("^socket:") then count = count + 1 end
  end
  return count
end

local function pids()
  local list = {}
  for _, name in ipairs(names("/proc")) do
    local pid = tonumber(name)
    if pid then list[#list + 1] = pid end
  end
  return list
end

--- Children of a process, zombies included.
function proc.children(parent)
  local list = {}
  for _, pid in ipairs(pids()) do
    local entry = stat(pid)
    if entry and entry.parent == parent then list[#list + 1] = pid end
  end
  return list
end

--- Processes with this variable in the environment that they were started with, zombies excepted.
function proc.with_environment(name, value)
  local list = {}
  local wanted = name .. "=" .. value
  for _, pid in ipairs(pids()) do
    local environment = read(("/proc/%d/environ"):format(pid))
    if environment and ("\0" .. environment .. "\0"):find("\0" .. wanted .. "\0", 1, true) and proc.alive(pid) then
      list[#list + 1] = pid
    end
  end
  return list
end

return proc
