-- USR2: the master executes a new binary with a new dispatch script, and nobody notices.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local dispatch = require "spec.support.dispatch"
local load = require "spec.support.load"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local uv = require "luv"

local EXIT_SYSTEM = 111

-- In a dispatch script: whether it is run by the check, or by the master that has just been executed.
-- IN_NEW: of a script that was written for an upgrade.
local IN_CHECK, IN_NEW = 'os.getenv "CLUA_TEST_HELD"', 'not os.getenv "CLUA_TEST_HELD"'

-- Source of a dispatch script. Each registration: { name, app, options }.
local function script(registrations, options)
  return dispatch.registering(registrations, options) .. "master:dispatch()\n"
end

local function rewrite(c, text)
  cluster.write(c.dir .. "/dispatch.lua", text)
end

local function upgrade(c)
  local mark = c:mark()
  c:signal("sigusr2")
  c:wait_log("master%[%d+%] %a+: upgraded, generation", mark)
  return mark
end

local function pids(c, name)
  local list = {}
  for i, member in ipairs(c:workers(name)) do list[i] = member.pid end
  return list
end

local function zombies(c)
  local count = 0
  for _, pid in ipairs(proc.children(c.pid)) do
    local stat = proc.stat(pid)
    if stat and stat.state == "Z" then count = count + 1 end
  end
  return count
end

local function get(address, path)
  local status, headers, body = client.get(address, path or "/")
  assert(status == 200, tostring(headers))
  return body
end

-- Waits until no worker has a connection any more: what they had borrowed is parked.
local function wait_parked(c)
  c:wait(function()
    for _, pid in ipairs(pids(c)) do
      if proc.count_connections(pid) > 0 then return false end
    end
    return true
  end, "all connections to be parked")
end

local function wait_refused(address)
  loop.wait(function()
    local conn, reason = client.connect(address)
    if conn then conn:close() end
    return reason == "ECONNREFUSED"
  end, 20, "connecting to " .. address .. " to be refused")
end

local function assert_fds(c, before)
  loop.wait(function() return c:fds() == before end, 10, function()
    local list = {}
    for fd, target in pairs(proc.fds(c.pid)) do list[#list + 1] = fd .. " " .. target end
    return ("%d descriptors, not %d:\n%s\n%s"):format(before, c:fds(), table.concat(list, "\n"), c:text())
  end)
end

describe("an upgrade", function()
  after_each(cluster.cleanup)

  it("under load loses no request, refuses no client, closes no connection", function()
    local c = cluster.up { app = "hello", options = { cnum = 2, linger = 0.05 } }
    local workers, fds, address = pids(c), c:fds(), c:address()
    local kept = load.start(address, { clients = 30, think = 0.1 })
    local once = load.start(address, { clients = 10, think = 0.02, once = true })
    kept:wait(100)
    for generation = 1, 4 do
      local mark = upgrade(c)
      assert.equal(generation, tonumber(c:find("upgraded, generation (%d+)", mark)))
      kept:wait(150)
      once:wait(50)
    end
    kept:stop()
    once:stop()
    assert.equal(0, #kept.incidents, tostring(kept))
    assert.equal(0, #once.incidents, tostring(once))
    assert.equal(30, kept.connections)
    assert.is_nil(c.code)
    assert.same(workers, pids(c))
    assert.equal(0, c:count("exited"))
    assert_fds(c, fds)
    c:stop()
  end)

  it("keeps parked connections, idle ones, and those that have not sent anything yet", function()
    for _, case in ipairs { { "hello", 0.01 }, { "hello", 60 }, { "echo_raw", 60 } } do
      local app, linger = unpack(case)
      local c = cluster.up { app = app, options = { cnum = 2, linger = linger } }
      local fds, conns = c:fds(), {}
      for i = 1, 50 do
        conns[i] = assert(client.connect(c:address()))
        if app == "hello" then assert.equal(200, (conns[i]:request("GET", "/"))) end
      end
      if linger < 1 then wait_parked(c) end
      c:wait(function() return c:fds() == fds + 50 end, "50 connections to be owned")
      for _ = 1, 2 do
        upgrade(c)
        assert.equal(fds + 50, c:fds())
      end
      for _, conn in ipairs(conns) do
        assert.is_nil(conn.closed)
        if app == "hello" then
          assert.equal(200, (conn:request("GET", "/")))
        else
          assert(conn:send("pid\n"):read_until("\n"))
        end
        conn:close()
      end
      assert_fds(c, fds)
      cluster.cleanup()
    end
  end)

  it("notices a parked client that hangs up after it", function()
    local c = cluster.up { app = "hello", options = { cnum = 1, linger = 0 }, events = { "upgrade" } }
    local conn = assert(client.connect(c:address()))
    assert.equal(200, (conn:request("GET", "/")))
    wait_parked(c)
    upgrade(c)
    c:wait_log("^event upgrade$")
    local fds = c:fds()
    conn:close()
    c:wait(function() return c:fds() < fds end, "the parked connection to be closed")
  end)

  it("leaves a request in flight to its worker: waiting, being read, being answered", function()
    local c = cluster.up { app = "app.lua", options = { cnum = 1 }, files = { ["app.lua"] = [[
      local http = require "clua.http"
      local server = http.createServer(function(req, res)
        io.stderr:write("begins " .. req.url .. "\n")
        if req.url == "/chunked" then res:write("first ") end
        res:finish(req:body() .. " " .. require("luv").os_getpid())
      end)
      require("clua").ready(function(socket) server:emit("connection", socket) end)
    ]] } }
    local pid = tostring(pids(c)[1])
    local conns = {}
    for i, path in ipairs { "/body", "/chunked", "/head" } do
      conns[i] = assert(client.connect(c:address()))
      if path == "/head" then
        conns[i]:send("POST /head HTTP/1.1\r\nHost: spec\r\nConte")
      else
        conns[i]:send(("POST %s HTTP/1.1\r\nHost: spec\r\nContent-Length: 5\r\n\r\nhe"):format(path))
        c:wait_log("begins " .. path)
      end
    end
    assert.truthy(conns[2]:read_until("\r\n\r\n"))
    upgrade(c)
    upgrade(c)
    conns[1]:send("llo")
    conns[2]:send("llo")
    conns[3]:send("nt-Length: 5\r\n\r\nhello")
    for _, i in ipairs { 1, 3 } do
      local status, _, body = conns[i]:response("POST")
      assert.equal(200, status)
      assert.equal("hello " .. pid, body)
    end
    local rest = conns[2]:read_until("\r\n0\r\n\r\n")
    assert.truthy(rest and rest:find("hello " .. pid, 1, true), tostring(rest))
    for _, conn in ipairs(conns) do
      assert.equal(200, (conn:request("GET", "/again")))
      conn:close()
    end
  end)

  it("leaves clients waiting that no worker could take, and serves them", function()
    local c = cluster.up { app = "hello", options = { cnum = 1, hang_timeout = 600 } }
    local worker, fds, conns = pids(c)[1], c:fds(), {}
    assert(uv.kill(worker, "sigstop"))
    for i = 1, 84 do conns[i] = assert(client.connect(c:address())):send(client.format("GET", "/")) end
    c:wait(function() return c:fds() == fds + 84 end, "the clients to be accepted") -- 64 of them are on their way
    upgrade(c)
    assert(uv.kill(worker, "sigcont"))
    for _, conn in ipairs(conns) do
      assert.equal(200, (conn:response("GET")))
      conn:close()
    end
  end)

  it("leaves clients waiting for a worker that is on its way", function()
    local c = cluster.up { app = "never_ready", options = { cnum = 0, ready_timeout = 600 } }
    local conns = {}
    for i = 1, 20 do conns[i] = assert(client.connect(c:address())):send(client.format("GET", "/")) end
    c:wait_log("worker 1 of .* started")
    upgrade(c)
    cluster.write(c.dir .. "/heal", "")
    uv.kill(c:workers()[1].pid, "sigkill")
    for _, conn in ipairs(conns) do
      assert.equal(200, (conn:response("GET")))
      conn:close()
    end
    assert.equal(2, c:count("worker 1 of .* started"))
    c:stop()
  end)

  it("keeps the pid file and the unix socket, which are gone at the end", function()
    local c = cluster.up {
      app = "hello", name = "./hello.sock", master = { pidfile = "pid" }, options = { cnum = 1 },
    }
    local path, pidfile = c.dir .. "/hello.sock", c.dir .. "/pid"
    local ino, pid_ino = assert(uv.fs_stat(path)).ino, assert(uv.fs_stat(pidfile)).ino
    for _ = 1, 2 do
      upgrade(c)
      assert.equal(ino, uv.fs_stat(path).ino)
      assert.equal(pid_ino, uv.fs_stat(pidfile).ino)
      assert.equal(c.pid, tonumber(io.open(pidfile):read("*a")))
      get(path)
    end
    -- The lock is still held.
    local second = cluster.start { dir = c.dir, app = "hello", master = { pidfile = "pid" } }
    assert.equal(EXIT_SYSTEM, (second:wait_exit()))
    c:stop()
    assert.is_nil(uv.fs_stat(path))
    assert.is_nil(uv.fs_stat(pidfile))
  end)

  it("keeps environment and arguments, and sees relative paths from the directory that is asked for", function()
    local source = [[
      local master = require("clua").Master { directory = %q, pidfile = "run/pid" }
      master:register("unix:run/web.sock", "app.lua", { cnum = 1 })
      master:on("upgrade", function()
        io.stderr:write(("after: %%s %%s %%s\n"):format(os.getenv "SPEC_GIVEN", arg[1], require("luv").cwd()))
      end)
      master:dispatch()
    ]]
    local app = [[
      local server = require("clua.http").createServer(function(req, res) res:finish(require("luv").cwd()) end)
      require("clua").ready(function(socket) server:emit("connection", socket) end)
    ]]
    local c = cluster.start { dispatch = "", files = { ["app.lua"] = app }, args = { "an argument" },
      env = { SPEC_GIVEN = "a value" }, shell = "mkdir -p a/run b/run; sleep 0",
    }
    c:wait_exit() -- there was nothing to do
    local dir = c.dir
    cluster.write(dir .. "/dispatch.lua", source:format("a"))
    c = cluster.up { dir = dir, args = { "an argument" }, env = { SPEC_GIVEN = "a value" } }
    local function body(path)
      local status, _, text = client.get(path, "/")
      assert.equal(200, status)
      return text
    end
    assert.equal(dir .. "/a", body(dir .. "/a/run/web.sock"))
    assert.equal(c.pid, tonumber(io.open(dir .. "/a/run/pid"):read("*a")))
    local mark = upgrade(c)
    c:wait_log("^after: a value an argument .*/a$", mark)
    assert.equal(dir .. "/a", body(dir .. "/a/run/web.sock"))

    cluster.write(dir .. "/dispatch.lua", source:format("b"))
    mark = upgrade(c)
    c:wait_log("^after: a value an argument .*/b$", mark)
    c:wait_log("reload of .* done", mark)
    assert.equal(dir .. "/b", body(dir .. "/b/run/web.sock"))
    assert.is_nil(uv.fs_stat(dir .. "/a/run/web.sock"))
    assert.equal(c.pid, tonumber(io.open(dir .. "/b/run/pid"):read("*a")))
    assert.is_nil(uv.fs_stat(dir .. "/a/run/pid"))

    -- One that is not there is a reason not to upgrade.
    cluster.write(dir .. "/dispatch.lua", source:format("nowhere"))
    mark = c:mark()
    c:signal("sigusr2")
    c:wait_log("upgrade failed: .*cannot enter the directory .*nowhere", mark)
    assert.equal(dir .. "/b", body(dir .. "/b/run/web.sock"))
    c:stop()
  end)

  it("gives what the script starts before dispatch() what a first start gives it, and no more", function()
    local c = cluster.up {
      shell = "exec 9</dev/null", -- meant for the script
      dispatch = [[os.execute("sleep 60 </dev/null >/dev/null 2>&1 & echo $! >>children")
        assert(io.open("/proc/self/fd/9"))
      ]] .. script { { "127.0.0.1:0", "hello", { cnum = 2 } } },
    }
    local conn = assert(client.connect(c:address()))
    assert.equal(200, (conn:request("GET", "/")))
    upgrade(c)
    upgrade(c)
    local children = {}
    for pid in proc.read(c.dir .. "/children"):gmatch("%d+") do children[#children + 1] = tonumber(pid) end
    assert.equal(5, #children) -- two of them of checks
    local function has(pid)
      local count = 0
      for _ in pairs(proc.fds(pid)) do count = count + 1 end
      return { count, proc.status(pid).SigBlk, proc.fds(pid)[9] }
    end
    local first, last = has(children[1]), has(children[#children])
    for _, pid in ipairs(children) do uv.kill(pid, "sigkill") end
    assert.same(first, last)
    assert.equal("/dev/null", first[3])
    assert.equal(200, (conn:request("GET", "/")))
    conn:close()
    c:stop()
  end)

  it("leaves what the master can do as it was: signals, reload, scale, reap, stop", function()
    local c = cluster.up { app = "hello", options = { cnum = 2 } }
    local before = pids(c)
    upgrade(c)
    c:signal("sigttin")
    c:wait_workers(3)
    local mark = c:mark()
    uv.kill(before[1], "sigkill")
    c:wait_log("worker 1 of .* ready, pid", mark)
    mark = c:mark()
    c:signal("sigusr1")
    c:wait_log("reload of .* done", mark)
    for _, member in ipairs(c:wait_workers(3)) do
      assert.not_equal(before[1], member.pid)
      assert.not_equal(before[2], member.pid)
    end
    assert.equal(0, zombies(c))
    upgrade(c)
    mark = c:mark()
    c:signal("sigttin")
    c:wait_log("scaled from 3 to 4", mark) -- what was scaled by hand has stayed
    c:wait_workers(4)
    get(c:address())
    c:stop()
    assert.same({}, c:left())
  end)
end)

describe("a worker that ends around an upgrade", function()
  after_each(cluster.cleanup)

  it("between the two masters is reaped and replaced", function()
    local c = cluster.up { dispatch = script { { "127.0.0.1:0", "hello", { cnum = 2 } } } }
    local victim = pids(c)[1]
    rewrite(c, ([[
      if %s then
        os.execute("kill -9 %d")
        repeat local state = io.open("/proc/%d/stat"):read("*a"):match("%%) (%%u)") until state == "Z"
      end
    ]]):format(IN_NEW, victim, victim) .. script { { "127.0.0.1:0", "hello", { cnum = 2 } } })
    local mark = upgrade(c)
    c:wait_log(("exited, pid %d, killed by SIGKILL"):format(victim), mark)
    c:wait_workers(2)
    assert.equal(0, zombies(c))
    c:stop()
  end)

  it("in the same moment is reaped and replaced", function()
    local c = cluster.up { app = "hello", options = { cnum = 2 } }
    local fds = c:fds()
    for i = 1, 10 do
      local victim = c:wait_workers(2)[i % 2 + 1].pid
      local mark = c:mark()
      c:signal("sigusr2")
      c:wait_log("upgrade checked", mark)
      uv.kill(victim, "sigkill")
      c:wait_log("upgraded, generation", mark)
      c:wait_log(("exited, pid %d, killed by SIGKILL"):format(victim), mark)
    end
    c:wait_workers(2)
    assert.equal(0, zombies(c))
    assert_fds(c, fds)
    c:stop()
  end)

  it("with its channel closed already is reaped and replaced", function()
    local c = cluster.up { app = "app.lua", options = { cnum = 2 }, files = { ["app.lua"] = [[
      local ffi = require "ffi"
      ffi.cdef "int close(int); int pause(void);"
      local http = require "clua.http"
      local server = http.createServer(function(req, res)
        if req.url ~= "/cut" then return res:finish("well") end
        ffi.C.close(3)
        io.stderr:write("cut\n")
        ffi.C.pause()
      end)
      require("clua").ready(function(socket) server:emit("connection", socket) end)
    ]] } }
    local conn = assert(client.connect(c:address())):send(client.format("GET", "/cut"))
    c:wait_log("out: cut$")
    local mark = upgrade(c)
    c:wait_log("exited, pid %d+, killed by SIGKILL")
    assert.equal(502, (conn:response("GET")))
    conn:close()
    c:wait_log("ready, pid", mark)
    c:wait_workers(2)
    assert.equal("well", get(c:address()))
    c:stop()
  end)

  it("with a request in it answers that with 502", function()
    local c = cluster.up { app = "slow", options = { cnum = 1 } }
    local conn = assert(client.connect(c:address())):send(client.format("GET", "/sleep/600000"))
    c:wait_log("sleep begins")
    local idle = assert(client.connect(c:address()))
    assert.equal(200, (idle:request("GET", "/")))
    local victim = pids(c)[1]
    upgrade(c)
    uv.kill(victim, "sigkill")
    assert.equal(502, (conn:response("GET")))
    assert.equal(200, (idle:request("GET", "/")))
    conn:close()
    idle:close()
  end)

  it("while it drains and is stuck is killed when its time is over", function()
    local c = cluster.up { app = "ignore_term", options = { cnum = 1, term_timeout = 0.5, hang_timeout = 600 } }
    local conn = assert(client.connect(c:address())):send(client.format("GET", "/stuck"))
    c:wait_log("stuck begins")
    c:signal("sigttou")
    c:wait_log("scaled from 1 to 0")
    upgrade(c)
    c:wait_log("exited, pid %d+, killed by SIGKILL")
    assert.equal(502, (conn:response("GET")))
    conn:close()
  end)

  it("while it drains is left to finish", function()
    local c = cluster.up { app = "slow", options = { cnum = 2, term_timeout = 2 } }
    local conns = {}
    for i, path in ipairs { "/sleep/500", "/sleep/600000" } do
      conns[i] = assert(client.connect(c:address())):send(client.format("GET", path))
    end
    c:wait_log("sleep begins", nil, 2)
    c:signal("sigttou")
    c:wait_log("scaled from 2 to 1")
    c:signal("sigttou")
    c:wait_log("scaled from 1 to 0")
    upgrade(c)
    assert.equal(200, (conns[1]:response("GET")))
    assert.not_equal(200, (conns[2]:response("GET")))
    c:wait(function() return #c:workers() == 0 end, "the workers to end")
    for _, conn in ipairs(conns) do conn:close() end
  end)
end)

describe("a changed dispatch script", function()
  after_each(cluster.cleanup)

  it("binds new addresses and closes removed ones, whose connections are served on", function()
    local options = { cnum = 1, linger = 60 }
    local c = cluster.up { dispatch = script { { { "127.0.0.1:0", "127.0.0.2:0" }, "slow", options } } }
    local kept, removed = c:address(1), c:address(2)
    if kept:find("^127.0.0.2") then kept, removed = removed, kept end
    local port = kept:match(":(%d+)$")
    local idle, busy = assert(client.connect(removed)), assert(client.connect(removed))
    assert.equal(200, (idle:request("GET", "/")))
    busy:send(client.format("GET", "/sleep/500"))
    c:wait_log("sleep begins")
    rewrite(c, script { { { "127.0.0.1:0", "127.0.0.3:" .. port }, "slow", options } })
    local mark = upgrade(c)
    local added = "127.0.0.3:" .. port
    get(kept)
    get(added)
    wait_refused(removed)
    assert.equal(200, (busy:response("GET")))
    assert.equal(200, (idle:request("GET", "/")))
    c:wait_log("reload of .* done", mark) -- its workers are told another name; until then the next is refused
    -- And back: the address was given up, it can be bound again.
    rewrite(c, script { { { "127.0.0.1:0", removed }, "slow", options } })
    upgrade(c)
    get(kept)
    get(removed)
    wait_refused(added)
    c:wait_workers(1)
    idle:close()
    busy:close()
    c:stop()
  end)

  it("may move a bound address to another registration", function()
    local first = cluster.up { app = "hello", options = { cnum = 1 } }
    local port = first:port()
    first:stop()
    local a, b, moved = "127.0.0.1:" .. port, "127.0.0.2:" .. port, "127.0.0.3:" .. port
    local c = cluster.up { dispatch = script { { { a, moved }, "hello", { cnum = 1 } }, { b, "slow", { cnum = 1 } } } }
    local clients = load.start(moved, { clients = 10, think = 0.02, once = true })
    clients:wait(20)
    rewrite(c, script { { a, "hello", { cnum = 1 } }, { { b, moved }, "slow", { cnum = 1 } } })
    upgrade(c)
    clients:wait(20)
    c:wait(function()
      local list = c:workers(b .. "," .. moved)
      return #list == 1 and list[1].ready and #c:workers() == 2
    end, "the workers of the new names")
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    assert.equal(tostring(c:workers(b .. "," .. moved)[1].pid), get(moved))
    assert.equal(tostring(c:workers(b .. "," .. moved)[1].pid), get(b))
    assert.equal(tostring(c:workers(a)[1].pid), get(a))
    c:stop()
  end)

  it("scales to its number of workers", function()
    local c = cluster.up { dispatch = script { { "127.0.0.1:0", "hello", { cnum = 2 } } } }
    local before = pids(c)
    for _, count in ipairs { 4, 1, 2 } do
      rewrite(c, script { { "127.0.0.1:0", "hello", { cnum = count } } })
      upgrade(c)
      assert.equal(before[1], c:wait_workers(count)[1].pid)
      get(c:address())
    end
    c:stop()
  end)

  it("rolls changed options through, as a reload does", function()
    local c = cluster.up { dispatch = script { { "127.0.0.1:0", "app.lua", { cnum = 2, args = { "one" } } } },
      files = { ["app.lua"] = [[
        local word = ...
        local http = require "clua.http"
        local server = http.createServer(function(_, res) res:finish(word) end)
        require("clua").ready(function(socket) server:emit("connection", socket) end)
      ]] } }
    local before = pids(c)
    local clients = load.start(c:address(), { clients = 10, think = 0.05 })
    clients:wait(20)
    rewrite(c, script { { "127.0.0.1:0", "app.lua", { cnum = 2, args = { "two" } } } })
    local mark = upgrade(c)
    c:wait_log("reload of .* done", mark)
    assert.equal("two", get(c:address()))
    for i, member in ipairs(c:wait_workers(2)) do assert.not_equal(before[i], member.pid) end
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    -- Unchanged from here on: nobody is replaced.
    before, mark = pids(c), upgrade(c)
    assert.equal(0, c:count("reload of", mark))
    assert.same(before, pids(c))
  end)

  it("starts a new registration and winds up one that it has no more", function()
    local hello, slow = { "127.0.0.1:0", "hello", { cnum = 2 } }, { "127.0.0.2:0", "slow", { cnum = 2, linger = 60 } }
    local c = cluster.up { dispatch = script { hello, slow } }
    local removed = c:address(2)
    local busy, idle = assert(client.connect(removed)), assert(client.connect(removed))
    assert.equal(200, (idle:request("GET", "/")))
    busy:send(client.format("GET", "/sleep/500"))
    c:wait_log("sleep begins")
    local kept = pids(c, "127.0.0.1:0")
    rewrite(c, script { hello, { "127.0.0.3:0", "hello", { cnum = 1 } } })
    local mark = upgrade(c)
    c:wait_log("worker 1 of 127.0.0.3:0 ready", mark)
    get((c:wait_log("listening on (127.0.0.3:%d+) for", mark)))
    wait_refused(removed)
    assert.equal(200, (busy:response("GET")))
    c:wait(function() return #c:workers("127.0.0.2:0") == 0 end, "the removed workers to end")
    -- Nobody will ever serve it again: it is closed, not kept in vain.
    assert.equal("", (idle:read_all()))
    assert.same(kept, pids(c, "127.0.0.1:0"))
    get(c:address(1))

    -- It comes back as if it were new.
    rewrite(c, script { hello, { removed, "slow", { cnum = 1 } } })
    upgrade(c)
    c:wait_workers(1, removed)
    get(removed)
    c:stop()
    busy:close()
    idle:close()
  end)
end)

describe("an upgrade that fails its check", function()
  after_each(cluster.cleanup)

  local good = { "127.0.0.1:0", "hello", { cnum = 2 } }

  -- change(c) breaks something; mend(c) makes it good again.
  local function try(change, reason, mend)
    local c = cluster.up { dispatch = script { good }, own_binary = true, events = {} }
    local alone = c:fds()
    local clients = load.start(c:address(), { clients = 5, think = 0.05 })
    c:wait(function() return c:fds() == alone + 5 end, "every client to have been accepted: some think longer")
    clients:wait(10)
    local workers, fds = pids(c), nil
    change(c)
    for _ = 1, 3 do
      fds = fds or (c:count("upgrade failed") > 0 and c:fds())
      local mark = c:mark()
      c:signal("sigusr2")
      local line = c:wait_log("upgrade failed: .*", mark)
      assert.truthy(line:find(reason), line)
      assert.truthy(line:find("nothing has changed"), line)
    end
    clients:wait(10)
    assert.same(workers, pids(c))
    assert.equal(fds, c:fds())
    mend(c)
    upgrade(c)
    clients:wait(10)
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    assert.same(workers, pids(c))
    assert_fds(c, fds - 5) -- the clients
    c:stop()
  end

  local function mend_script(c) rewrite(c, script { good }) end

  it("of a script that does not compile", function()
    try(function(c) rewrite(c, "local = 1\n") end, "dispatch.lua:1:", mend_script)
  end)

  it("of a script that raises an error", function()
    try(function(c) rewrite(c, "\nerror('no such luck')\n") end, "dispatch.lua:2: no such luck", mend_script)
  end)

  it("of a script that never dispatches", function()
    try(function(c) rewrite(c, "print('hello')\n") end, "exited with 0: hello", mend_script)
  end)

  it("of a worker script that is not there", function()
    try(function(c) rewrite(c, script { good, { "127.0.0.2:0", "missing.lua" } }) end, "missing.lua", mend_script)
  end)

  it("of a worker script that does not compile", function()
    try(function(c)
      cluster.write(c.dir .. "/broken.lua", "\n\nlocal = 1\n")
      rewrite(c, script { good, { "127.0.0.2:0", "broken.lua" } })
    end, "broken.lua:3:", mend_script)
  end)

  it("of an address that is in use", function()
    local other = cluster.up { app = "hello", options = { cnum = 1 } }
    local address = other:address()
    try(function(c) rewrite(c, script { good, { address, "hello" } }) end, "address already in use", mend_script)
    get(address)
  end)

  it("of an unknown option", function()
    try(function(c) rewrite(c, script { { "127.0.0.1:0", "hello", { cnumm = 2 } } }) end, "did you mean 'cnum'",
      mend_script)
  end)

  -- A new file takes the old one's name, as installing does.
  local function replace(c, text)
    cluster.write(c.dir .. "/clua.new", text)
    assert(uv.fs_chmod(c.dir .. "/clua.new", tonumber("755", 8)))
    assert(uv.fs_rename(c.dir .. "/clua.new", c.dir .. "/clua"))
  end

  local function whole()
    local file = assert(io.open(cluster.binary, "rb"))
    local bytes = file:read("*a")
    file:close()
    return bytes
  end

  local function mend_binary(c) replace(c, whole()) end

  it("of a binary that fails", function()
    try(function(c) replace(c, "#!/bin/sh\necho broken >&2\nexit 1\n") end, "exited with 1: broken", mend_binary)
  end)

  it("of a binary that is killed", function()
    try(function(c) replace(c, "#!/bin/sh\nkill -SEGV $$\n") end, "exited with 139", mend_binary)
  end)

  it("of a truncated binary", function()
    try(function(c) replace(c, whole():sub(1, 10000)) end, "%w", mend_binary)
  end)

  it("of a file that is no program", function()
    try(function(c) replace(c, "\127ELF") end, "the check", mend_binary)
  end)

  it("of a binary that is not there", function()
    try(function(c) assert(uv.fs_unlink(c.dir .. "/clua")) end, "cannot run the check: .*/clua in /.*: ENOENT",
      mend_binary)
  end)

  it("of a binary that cannot understand the state", function()
    try(function(c) replace(c, "#!/bin/sh\necho 'ok (state 999, segment 1)'\n") end, "speaks state 999", mend_binary)
  end)

  it("is told to the dispatch script, and a new binary is executed when it is good", function()
    local c = cluster.up { app = "hello", options = { cnum = 1 }, events = { "upgrade" }, own_binary = true }
    local ino = uv.fs_stat("/proc/" .. c.pid .. "/exe").ino
    replace(c, "#!/bin/sh\nexit 3\n")
    c:signal("sigusr2")
    c:wait_log("^event upgrade the check exited with 3")
    mend_binary(c)
    upgrade(c)
    c:wait_log("^event upgrade$")
    local now = uv.fs_stat("/proc/" .. c.pid .. "/exe").ino
    assert.not_equal(ino, now)
    assert.equal(uv.fs_stat(c.dir .. "/clua").ino, now)
  end)
end)

describe("an upgrade is refused", function()
  after_each(cluster.cleanup)

  local function assert_refused(c, reason)
    local mark = c:mark()
    c:signal("sigusr2")
    c:wait_log("upgrade refused: .*" .. reason, mark)
  end

  it("before all workers were ready", function()
    local c = cluster.start { app = "never_ready", options = { cnum = 1, ready_timeout = 600 } }
    c:wait_log("worker 1 of .* started")
    assert_refused(c, "has not been ready")
    c:stop()
  end)

  it("during a reload", function()
    local c = cluster.up { app = "app.lua", options = { cnum = 1, ready_timeout = 600 },
      files = { ["app.lua"] = io.open(cluster.fixture("hello")):read("*a") } }
    local worker = pids(c)[1]
    cluster.write(c.dir .. "/app.lua", io.open(cluster.fixture("never_ready")):read("*a"))
    local mark = c:mark()
    c:signal("sigusr1")
    local incoming = tonumber((c:wait_log("worker 1 of .* started, pid (%d+)", mark)))
    assert_refused(c, "is being reloaded")
    uv.kill(incoming, "sigkill")
    c:wait_log("reload of .* failed")
    upgrade(c)
    assert.equal(worker, c:wait_workers(1)[1].pid)
    c:stop()
  end)

  it("during a stop", function()
    local c = cluster.up { app = "ignore_term", options = { cnum = 1, term_timeout = 600 } }
    local conn = assert(client.connect(c:address())):send(client.format("GET", "/never"))
    c:wait_log("never begins")
    c:signal("sigterm")
    c:wait_log("stopping")
    assert_refused(c, "stopping")
    conn:close()
  end)

  -- A dispatch script whose check goes on until the spec lets it end.
  local SLOW_CHECK = ([[
    if %s then
      io.open("checking", "w"):close()
      while not io.open("go_on") do os.execute("sleep 0.02") end
    end
  ]]):format(IN_CHECK)
  local registered = script { { "127.0.0.1:0", "hello", { cnum = 2 } } }

  local function begin_check()
    local c = cluster.up { dispatch = SLOW_CHECK .. registered }
    c:signal("sigusr2")
    c:wait(function() return uv.fs_stat(c.dir .. "/checking") end, "the check to begin")
    return c
  end

  local function end_check(c)
    cluster.write(c.dir .. "/go_on", "")
  end

  it("while another one is running", function()
    local c = begin_check()
    assert_refused(c, "running already")
    get(c:address())
    end_check(c)
    c:wait_log("upgraded, generation 1")
    upgrade(c)
    c:stop()
  end)

  it("and cancelled by a stop", function()
    local c = begin_check()
    c:stop()
    assert.equal(0, c:count("upgraded"))
    loop.wait(function() return #c:left() == 0 end, 10, "the check to end")
  end)

  it("or goes together with a reload that begins during its check: both are done", function()
    local c = begin_check()
    local before = pids(c)
    local clients = load.start(c:address(), { clients = 5, think = 0.02 })
    c:signal("sigusr1")
    c:wait_log("reload of .* started")
    end_check(c)
    c:wait_log("upgraded, generation 1")
    c:wait(function()
      local list = c:workers()
      return #list == 2 and list[1].pid ~= before[1] and list[2].pid ~= before[2]
    end, "both workers to be replaced")
    c:wait_workers(2)
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    c:stop()
  end)
end)

describe("a dispatch script that is good in the check and bad after it", function()
  after_each(cluster.cleanup)

  it("goes on when it fails behind dispatch()", function()
    local registered = script { { "127.0.0.1:0", "hello", { cnum = 2 } } }
    local c = cluster.up { dispatch = registered }
    local conn = assert(client.connect(c:address()))
    assert.equal(200, (conn:request("GET", "/")))
    rewrite(c, registered .. '\nerror "behind dispatch"\n')
    local mark = upgrade(c)
    c:wait_log("error: the dispatch script has failed behind dispatch%(%): .*dispatch.lua:%d+: behind dispatch", mark)
    assert.equal(200, (conn:request("GET", "/")))
    upgrade(c)
    assert.equal(200, (conn:request("GET", "/")))
    conn:close()
    c:stop()
  end)

  it("hurts nobody who is served: the address is told, the rest goes on", function()
    local other = cluster.up { app = "hello", options = { cnum = 1 } }
    local c = cluster.up { dispatch = script { { "127.0.0.1:0", "hello", { cnum = 2 } } } }
    local workers = pids(c)
    rewrite(c, ([[
      local master = require("clua").Master { pidfile = %s and "no/such/folder/pid" or nil }
      master:register("127.0.0.1:0", %q, { cnum = 2 })
      master:register(%s and %q or "127.0.0.2:0", %q, { cnum = 1 })
      master:dispatch()
    ]]):format(IN_NEW, cluster.fixture("hello"), IN_NEW, other:address(), cluster.fixture("hello")))
    local mark = upgrade(c)
    assert.is_true(c:count("error: .*address already in use", mark) > 0, c:text())
    assert.is_true(c:count("error: .*cannot write pid file", mark) > 0, c:text())
    get(c:address())
    for _, pid in ipairs(workers) do assert.is_true(proc.alive(pid)) end
    c:stop()
  end)
end)
