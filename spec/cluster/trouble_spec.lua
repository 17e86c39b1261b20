-- What a machine can do to a cluster: no process to be had, no place on a disk, nobody who reads the log.

local ffi = require "ffi"
local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local load = require "spec.support.load"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local uv = require "luv"

local IS_ROOT = uv.getuid() == 0
local SANITIZED = cluster.is_sanitized
local AS_NOBODY_ELSE = "setpriv --reuid 54321 --regid 54321 --clear-groups" -- an id that only our processes have
local WIDE = 10 -- processes, threads included

-- Runs without a log: the address is one that was free a moment ago.
local function free_address()
  local c = cluster.up { app = "hello", options = { cnum = 1 } }
  local address = c:address()
  c:stop()
  return address
end

local function get(address)
  local status, _, body = client.get(address, "/")
  return status == 200 and tonumber(body) or nil
end

local function wait_served(address)
  return loop.wait(function() return get(address) end, 20, "an answer from " .. address)
end

-- How much time a process takes for nothing: a busy loop takes all.
local function assert_quiet(pid)
  local cpu, from = proc.stat(pid).cpu, loop.now()
  loop.wait(function() return loop.now() > from + 1 end, 5)
  assert.is_true(proc.stat(pid).cpu - cpu < 0.3, "it is busy with nothing")
end

-- A cluster whose log nobody sees does what it does otherwise.
local function assert_lives_without_log(c, address)
  local first = wait_served(address)
  assert(uv.kill(first, "sigkill"))
  loop.wait(function() return not proc.alive(first) end, 10, "the worker to be gone")
  local second = wait_served(address)
  assert.not_equal(first, second)
  c:signal("sigusr1")
  loop.wait(function()
    local pid = get(address)
    return pid and pid ~= second
  end, 20, "the reload")
  c:signal("sigusr2")
  local third = wait_served(address)
  assert.is_true(proc.alive(c.pid))
  assert_quiet(c.pid)
  assert.equal(third, get(address))
  c:stop()
  assert.same({}, c:left())
end

describe("a process table that is full", function()
  after_each(cluster.cleanup)

  local function limited(count, options)
    return cluster.start { app = "hello", copied = true, own_binary = true, options = options,
      master = { restart_delay = 0.05, restart_delay_max = 0.2 },
      shell = ('exec prlimit --nproc=%d:%d %s "$0" "$@"'):format(count, WIDE, AS_NOBODY_ELSE) }
  end

  local function widen(c)
    assert(os.execute(("%s prlimit --pid %d --nproc=%d:%d"):format(AS_NOBODY_ELSE, c.pid, WIDE, WIDE)) == 0)
  end

  it("keeps the master trying, without haste, while those who live serve", function()
    if not IS_ROOT then return pending("needs root") end
    local c = limited(3, { cnum = 3 })
    c:wait_log("cannot start worker %d of .*: .*unavailable")
    local address = c:address()
    for _ = 1, 10 do assert.is_number(get(address)) end
    c:wait_log("cannot start worker %d of ", nil, 2)
    assert_quiet(c.pid)
    assert.equal(0, c:count("all workers ready"))
    widen(c)
    c:wait_log("all workers ready")
    assert.equal(3, #c:wait_workers(3))
    c:stop()
  end)

  it("stops a reload, and nobody notices; the next one is done when there is room", function()
    if not IS_ROOT then return pending("needs root") end
    local c = limited(3, { cnum = 2 })
    c:wait_log("all workers ready")
    local clients = load.start(c:address(), { clients = 5, think = 0.02 })
    local before = c:wait_workers(2)
    c:signal("sigusr1")
    c:wait_log("reload of .* failed: cannot start a worker: ")
    clients:wait(20)
    assert.same(before, c:wait_workers(2))
    -- The place of one that dies is its successor's.
    local mark = c:mark()
    assert(uv.kill(before[1].pid, "sigkill"))
    local at = loop.now()
    c:wait_log("worker 1 of .* ready", mark)
    widen(c)
    c:signal("sigusr1")
    c:wait_log("reload of .* done", mark)
    clients:wait(20)
    clients:stop()
    clients:assert_only_killed { at }
    c:stop()
  end)

  it("is told of an upgrade that cannot be checked", function()
    if not IS_ROOT then return pending("needs root") end
    local c = limited(3, { cnum = 2 })
    c:wait_log("all workers ready")
    c:signal("sigusr2")
    c:wait_log("upgrade failed: cannot run the check: .*nothing has changed")
    assert.is_number(get(c:address()))
    widen(c)
    c:signal("sigusr2")
    c:wait_log("upgraded, generation 1")
    assert.is_number(get(c:address()))
    c:stop()
  end)
end)

describe("memory that is short", function()
  after_each(cluster.cleanup)

  local MARGIN = 256 * 1024 -- the master may still grow a little; a segment is larger

  it("keeps the master trying to start a worker, without haste, while those who live serve", function()
    if SANITIZED then return pending "a sanitizer's own memory has no limit" end
    local c = cluster.up { app = "hello", options = { cnum = 2 },
      master = { restart_delay = 0.05, restart_delay_max = 0.2 } }
    local clients = load.start(c:address(), { clients = 5, think = 0.02 })
    clients:wait(20)
    local size = tonumber(proc.status(c.pid).VmSize:match("%d+")) * 1024
    local function limit(bytes)
      assert(os.execute(("prlimit --pid %d --as=%s:"):format(c.pid, bytes)) == 0)
    end
    limit(size + MARGIN)
    c:signal("sigttin")
    c:wait_log("cannot start worker 3 of .*: .*memory", nil, 2)
    c:signal("sigusr1")
    c:wait_log("reload of .* failed: cannot start a worker: .*memory")
    clients:wait(50)
    assert_quiet(c.pid)
    limit("unlimited")
    c:wait_log("worker 3 of .* ready")
    clients:wait(50)
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    c:stop()
  end)
end)

describe("a clock that is set", function()
  after_each(cluster.cleanup)

  local DAY = 86400

  it("a day ahead, and two days back, is seen in dates only: nothing times out, hangs or waits", function()
    if SANITIZED then return pending "a sanitizer wants to be loaded first" end
    local preload = cluster.binary:match("^(.*)/") .. "/clock_step.so"
    local c = cluster.up { app = "slow", options = { cnum = 2, hang_timeout = 5, linger = 0.05, queue_timeout = 5 },
      files = { clock = ("\0"):rep(8) }, env = { LD_PRELOAD = preload, CLUA_SPEC_CLOCK = "clock" } }
    local function set(seconds)
      -- In place: the processes have mapped the file.
      local fd = assert(uv.fs_open(c.dir .. "/clock", "r+", 0))
      assert(uv.fs_write(fd, ffi.string(ffi.new("int64_t[1]", seconds), 8), 0))
      uv.fs_close(fd)
    end
    local idle = assert(client.connect(c:address()))
    local function wait_date(seconds)
      loop.wait(function()
        local status, headers = idle:request("GET", "/")
        assert(status == 200, headers)
        for late = 0, 20 do
          if headers.date == os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + seconds - late) then return true end
        end
      end, 10, "a Date that is wrong by " .. seconds .. " s")
    end
    wait_date(0)
    local clients = load.start(c:address(), { clients = 10, think = 0.05 })
    for _, step in ipairs { DAY, -DAY } do
      local mark = c:mark()
      local busy = assert(client.connect(c:address())):send(client.format("GET", "/sleep/300"))
      c:wait_log("sleep begins", mark)
      set(step)
      wait_date(step)
      clients:wait(100)
      assert.equal(200, (busy:response("GET")))
      busy:close()
      assert.equal(0, c:count("exited", mark))
      assert(uv.kill(c:workers()[1].pid, "sigterm"))
      c:wait_log("worker 1 of .* ready", mark)
      c:signal("sigusr1")
      c:wait_log("reload of .* done", mark)
      clients:wait(20)
    end
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    assert.equal(10, clients.connections)
    assert_quiet(c.pid)
    c:stop()
    idle:close()
  end)
end)

describe("a worker script that was deleted", function()
  after_each(cluster.cleanup)

  it("leaves the workers that run alone; one that crashes is back when the script is", function()
    local source = io.open(cluster.fixture("hello")):read("*a")
    local c = cluster.up { app = "app.lua", files = { ["app.lua"] = source }, options = { cnum = 2 },
      master = { max_fatal_restart = 2, restart_delay = 0.05, restart_delay_max = 0.5 } }
    local script = c.dir .. "/app.lua"
    local workers = c:workers()
    assert(uv.fs_unlink(script))
    c:signal("sigusr1")
    c:wait_log("reload of .* failed: ")
    local mark = c:mark()
    assert(uv.kill(workers[1].pid, "sigkill"))
    c:wait_log("app.lua: No such file or directory", mark)
    c:wait_log("restart of worker 1 of .* in 0%.5 s", mark, 2)
    for _ = 1, 5 do assert.equal(workers[2].pid, get(c:address())) end

    -- With nobody left a client waits.
    assert(uv.kill(workers[2].pid, "sigkill"))
    c:wait_log(("exited, pid %d"):format(workers[2].pid))
    local conn = assert(client.connect(c:address())):send(client.format("GET", "/"))
    c:wait_log("restart of worker 2 of ", mark, 2)
    cluster.write(script, source)
    assert.equal(200, (conn:response("GET")))
    conn:close()
    c:wait_workers(2)
    c:stop()
  end)
end)

describe("a log that cannot be written", function()
  after_each(cluster.cleanup)

  it("since the disk is full hurts nobody", function()
    local address = free_address()
    local fd = assert(uv.fs_open("/dev/full", "w", 0))
    local c = cluster.start { app = "hello", name = address, options = { cnum = 1 }, stderr = fd }
    assert_lives_without_log(c, address)
    uv.fs_close(fd)
  end)

  it("since its reader has gone hurts nobody", function()
    local address = free_address()
    -- A pipe whose reading end is closed as soon as the writing one is open.
    local c = cluster.start { app = "hello", name = address, options = { cnum = 1 },
      shell = "mkfifo pipe; true <pipe & exec 2>pipe; wait" }
    assert_lives_without_log(c, address)
    assert.equal("", c:text())
  end)

  it("since standard error was closed, or all three were, hurts nobody, and goes to no other descriptor", function()
    for _, closed in ipairs { "exec 2>&-", "exec <&- >&- 2>&-" } do
      local address = free_address()
      local c = cluster.start { app = "hello", name = address, options = { cnum = 1 }, shell = closed }
      assert_lives_without_log(c, address)
      cluster.cleanup()
    end
  end)

  it("since it is longer than a file may be hurts nobody", function()
    local address = free_address()
    local c = cluster.start { app = "hello", name = address, options = { cnum = 1 },
      shell = "ulimit -f 8192; head -c 9000000 /dev/zero >log 2>/dev/null; exec 2>>log" } -- shared memory is files, too
    assert_lives_without_log(c, address)
  end)
end)

describe("a pid file that cannot be written", function()
  after_each(cluster.cleanup)

  it("since the disk is full is told, and the cluster runs", function()
    if not IS_ROOT then return pending("needs root") end
    local dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX"))
    if os.execute(("mount -t tmpfs -o size=4k tmpfs %s 2>/dev/null"):format(dir)) ~= 0 then
      uv.fs_rmdir(dir)
      return pending("cannot mount")
    end
    local ok, message = pcall(function()
      cluster.write(dir .. "/fill", ("x"):rep(4096))
      local c = cluster.up { app = "hello", options = { cnum = 1 }, master = { pidfile = dir .. "/pid" } }
      c:wait_log("error: cannot write the pid file: .*no space")
      assert.is_number(get(c:address()))
      c:stop()
      assert.is_nil(uv.fs_stat(dir .. "/pid"))
    end)
    pcall(cluster.cleanup) -- a master that still runs would hold the file
    os.execute("umount " .. dir)
    uv.fs_rmdir(dir)
    if not ok then error(message, 0) end
  end)
end)
