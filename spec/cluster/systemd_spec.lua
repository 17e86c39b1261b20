-- Under systemd: what the master tells, which sockets it takes, and process 1 of a container. systemd itself does not
-- run here: a socket stands for its end of the notifications, the real systemd-socket-activate hands over sockets.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local ffi = require "ffi"
local uv = require "luv"

ffi.cdef [[
struct clua_spec_sockaddr { unsigned short family; char path[108]; };
int socket(int, int, int);
int bind(int, const struct clua_spec_sockaddr *, unsigned);
int connect(int, const struct clua_spec_sockaddr *, unsigned);
long recv(int, void *, size_t, int);
long send(int, const void *, size_t, int);
int close(int);
]]
local C = ffi.C
local AF_UNIX, DATAGRAM_NONBLOCK_CLOEXEC, DONTWAIT = 1, 2 + 2048 + 524288, 0x40

local USEC = 1e6

-- ---- the manager's end --------------------------------------------------------------------------------------------

local managers = {}
local Manager = {}
Manager.__index = Manager

local function open_datagram(call, path)
  local fd = C.socket(AF_UNIX, DATAGRAM_NONBLOCK_CLOEXEC, 0)
  local address = ffi.new("struct clua_spec_sockaddr", AF_UNIX)
  ffi.copy(address.path, (path:gsub("^@", "\0")), #path)
  assert(call(fd, address, 2 + #path) == 0, path)
  return fd
end

-- Messages arrive in `messages`: { fields by name, at = seconds }.
function Manager.open(path)
  local self = setmetatable({ path = path, messages = {}, fd = open_datagram(C.bind, path) }, Manager)
  self.poll = uv.new_poll(self.fd)
  managers[#managers + 1] = self
  return self
end

function Manager:receive()
  local bytes = ffi.new("char[4096]")
  for len in function() return C.recv(self.fd, bytes, 4096, 0) end do
    if len < 0 then return end
    local fields = { at = loop.now() }
    for name, value in ffi.string(bytes, len):gmatch("([%u_]+)=([^\n]*)") do fields[name] = value end
    self.messages[#self.messages + 1] = fields
  end
end

function Manager:listen()
  self.poll:start("r", function() self:receive() end)
  return self
end

function Manager:close()
  self.poll:close()
  C.close(self.fd)
  if self.path:sub(1, 1) == "/" then uv.fs_unlink(self.path) end
end

-- Phases that were told, in order.
function Manager:phases(after)
  local list = {}
  for i = (after or 0) + 1, #self.messages do
    for _, name in ipairs { "READY", "RELOADING", "STOPPING" } do
      if self.messages[i][name] == "1" then list[#list + 1] = name end
    end
  end
  return list
end

function Manager:with(field)
  local list = {}
  for _, message in ipairs(self.messages) do
    if message[field] then list[#list + 1] = message end
  end
  return list
end

function Manager:status()
  local told = self:with "STATUS"
  return told[#told] and told[#told].STATUS
end

local function socket_path()
  return ("/tmp/clua-notify-%d-%d"):format(uv.os_getpid(), uv.hrtime() % 1e9)
end

local function cleanup()
  for _, manager in ipairs(managers) do manager:close() end
  managers = {}
  cluster.cleanup()
end

local function wait_phases(c, manager, wanted, after)
  c:wait(function() return #manager:phases(after) >= #wanted end, table.concat(wanted, ", ") .. " to be told")
  assert.same(wanted, manager:phases(after))
end

local function up(manager, options)
  options.env = options.env or {}
  options.env.NOTIFY_SOCKET = manager.path
  return cluster.up(options)
end

local function variables(pid)
  local file = assert(io.open(("/proc/%d/environ"):format(pid), "rb"))
  local text = "\0" .. file:read("*a")
  file:close()
  return text
end

describe("a master with NOTIFY_SOCKET", function()
  after_each(cleanup)

  it("tells ready, reloading, ready and stopping", function()
    local manager = Manager.open(socket_path()):listen()
    local c = up(manager, { app = "hello", master = { pidfile = "pid" }, options = { cnum = 2 } })
    wait_phases(c, manager, { "READY" })
    assert.equal("workers ready: 127.0.0.1:0: 2 of 2", manager:status())
    assert.truthy(uv.fs_stat(c.dir .. "/pid").size > 0)
    local before = uv.hrtime() / 1e3
    c:signal("sigusr1")
    c:wait_log("reload of %S+ done")
    wait_phases(c, manager, { "READY", "RELOADING", "READY" })
    local usec = tonumber(manager:with("RELOADING")[1].MONOTONIC_USEC)
    assert.is_true(usec >= before and usec <= uv.hrtime() / 1e3, usec)
    c:signal("sigterm")
    assert.equal(0, (c:wait_exit()))
    wait_phases(c, manager, { "READY", "RELOADING", "READY", "STOPPING" })
    assert.equal(35 * USEC, tonumber(manager:with("STOPPING")[1].EXTEND_TIMEOUT_USEC))
    assert.equal("stopping, 0 workers left", manager:status())
  end)

  it("tells stopping when it is a lame duck, with the time that it may take in all", function()
    local manager = Manager.open(socket_path()):listen()
    local c = up(manager, { app = "hello", master = { lame_duck = 600 }, options = { cnum = 1, term_timeout = 7 } })
    wait_phases(c, manager, { "READY" })
    c:signal("sigterm")
    wait_phases(c, manager, { "READY", "STOPPING" })
    assert.equal((600 + 7 + 5) * USEC, tonumber(manager:with("STOPPING")[1].EXTEND_TIMEOUT_USEC))
    assert.equal("lame duck, about to stop", manager:status())
    c:signal("sigterm")
    assert.equal(3, (c:wait_exit()))
  end)

  it("is not ready before its workers are", function()
    local manager = Manager.open("@" .. socket_path()):listen() -- an abstract one
    local c = cluster.start { app = "never_ready", options = { cnum = 1 }, env = { NOTIFY_SOCKET = manager.path } }
    c:wait_log("started, pid")
    c:wait(function() return manager:status() end, "a status")
    assert.equal("workers ready: 127.0.0.1:0: 0 of 1", manager:status())
    c:signal("sigquit")
    c:wait_exit()
    wait_phases(c, manager, { "STOPPING" })
  end)

  it("speaks alone: workers know nothing of it", function()
    local manager = Manager.open(socket_path()):listen()
    local c = up(manager, { app = "hello", options = { cnum = 1 }, env = { WATCHDOG_USEC = "10000000" } })
    local text = variables(c:workers()[1].pid)
    assert.truthy(text:find("\0PATH=", 1, true))
    assert.is_nil(text:find("\0NOTIFY_SOCKET=", 1, true))
    assert.is_nil(text:find("\0WATCHDOG_", 1, true))
  end)

  it("shows a worker that has died in its status", function()
    local manager = Manager.open(socket_path()):listen()
    local c = up(manager, { app = "hello", options = { cnum = 2 } })
    c:wait(function() return manager:status() == "workers ready: 127.0.0.1:0: 2 of 2" end, "the status")
    local after = #manager.messages
    uv.kill(c:workers()[1].pid, "sigkill")
    c:wait(function()
      local seen = {}
      for i = after + 1, #manager.messages do seen[#seen + 1] = manager.messages[i].STATUS end
      return seen[1] == "workers ready: 127.0.0.1:0: 1 of 2" and seen[#seen] == "workers ready: 127.0.0.1:0: 2 of 2"
    end, "one worker less and one more")
    assert.same({ "READY" }, manager:phases())
  end)

  it("feeds the watchdog at half its time, from its own loop", function()
    local manager = Manager.open(socket_path()):listen()
    local c = up(manager, { app = "hello", options = { cnum = 1 }, env = { WATCHDOG_USEC = "400000" } })
    c:wait(function() return #manager:with "WATCHDOG" >= 6 end, "six signs of life")
    local fed = manager:with "WATCHDOG"
    -- Five times 0.2 s; less when this process has read some of them late.
    assert.is_true(fed[6].at - fed[1].at >= 0.3, fed[6].at - fed[1].at)
    uv.kill(c.pid, "sigstop")
    c:wait(function() return proc.stat(c.pid).state == "T" end, "the master to be stopped")
    manager:receive()
    local count = #manager:with "WATCHDOG"
    local timer, over = uv.new_timer(), nil
    timer:start(500, 0, function() over = true end) -- longer than the watchdog waits
    c:wait(function() return over end, "the watchdog's time to be over")
    timer:close()
    assert.equal(count, #manager:with "WATCHDOG")
    uv.kill(c.pid, "sigcont")
    c:wait(function() return #manager:with "WATCHDOG" > count end, "a sign of life")
  end)

  it("does not feed a watchdog that watches another process", function()
    local manager = Manager.open(socket_path()):listen()
    local env = { WATCHDOG_USEC = "20000", WATCHDOG_PID = "1" }
    local c = up(manager, { app = "hello", options = { cnum = 1 }, env = env })
    wait_phases(c, manager, { "READY" })
    assert.same({}, manager:with "WATCHDOG")
  end)

  it("says all that is still true when the manager has been slow", function()
    local manager = Manager.open(socket_path())
    local filler = open_datagram(C.connect, manager.path)
    repeat until C.send(filler, "X=1", 3, DONTWAIT) < 0
    local c = up(manager, { app = "hello", options = { cnum = 1 } }) -- ready, and nobody knows
    assert.same({}, manager:phases())
    manager:listen()
    wait_phases(c, manager, { "READY" })
    assert.equal("workers ready: 127.0.0.1:0: 1 of 1", manager:status())
    C.close(filler)
  end)

  it("goes on without a manager, and says so once", function()
    local manager = Manager.open(socket_path())
    uv.fs_unlink(manager.path)
    local c = up(manager, { app = "hello", options = { cnum = 2 } })
    assert.equal(200, (client.get(c:address(), "/")))
    c:stop()
    assert.equal(1, c:count("cannot notify '/tmp/clua%-notify"))
    c = cluster.up { app = "hello", options = { cnum = 1 }, env = { NOTIFY_SOCKET = "vsock:2:1" } }
    assert.equal(1, c:count("cannot notify 'vsock:2:1': invalid argument"))
  end)

  it("tells of an upgrade, keeps its pid and the watchdog, and reloads as before", function()
    local manager = Manager.open(socket_path()):listen()
    local c = up(manager, { app = "hello", options = { cnum = 1 }, env = { WATCHDOG_USEC = "200000" } })
    wait_phases(c, manager, { "READY" })
    for generation = 1, 2 do
      local after = #manager.messages
      c:signal("sigusr2")
      c:wait_log("upgraded, generation " .. generation)
      wait_phases(c, manager, { "RELOADING", "READY" }, after)
      local count = #manager:with "WATCHDOG"
      c:wait(function() return #manager:with "WATCHDOG" > count end, "a sign of life")
    end
    local after = #manager.messages
    c:signal("sigusr1")
    wait_phases(c, manager, { "RELOADING", "READY" }, after)
    assert.same({}, manager:with "MAINPID")
    assert.is_nil(variables(c.pid):find("\0NOTIFY_SOCKET=", 1, true))
    c:stop()
  end)

  it("tells ready again when an upgrade has failed", function()
    local manager = Manager.open(socket_path()):listen()
    local c = up(manager, { app = "hello", options = { cnum = 1 } })
    wait_phases(c, manager, { "READY" })
    cluster.write(c.dir .. "/dispatch.lua", "not Lua")
    local after = #manager.messages
    c:signal("sigusr2")
    c:wait_log("upgrade failed")
    wait_phases(c, manager, { "RELOADING", "READY" }, after)
  end)
end)

-- ---- socket activation --------------------------------------------------------------------------------------------

local has_activate = os.execute("command -v systemd-socket-activate >/dev/null") == 0

-- The tool becomes clua, in the same process, with the first connection.
local function activate(arguments)
  return 'exec systemd-socket-activate -E CLUA_SPEC_CLUSTER -E ASAN_OPTIONS -E UBSAN_OPTIONS ' .. arguments ..
    ' "$0" "$@"'
end

local function registrations(list)
  local lines = { 'local master = require("clua").Master()' }
  for _, registration in ipairs(list) do
    lines[#lines + 1] = ("master:register(%s, %q, { cnum = 1 })"):format(cluster.source(registration),
      cluster.fixture "hello")
  end
  return table.concat(lines, "\n") .. "\nmaster:dispatch()\n"
end

-- An address that no other spec uses.
local function loopback()
  return ("127.%d.%d.%d:8080"):format(1 + uv.os_getpid() % 250, 1 + uv.hrtime() / 1e3 % 250, 1 + uv.hrtime() % 250)
end

-- The connection that starts the cluster is its first client.
local function wake(c, address, listeners)
  c:wait_log("Listening on ", nil, listeners)
  local conn = assert(client.connect(address))
  c:wait_log("all workers ready")
  assert.equal(200, (conn:request("GET", "/")))
  return conn
end

local function is_cloexec(pid, fd)
  local file = assert(io.open(("/proc/%d/fdinfo/%d"):format(pid, fd)))
  local flags = tonumber(file:read("*a"):match("flags:%s*(%d+)"), 8)
  file:close()
  return bit.band(flags, 524288) ~= 0
end

local function get(address)
  local status, why = client.get(address, "/")
  assert(status == 200, tostring(why))
end

describe("a master that is given sockets", function()
  if not has_activate then
    pending("needs systemd-socket-activate (package systemd)")
    return
  end

  after_each(cleanup)

  it("takes those that bear a registration's name", function()
    local address = loopback()
    local c = cluster.start {
      dispatch = registrations { "web", "admin" },
      shell = activate(("-l %s -l $PWD/web.sock -l $PWD/admin.sock --fdname=web:web:admin"):format(address)),
    }
    wake(c, address, 3):close()
    get(c.dir .. "/web.sock")
    get(c.dir .. "/admin.sock")
    assert.truthy(c:find("listening on " .. address .. " for web"))
    assert.truthy(c:find("listening on unix:%S+/web.sock for web"))
    assert.truthy(c:find("listening on unix:%S+/admin.sock for admin"))
    assert.equal(0, c:count("nothing is registered for"))
    c:stop()
  end)

  it("takes those that are bound to a registration's address", function()
    local address = loopback()
    local c = cluster.start {
      dispatch = registrations { { address, "./a.sock" } },
      shell = activate(("-l %s -l $PWD/a.sock"):format(address)),
    }
    local conn = wake(c, c.dir .. "/a.sock", 2)
    get(address)
    conn:close()
    c:stop()
    assert.truthy(uv.fs_stat(c.dir .. "/a.sock"), "an inherited socket was unlinked")
  end)

  it("keeps them and their variables from workers and other children", function()
    local c = cluster.start {
      dispatch = registrations { "web" }, shell = activate("-l $PWD/a.sock -l $PWD/b.sock --fdname=web:web"),
    }
    wake(c, c.dir .. "/a.sock", 2):close()
    local listeners = {}
    for fd = 3, 4 do
      listeners[proc.fds(c.pid)[fd]] = true
      assert.is_true(is_cloexec(c.pid, fd))
    end
    local worker = c:workers()[1].pid
    for fd, target in pairs(proc.fds(worker)) do assert.is_nil(listeners[target], fd) end
    local text = variables(worker)
    assert.truthy(text:find("\0CLUA_SPEC_CLUSTER=", 1, true))
    assert.is_nil(text:find("\0LISTEN_", 1, true))
    c:stop()
  end)

  it("names those that it does not take", function()
    local c = cluster.start {
      dispatch = registrations { "web" }, shell = activate("-l $PWD/a.sock -l $PWD/b.sock --fdname=web:other"),
    }
    wake(c, c.dir .. "/a.sock", 2):close()
    assert.equal(1, c:count("warn: nothing is registered for unix:%S+/b.sock %(other%), which was handed over"))
    c:stop()
    local datagram = cluster.start {
      dispatch = registrations { "web" }, shell = activate("-d -l $PWD/d.sock --fdname=web"),
    }
    datagram:wait_log("Listening on ")
    local sender = open_datagram(C.connect, datagram.dir .. "/d.sock")
    C.send(sender, "wake up", 7, DONTWAIT)
    C.close(sender)
    datagram:wait_log("all workers ready")
    assert.equal(1, datagram:count("descriptor 3 %(web%) was handed over, but is no stream socket"))
    datagram:stop()
  end)

  it("takes none that is meant for another process", function()
    local c = cluster.up { app = "hello", name = "web", options = { cnum = 1 },
      env = { LISTEN_PID = "1", LISTEN_FDS = "2", LISTEN_FDNAMES = "web:web" } }
    assert.equal(0, c:count("listening on"))
    assert.equal(0, c:count("handed over"))
    assert.is_nil(variables(c:workers()[1].pid):find("\0LISTEN_", 1, true))
    c:stop()
  end)

  it("keeps them over upgrades, with their connections", function()
    local address = loopback()
    local c = cluster.start {
      dispatch = registrations { "web", address },
      shell = activate(("-l $PWD/web.sock -l %s -l $PWD/late.sock --fdname=web:tcp:late"):format(address)),
    }
    local conn = wake(c, c.dir .. "/web.sock", 3)
    get(address)
    local inherited = {}
    for fd = 3, 5 do inherited[proc.fds(c.pid)[fd]] = true end
    for generation = 1, 2 do
      c:signal("sigusr2")
      c:wait_log("upgraded, generation " .. generation)
      assert.equal(200, (conn:request("GET", "/")))
      get(c.dir .. "/web.sock")
      get(address)
      local count = 0
      for _, target in pairs(proc.fds(c.pid)) do count = count + (inherited[target] and 1 or 0) end
      assert.equal(3 + 2, count) -- as they came, and as listeners
    end
    for fd = 3, 5 do assert.is_true(is_cloexec(c.pid, fd)) end
    -- The new script takes what the old one left alone, and the other way round.
    cluster.write(c.dir .. "/dispatch.lua", registrations { "web", "./late.sock" })
    c:signal("sigusr2")
    c:wait_log("upgraded, generation 3")
    get(c.dir .. "/late.sock")
    cluster.write(c.dir .. "/dispatch.lua", registrations { "web", address })
    c:signal("sigusr2")
    c:wait_log("upgraded, generation 4")
    get(address)
    assert.equal(200, (conn:request("GET", "/")))
    conn:close()
    c:stop()
    for _, name in ipairs { "web", "late" } do assert.truthy(uv.fs_stat(("%s/%s.sock"):format(c.dir, name))) end
  end)

  -- Holds the socket as systemd does, blocking, and starts clua once more when it has ended.
  local HOLDER = [[
import os, socket, sys
held = socket.socket(socket.AF_UNIX)
held.bind("held.sock")
held.listen(512)
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        os.dup2(held.fileno(), 3, inheritable=True)
        os.set_inheritable(3, True)
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="web")
        os.execv(sys.argv[1], sys.argv[1:])
    os.waitpid(pid, 0)
]]

  it("leaves them open: clients wait from one master to the next", function()
    local c = cluster.start {
      dispatch = registrations { "web" }, files = { ["holder.py"] = HOLDER },
      shell = 'exec python3 holder.py "$0" "$@"',
    }
    c:wait_log("all workers ready")
    get(c.dir .. "/held.sock")
    local first = c:events("all workers ready")[1].pid
    local mark = c:mark()
    -- More clients than the master accepts in one turn, the last before it stops: the others are still in the backlog.
    uv.kill(first, "sigstop")
    c:wait(function() return proc.stat(first).state == "T" end, "the master to be stopped")
    local conns, served = {}, 0
    for i = 1, 200 do conns[i] = assert(client.connect(c.dir .. "/held.sock")) end
    uv.kill(first, "sigterm")
    uv.kill(first, "sigcont")
    for _, conn in ipairs(conns) do
      local status = conn:request("GET", "/")
      if status == 200 then served = served + 1 end
      conn:close()
    end
    assert.is_true(served >= 72, served)
    c:wait_log("all workers ready", mark)
    get(c.dir .. "/held.sock")
    uv.kill(c:events("all workers ready", mark)[1].pid, "sigterm")
    assert.equal(0, (c:wait_exit()))
    assert.truthy(uv.fs_stat(c.dir .. "/held.sock"))
  end)
end)

-- ---- process 1 ----------------------------------------------------------------------------------------------------

local can_unshare = os.execute("unshare --pid --fork --mount-proc true 2>/dev/null") == 0

describe("a master that is process 1", function()
  if not can_unshare then
    pending("needs unshare --pid (root)")
    return
  end

  after_each(cleanup)

  it("reaps orphans, restarts workers and ends on TERM", function()
    local c = cluster.start {
      app = "hello", name = "./a.sock", master = { log_level = "debug" }, options = { cnum = 2 },
      shell = 'exec unshare --pid --fork --kill-child --mount-proc "$0" "$@"',
    }
    -- Its log tells pids of another namespace: the harness must not take them for processes of this one.
    c.members = setmetatable({}, { __newindex = function() end })
    c:wait_log("master%[1%] info: all workers ready")
    local master = proc.children(c.pid)[1]
    get(c.dir .. "/a.sock")
    -- A child of a child of a worker's that outlives its parent: the same as an orphan of a container.
    local orphan = ("nsenter --target %d --pid --mount sh -c 'true & exec true'"):format(master)
    assert.equal(0, os.execute(orphan))
    c:wait_log("reaped pid %d+, which is no worker")
    uv.kill(proc.children(master)[1], "sigkill")
    c:wait_log("worker %d of %S+ exited, pid %d+, killed by SIGKILL")
    c:wait_log("worker %d of %S+ ready", nil, 3)
    for _, pid in ipairs(proc.children(master)) do
      c:wait(function() return not proc.stat(pid) or proc.stat(pid).state ~= "Z" end, "zombies to be reaped")
    end
    uv.kill(master, "sigterm")
    assert.equal(0, (c:wait_exit()))
    assert.truthy(c:find("master%[1%] info: stopped"))
  end)
end)
