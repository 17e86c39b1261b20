-- Starting, measuring and ending the servers of the bench.
local uv = require "luv"

local process = { DIR = "build/bench" }

local TICKS = 100 -- sysconf(_SC_CLK_TCK) on Linux: at least a second is needed for a figure of two digits
local START_SECONDS = 20

local function read(path)
  local file = io.open(path, "r")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

function process.write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

--- Whether a program is on the PATH, or a file is there.
function process.exists(program)
  return os.execute(("command -v %s >/dev/null 2>&1"):format(program)) == 0
end

--- Fills @NAME@ in a template; returns the absolute path of the result.
function process.fill(template, target, values)
  local text = assert(read(template)):gsub("@(%u+)@", function(name) return tostring(values[name]) end)
  process.write(target, text)
  return uv.cwd() .. "/" .. target
end

--- A process and its living descendants.
function process.family(pid)
  local all = { pid }
  for child in (read(("/proc/%d/task/%d/children"):format(pid, pid)) or ""):gmatch "%d+" do
    for _, one in ipairs(process.family(tonumber(child))) do all[#all + 1] = one end
  end
  return all
end

--- utime + stime of a process and its living descendants, in seconds.
function process.cpu_seconds(pid)
  local ticks = 0
  for _, one in ipairs(process.family(pid)) do
    local fields = (read(("/proc/%d/stat"):format(one)) or ""):match "%) (.*)"
    local i = 0
    for field in (fields or ""):gmatch "%S+" do
      i = i + 1
      if i == 12 or i == 13 then ticks = ticks + tonumber(field) end
    end
  end
  return ticks / TICKS
end

--- Memory of a process and its descendants in bytes, what they share counted once (PSS).
function process.pss_bytes(pid)
  local kib = 0
  for _, one in ipairs(process.family(pid)) do
    kib = kib + tonumber((read(("/proc/%d/smaps_rollup"):format(one)) or ""):match "Pss:%s+(%d+)" or 0)
  end
  return kib * 1024
end

local function answers(port)
  local done, ok = false, false
  local tcp = uv.new_tcp()
  tcp:connect("127.0.0.1", port, function(err)
    done, ok = true, not err
    tcp:close()
  end)
  while not done do uv.run "once" end
  return ok
end

--- Starts a server; what it says goes to build/bench/servers.log, or `log`. pin: the CPUs that it may use (0).
-- Returns its pid, and a function that tells whether it has ended.
function process.start(command, pin, log_path)
  local log = assert(uv.fs_open(log_path or process.DIR .. "/servers.log", "a", 420))
  local handle, pid
  handle, pid = uv.spawn("taskset", {
    args = { "-c", pin or "0", unpack(command) }, stdio = { nil, log, log },
  }, function() handle:close() end)
  uv.fs_close(log)
  return assert(handle and pid, pid), function() return handle:is_closing() end
end

--- Waits until a port answers. step_ms: how often it is tried (20).
function process.wait_for(port, name, step_ms)
  local until_ns = uv.hrtime() + START_SECONDS * 1e9
  while not answers(port) do
    if uv.hrtime() > until_ns then error(name .. " does not answer: see build/bench/servers.log", 0) end
    uv.sleep(step_ms or 20)
  end
end

--- Iterates over the names of the files of a folder.
function process.files(folder)
  local scan = assert(uv.fs_scandir(folder))
  return function() return (uv.fs_scandir_next(scan)) end
end

function process.stop(pid)
  uv.kill(pid, "sigterm")
end

--- Ends a server and waits for it.
function process.finish(pid, ended)
  process.stop(pid)
  local till = uv.hrtime() + START_SECONDS * 1e9
  while not ended() do
    if uv.hrtime() > till then uv.kill(pid, "sigkill") end
    uv.run "nowait"
    uv.sleep(5)
  end
end

return process
