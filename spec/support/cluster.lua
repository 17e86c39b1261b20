-- A real cluster in a directory of its own: starts the binary under test, reads its log, sends it signals, and leaves
-- nothing behind.
--
--     local c = cluster.up { app = "hello", options = { cnum = 2 } }     -- spec/fixtures/hello.lua on 127.0.0.1:0
--     client.get(c:port(), "/")
--     c:stop()
--     after_each(cluster.cleanup)                                        -- in every spec file

local uv = require "luv"
local dispatch = require "spec.support.dispatch"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local running = require "spec.support.running"

local DEADLINE_S = tonumber(os.getenv("CLUA_SPEC_DEADLINE")) or 20
local MARK = "CLUA_SPEC_CLUSTER" -- variable that tells the processes of one cluster from all others

local cluster = {}
local methods = {}
methods.__index = methods

--- The binary under test.
cluster.binary = os.getenv("CLUA") or "build/clua"
if cluster.binary:find("/", 1, true) then cluster.binary = uv.fs_realpath(cluster.binary) or cluster.binary end

--- Whether it is built with sanitizers, whose own memory and signals are not clua's.
cluster.is_sanitized = cluster.binary:find("asan", 1, true) ~= nil

cluster.fixture, cluster.source = dispatch.fixture, dispatch.source

function cluster.write(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  file:close()
end

local function environment(extra, mark, dir)
  local variables = uv.os_environ()
  variables.CLUA_RUNTIME_DIR = dir -- its control socket
  for name, value in pairs(extra or {}) do variables[name] = value or nil end
  variables[MARK] = mark
  local list = {}
  for name, value in pairs(variables) do list[#list + 1] = name .. "=" .. value end
  return list
end

-- One line of the log: fields of it when it is the first of an event, else the text alone. What a worker prints has the
-- level "out". What a sanitizer writes of a process that is killed meanwhile may stand before it, without a line end.
local function parse(line)
  local time, who, pid, level, text = line:match("(%d%d%d%d%-%d%d%-%d%dT%S+Z) (.-)%[(%d+)%] (%a+): (.*)$")
  if not time then return { text = line } end
  -- "master", or "worker 1 of NAME"
  local role, name = who:match("^(worker %d+) of (.*)$")
  return { time = time, role = role or who, name = name, pid = tonumber(pid), level = level, text = text }
end

local function take_line(self, line)
  self.lines[#self.lines + 1] = line
  local entry = parse(line)
  self.log[#self.log + 1] = entry
  if entry.role ~= "master" then return end
  local id, name, pid = entry.text:match("^worker (%d+) of (.+) started, pid (%d+)")
  if id then
    pid = tonumber(pid)
    self.members[pid] = { id = tonumber(id), name = name, pid = pid, stat = proc.stat(pid) }
  end
  id, pid = entry.text:match("^worker (%d+) of .+ ready, pid (%d+)")
  if id and self.members[tonumber(pid)] then self.members[tonumber(pid)].ready = true end
  id, pid = entry.text:match("^worker (%d+) of .+ exited, pid (%d+)")
  if id and self.members[tonumber(pid)] then self.members[tonumber(pid)].exited = true end
end

local function read_lines(pipe, take, on_end)
  local rest = ""
  pipe:read_start(function(_, bytes)
    rest = rest .. (bytes or "")
    local first = 1
    local newline = rest:find("\n", 1, true)
    while newline do
      take(rest:sub(first, newline - 1))
      first = newline + 1
      newline = rest:find("\n", first, true)
    end
    rest = rest:sub(first)
    if bytes then return end
    if rest ~= "" then take(rest) end
    pipe:close()
    on_end()
  end)
end

--- Starts a cluster. options:
--   app       fixture name or path of a worker script, with `name` (127.0.0.1:0), `options` (of register()),
--             `master` (options of Master()) and `events` (list of events to print): makes a dispatch script of them
--   dispatch  or the source of a dispatch script
--   copied    the fixture is copied to the cluster's directory: the repository may be where only root can read
--   files     name -> text, written to the cluster's directory, which is its working directory
--   args, env arguments and variables besides
--   shell     command to run first in the shell that becomes clua, such as "ulimit -n 64"
--   dir       directory of an earlier cluster, which stays its owner
--   own_binary  start from a copy of the binary, DIR/clua, which the spec may replace
--   stderr    descriptor that takes the log instead of the harness, which then reads none
function cluster.start(options)
  local dir = options.dir or assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX"))
  local self = { dir = dir, owns_dir = not options.dir, lines = {}, log = {}, members = {}, out = {} }
  setmetatable(self, methods)
  -- Workers that drop privileges must reach their script.
  assert(uv.fs_chmod(dir, tonumber("755", 8)))
  running[#running + 1] = self
  for name, text in pairs(options.files or {}) do cluster.write(dir .. "/" .. name, text) end
  if options.copied then
    cluster.write(dir .. "/app.lua", proc.read(dispatch.fixture(options.app)))
    options.app = "app.lua"
  end
  local script = dir .. "/dispatch.lua"
  if options.dispatch or options.app then cluster.write(script, options.dispatch or dispatch.script(options)) end

  local file, args = cluster.binary, { "dispatch.lua", unpack(options.args or {}) }
  if options.own_binary then
    file = dir .. "/clua"
    assert(uv.fs_copyfile(cluster.binary, file))
  end
  if options.shell then
    args = { "-c", options.shell .. '\nexec "$0" "$@"', file, unpack(args) }
    file = "/bin/sh"
  end
  self.tag = dir:match("[^/]+$") .. "-" .. tostring(uv.hrtime())
  local out, err = uv.new_pipe(false), uv.new_pipe(false)
  local open = 2
  local function on_end() open = open - 1 end
  self.silent = function() return open == 0 end
  local handle, pid = uv.spawn(file, {
    args = args, cwd = dir, env = environment(options.env, self.tag, dir), stdio = { nil, out, options.stderr or err },
  }, function(code, signal)
    self.code, self.exit_signal = code, signal
    self.handle:close()
  end)
  assert(handle, ("cannot start %s: %s"):format(file, pid))
  self.handle, self.pid = handle, pid
  read_lines(out, function(line) self.out[#self.out + 1] = line end, on_end)
  if options.stderr then
    err:close()
    on_end()
  else
    read_lines(err, function(line) take_line(self, line) end, on_end)
  end
  return self
end

--- Starts a cluster and waits until all its workers are ready.
function cluster.up(options)
  local self = cluster.start(options)
  self:wait_log("master%[%d+%] %a+: all workers ready")
  return self
end

--- The number of lines read so far: a point in time for wait_log() and find().
function methods:mark()
  return #self.lines
end

function methods:text()
  return table.concat(self.lines, "\n")
end

--- Looks for a line that matches a Lua pattern, after a mark. Returns the captures (or the match), or nil.
function methods:find(pattern, after)
  for i = (after or 0) + 1, #self.lines do
    local line = self.lines[i]
    if line:find(pattern) then return line:match(pattern) end
  end
end

--- How many lines match.
function methods:count(pattern, after)
  local count = 0
  for i = (after or 0) + 1, #self.lines do
    if self.lines[i]:find(pattern) then count = count + 1 end
  end
  return count
end

function methods:explain(what)
  return function()
    return ("%s; the whole log of %s:\n%s"):format(what, tostring(self.pid), self:text())
  end
end

--- Waits for a line (for the n-th such line); the same results as find() for the first one.
function methods:wait_log(pattern, after, count, seconds)
  local looked_at, found, first = after or 0, 0, nil
  local function look()
    while looked_at < #self.lines do -- each line once: there may be thousands
      looked_at = looked_at + 1
      if self.lines[looked_at]:find(pattern) then found, first = found + 1, first or self.lines[looked_at] end
    end
    return found >= (count or 1)
  end
  loop.wait(function() return look() or (self.code and self.silent()) end, seconds or DEADLINE_S,
    self:explain(("line %q"):format(pattern)))
  if not look() then
    error(("ended with status %d before line %q:\n%s"):format(self.code, pattern, self:text()), 2)
  end
  return first:match(pattern)
end

--- Parsed lines { time, role, pid, level, text } whose text matches.
function methods:events(pattern, after)
  local list = {}
  for i = (after or 0) + 1, #self.log do
    if not pattern or self.log[i].text:find(pattern) then list[#list + 1] = self.log[i] end
  end
  return list
end

--- Waits for any condition, with the log in the message when it does not come true.
function methods:wait(predicate, what, seconds)
  return loop.wait(predicate, seconds or DEADLINE_S, self:explain(what))
end

--- The address of the i-th listener, as client.connect() takes it.
function methods:address(i)
  self:wait_log("listening on (%S+) for ", nil, i or 1)
  local entry = self:events("^listening on ")[i or 1]
  return entry.text:match("^listening on (%S+) for ")
end

--- The port of the i-th listener.
function methods:port(i)
  return tonumber(self:address(i):match(":(%d+)$"))
end

--- Live workers, by position and then age: list of { id, name, pid, ready }.
function methods:workers(name)
  local list = {}
  for _, member in pairs(self.members) do
    if not member.exited and (not name or member.name == name) then list[#list + 1] = member end
  end
  table.sort(list, function(a, b) return a.id ~= b.id and a.id < b.id or a.id == b.id and a.pid < b.pid end)
  return list
end

--- Waits until exactly so many workers live and all of them are ready; returns them.
function methods:wait_workers(count, name)
  return self:wait(function()
    local list, ready = self:workers(name), 0
    for _, member in ipairs(list) do ready = ready + (member.ready and 1 or 0) end
    return #list == count and ready == count and list
  end, count .. " workers")
end

function methods:signal(name)
  assert(uv.kill(self.pid, name))
  return self
end

--- Waits for the master to end: exit code, number of the signal that killed it or 0.
function methods:wait_exit(seconds)
  self:wait(function() return self.code end, "the master to end", seconds)
  -- The last lines of the log; a process that lives on and holds the pipe open is for cleanup() to find.
  pcall(loop.wait, self.silent, 2)
  return self.code, self.exit_signal
end

--- Stops the cluster as an operator does, and checks that it ends well.
function methods:stop(signal)
  self:signal(signal or "sigterm")
  local code, killed = self:wait_exit()
  if code ~= 0 or killed ~= 0 then
    error(("stopped with status %d, signal %d:\n%s"):format(code, killed, self:text()), 2)
  end
end

--- Number of descriptors of the master.
function methods:fds()
  return proc.count_fds(self.pid)
end

local function still_there(member)
  local now = proc.stat(member.pid)
  return now and now.state ~= "Z" and member.stat and now.started == member.stat.started
end

--- Live processes that this cluster has started, the master excepted.
function methods:left()
  local found, list = {}, {}
  for _, pid in ipairs(proc.with_environment(MARK, self.tag)) do found[pid] = true end
  for pid, member in pairs(self.members) do
    if still_there(member) then found[pid] = true end
  end
  found[self.pid] = nil
  for pid in pairs(found) do list[#list + 1] = pid end
  return list
end

--- Removes a folder and what is in it.
local function remove(path)
  local request = uv.fs_scandir(path)
  for name, kind in function() if request then return uv.fs_scandir_next(request) end end do
    if kind == "directory" then remove(path .. "/" .. name) else uv.fs_unlink(path .. "/" .. name) end
  end
  uv.fs_rmdir(path)
end

cluster.remove = remove

--- Ends the cluster whatever its state, and returns what was wrong with that, or nil.
function methods:dispose()
  local complaint
  if self.pid and not self.code then
    uv.kill(self.pid, "sigquit")
    if not pcall(loop.wait, function() return self.code end, 10) then
      complaint = "the master did not end on SIGQUIT"
      uv.kill(self.pid, "sigkill")
      loop.wait(function() return self.code end, 10, "the master to be killed")
    end
  end
  local left
  if self.pid and not pcall(loop.wait, function() left = self:left() return #left == 0 end, 10) then
    complaint = (complaint and complaint .. "; " or "") .. "left behind: " .. table.concat(left, " ")
    for _, pid in ipairs(left) do uv.kill(pid, "sigkill") end
  end
  if self.owns_dir then remove(self.dir) end
  return complaint and complaint .. "\n" .. self:text()
end

--- For after_each: ends everything that the spec has started and fails when something would have stayed.
function cluster.cleanup()
  local complaints = {}
  while #running > 0 do
    complaints[#complaints + 1] = running[#running]:dispose()
    running[#running] = nil
  end
  if #complaints > 0 then error(table.concat(complaints, "\n"), 2) end
end

return cluster
