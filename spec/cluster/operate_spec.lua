-- The operator's commands against a real cluster: what they do, what they say, their exit status.

local cjson = require "cjson"
local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local control = require "spec.support.control"
local load = require "spec.support.load"
local loop = require "spec.support.loop"
local uv = require "luv"

local FAILED, USAGE, NO_MASTER = 1, 100, 111

local function source(name)
  local file = assert(io.open(cluster.fixture(name)))
  local text = file:read("*a")
  file:close()
  return text
end

local function up(options)
  options = options or { cnum = 2 }
  return cluster.up { app = "app.lua", options = options, files = { ["app.lua"] = source "hello" } }
end

-- Runs a command that must succeed and say nothing.
local function quietly(c, ...)
  local out, err, code = control.run(c, ...)
  assert.same({ "", "", 0 }, { out, err, code })
end

local function assert_fails(status, pattern, out, err, code)
  assert.same({ "", status }, { out, code }, err)
  assert.truthy(err:find(pattern), err)
end

describe("clua status", function()
  after_each(cluster.cleanup)

  it("shows master, registrations and workers, with what they have published", function()
    local c = cluster.up { app = "app.lua", options = { cnum = 2 }, files = { ["app.lua"] = [[
      local worker = require("clua").Worker()
      worker:monset("jobs", "7\27[2J")
      worker:ready()
    ]] } }
    local out, err, code = control.run(c, "status")
    assert.same({ "", 0 }, { err, code })
    assert.truthy(out:find("pid " .. c.pid .. ": running, up ", 1, true), out)
    assert.truthy(out:find("\n127.0.0.1:0: 2 wanted, ready; ", 1, true), out)
    for _, member in ipairs(c:workers()) do
      local line = ("\n +%d +%d +ready +%%d+ s .* jobs=7\\x1b%%[2J\n"):format(member.id, member.pid)
      assert.truthy(out:find(line), out)
    end
    c:stop()
  end)

  it("--json is what the master's status() is", function()
    local c = up()
    local out, err, code = control.run(c, "status", "--json")
    assert.same({ "", 0 }, { err, code })
    local found = cjson.decode(out)
    assert.same({ c.pid, "running", true }, { found.master.pid, found.master.state, found.master.ready })
    assert.same({ "127.0.0.1:0", 2, 2 }, { found.registrations[1].name, found.registrations[1].wanted,
      #found.registrations[1].workers })
    c:stop()
  end)

  it("tells of crashes, and that nobody is ready", function()
    local c = cluster.start { app = "app.lua", options = { cnum = 1 }, files = { ["app.lua"] = "os.exit(7)" } }
    c:wait_log("exited, pid")
    local out = control.run(c, "status")
    assert.truthy(out:find("starting", 1, true), out)
    assert.truthy(out:find("1 wanted, not ready", 1, true), out)
    assert.truthy(out:find("ended: status 7 %d"), out)
  end)
end)

describe("which cluster is meant", function()
  after_each(cluster.cleanup)

  it("is clear when there is one; else it says how to choose", function()
    local c = cluster.up { app = "hello", master = { pidfile = "app.pid" }, options = { cnum = 1 } }
    local other = cluster.up { app = "hello", options = { cnum = 1 }, env = { CLUA_RUNTIME_DIR = c.dir } }
    local _, err, code = control.run(c, "status")
    assert.equal(USAGE, code)
    for _, one in ipairs { c, other } do
      local name = one.dir:match("[^/]+$")
      assert.truthy(err:find(("--name %s-%d"):format(name, one.pid), 1, true), err)
      for _, choice in ipairs { name, tostring(one.pid), name .. "-" .. one.pid } do
        local out = control.run(c, "status", "--name", choice)
        assert.truthy(out:find("pid " .. one.pid .. ":", 1, true), out)
      end
    end
    for option, path in pairs { ["--pidfile"] = "/app.pid", ["--control"] = "/app.pid.control" } do
      local out = control.run(other, "status", option, c.dir .. path)
      assert.truthy(out:find("pid " .. c.pid .. ":", 1, true), out)
    end
    assert_fails(NO_MASTER, "no cluster of yours is called 'nope'", control.run(c, "status", "--name", "nope"))
    assert_fails(NO_MASTER, "/nope: no master listens there", control.run(c, "status", "--control", "/nope"))
    assert_fails(NO_MASTER, "cannot read the pid file", control.run(c, "status", "--pidfile", "/nope"))
    assert_fails(USAGE, "can not be used together", control.run(c, "status", "--pidfile", "/a", "--name", "b"))
    other:stop()
    c:stop()
    assert_fails(NO_MASTER, "no cluster of yours runs here", control.run(c, "status"))
  end)

  it("is found through the pid file when the socket is elsewhere", function()
    local c = cluster.up { app = "hello", master = { pidfile = "app.pid", control = "x" }, options = { cnum = 1 } }
    local out, err = control.run(c, "status", "--pidfile", c.dir .. "/app.pid")
    assert.truthy(out:find("pid " .. c.pid .. ":", 1, true), out .. err)
    c:stop()
  end)

  it("is not one whose master was killed: what it left is removed", function()
    local c = cluster.up { app = "hello", options = { cnum = 1 } }
    local path = control.path(c)
    c:signal("sigkill")
    c:wait_exit()
    assert.truthy(uv.fs_lstat(path))
    assert_fails(NO_MASTER, "no cluster of yours runs here", control.run(c, "status"))
    assert.is_nil(uv.fs_lstat(path))
  end)
end)

describe("clua reload", function()
  after_each(cluster.cleanup)

  it("--wait returns when the last old worker is gone, and nobody notices it", function()
    local c = up()
    local before = c:workers()
    local clients = load.start(c:address(), { clients = 5, think = 0.02 })
    clients:wait(10)
    quietly(c, "reload", "--wait")
    local now = c:workers()
    assert.equal(2, #now)
    for i = 1, 2 do assert.not_equal(before[i].pid, now[i].pid) end
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    c:stop()
  end)

  it("without --wait returns at once", function()
    local c = up()
    quietly(c, "reload")
    c:wait_log("reload of 127.0.0.1:0 done")
    c:stop()
  end)

  it("of one registration leaves the others alone", function()
    local app = cluster.fixture("hello")
    local c = cluster.up { dispatch = ([[
      require("clua").Master():register("127.0.0.1:0", %q, { cnum = 1 }):register("127.0.0.2:0", %q, { cnum = 1 })
        :dispatch()
    ]]):format(app, app) }
    local other = c:workers("127.0.0.1:0")[1].pid
    quietly(c, "reload", "127.0.0.2:0", "--wait")
    assert.equal(0, c:count("reload of 127.0.0.1:0"))
    assert.equal(other, c:workers("127.0.0.1:0")[1].pid)
    assert_fails(FAILED, "nothing is registered under '127.0.0.3:0', did you mean '127.0.0.%d:0'",
      control.run(c, "reload", "127.0.0.3:0", "--wait"))
    c:stop()
  end)

  it("--wait does not wait for workers of clua's own, which are not reloaded", function()
    local c = cluster.up { app = "hello", master = { admin = "127.0.0.1:0" }, options = { cnum = 1 } }
    local admin = c:workers("admin")[1]
    quietly(c, "reload", "--wait")
    assert.equal(admin.pid, c:workers("admin")[1].pid)
    assert_fails(FAILED, "'admin' is a worker of clua's own: there is one", control.run(c, "scale", "admin", "2"))
    c:stop()
  end)

  it("--wait fails with the reason when a new worker does not get ready", function()
    local c = up()
    local before = c:workers()
    cluster.write(c.dir .. "/app.lua", "error('no such luck')")
    assert_fails(FAILED, "clua reload: worker 1 of 127.0.0.1:0 status 1 before it was ready: the old workers go on",
      control.run(c, "reload", "--wait"))
    assert.equal(before[1].pid, c:workers()[1].pid)
    assert.equal(200, (client.get(c:address(), "/")))
    c:stop()
  end)

  it("--wait fails with the time when a new worker was not ready in it", function()
    local c = up { cnum = 1, ready_timeout = 0.3 }
    cluster.write(c.dir .. "/app.lua", source "never_ready")
    assert_fails(FAILED, "clua reload: worker 1 of 127.0.0.1:0 was not ready in 0.3 s: the old workers go on",
      control.run(c, "reload", "--wait"))
    c:stop()
  end)

  it("--wait fails when the master stops", function()
    local c = up()
    cluster.write(c.dir .. "/app.lua", source "never_ready")
    local conn = control.connect(c)
    conn:send('{"op":"reload","wait":true,"id":"r"}\n')
    c:wait_log("reload of .* started")
    c:stop()
    local answer = control.line(conn)
    assert.same({ "r", false }, { answer.id, answer.ok })
    assert.truthy(answer.error:find("the master stops", 1, true))
    conn:close()
  end)
end)

describe("clua upgrade", function()
  after_each(cluster.cleanup)

  it("--wait returns when the new master serves", function()
    local c = up()
    local workers = c:workers()
    local clients = load.start(c:address(), { clients = 5, think = 0.02 })
    clients:wait(10)
    for generation = 1, 2 do
      quietly(c, "upgrade", "--wait")
      assert.equal(generation, cjson.decode((control.run(c, "status", "--json"))).master.generation)
    end
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    assert.equal(workers[1].pid, c:workers()[1].pid)
    c:stop()
  end)

  it("--wait fails with the reason when the check fails", function()
    local c = up()
    cluster.write(c.dir .. "/dispatch.lua", "local = 1")
    assert_fails(FAILED, "clua upgrade: the check exited with 100: .*dispatch.lua:1:",
      control.run(c, "upgrade", "--wait"))
    quietly(c, "upgrade")
    c:wait_log("upgrade failed", nil, 2)
    c:stop()
  end)

  it("fails when it is refused, or when the master does not survive it", function()
    local c = cluster.start { app = "never_ready", options = { cnum = 1, ready_timeout = 600 } }
    c:wait_log("worker 1 of .* started")
    assert_fails(FAILED, "has not been ready yet", control.run(c, "upgrade"))
    cluster.write(c.dir .. "/heal", "")
    c:stop()
    c = up()
    cluster.write(c.dir .. "/dispatch.lua", 'if not os.getenv "CLUA_TEST_HELD" then os.exit(5) end\n'
      .. ('local m = require("clua").Master() m:register("127.0.0.1:0", %q):dispatch()'):format(c.dir .. "/app.lua"))
    assert_fails(FAILED, "the master has ended", control.run(c, "upgrade", "--wait"))
    assert.equal(5, (c:wait_exit()))
  end)
end)

describe("clua scale", function()
  after_each(cluster.cleanup)

  it("sets the number of workers", function()
    local c = up()
    quietly(c, "scale", "127.0.0.1:0", "3")
    c:wait_workers(3)
    quietly(c, "scale", "127.0.0.1:0", "1")
    c:wait_workers(1)
    assert_fails(FAILED, "nothing is registered under 'web': there is 127.0.0.1:0", control.run(c, "scale", "web", "3"))
    assert_fails(USAGE, "must be a whole number, got '%-1'", control.run(c, "scale", "--", "127.0.0.1:0", "-1"))
    assert_fails(USAGE, "missing argument", control.run(c, "scale", "3"))
    c:stop()
  end)
end)

describe("clua stop", function()
  after_each(cluster.cleanup)

  -- A request that the worker is busy with.
  local function busy()
    local c = cluster.up { app = "slow", options = { cnum = 1 } }
    local conn = assert(client.connect(c:address())):send(client.format("GET", "/sleep/1000"))
    c:wait_log("sleep begins")
    return c, conn
  end

  it("--wait returns when the master is gone, after the requests", function()
    local c, conn = busy()
    quietly(c, "stop", "--wait")
    assert.equal(200, (conn:response("GET")))
    assert.equal(0, (c:wait_exit()))
    conn:close()
  end)

  it("returns at once, and can still be followed by --now", function()
    local c, conn = busy()
    quietly(c, "stop")
    assert.truthy((control.run(c, "status")):find("stopping"))
    assert_fails(FAILED, "the master is stopping", control.run(c, "reload"))
    quietly(c, "stop", "--now", "--wait")
    assert.equal(3, (c:wait_exit()))
    conn:close()
  end)
end)

describe("clua ps", function()
  it("finds what has a folder of its own in the user's, as units of systemd have", function()
    local dir = assert(require("luv").fs_mkdtemp("/tmp/clua-spec-XXXXXX"))
    assert(require("luv").fs_mkdir(dir .. "/shop", tonumber("700", 8)))
    local c = cluster.up { app = "hello", options = { cnum = 1 }, env = { CLUA_RUNTIME_DIR = dir .. "/shop" } }
    local out = control.run({ dir = dir }, "ps", "--json")
    assert.equal(c.pid, cjson.decode(out).pid)
    c:stop()
    cluster.remove(dir)
  end)

  after_each(cluster.cleanup)

  it("lists the clusters of this user that live", function()
    local c = cluster.up { app = "hello", options = { cnum = 2 } }
    local other = cluster.up { app = "hello", master = { control = "here" }, options = { cnum = 1 },
      env = { CLUA_RUNTIME_DIR = c.dir } }
    local out, err, code = control.run(c, "ps")
    assert.same({ "", 0 }, { err, code })
    for _, one in ipairs { c, other } do
      assert.truthy(out:find(("\n%s +%d +running +%d +0 +%%d+ s +127.0.0.1:0\n"):format(one.dir:match("[^/]+$"):gsub(
        "%-", "%%-"), one.pid, #one:workers())), out)
    end
    other:signal("sigkill")
    other:wait_exit()
    out = control.run(c, "ps", "--json")
    assert.equal(1, select(2, out:gsub("\n", "")))
    assert.equal(c.pid, cjson.decode(out).pid)
    c:stop()
    out, err, code = control.run(c, "ps", "--json")
    assert.same({ "", "", 0 }, { out, err, code })
  end)
end)

describe("clua log-level", function()
  after_each(cluster.cleanup)

  it("shows the level, and sets it", function()
    local c = up()
    assert.same({ "info\n", "", 0 }, { control.run(c, "log-level") })
    quietly(c, "log-level", "debug")
    assert.same({ "debug\n", "", 0 }, { control.run(c, "log-level") })
    c:wait_log("log level changed from info to debug")
    assert_fails(USAGE, "must be one of", control.run(c, "log-level", "loud"))
    c:stop()
  end)
end)

describe("clua logs", function()
  after_each(cluster.cleanup)

  local function last(c, count)
    return table.concat({ unpack(c.lines, #c.lines - count + 1) }, "\n") .. "\n"
  end

  it("shows the last lines as they were written", function()
    local c = up()
    assert.same({ last(c, 2), "", 0 }, { control.run(c, "logs", "-n", "2") })
    assert.same({ "", "", 0 }, { control.run(c, "logs", "-n", "0") })
    assert_fails(USAGE, "must be a whole number", control.run(c, "logs", "-n", "x"))
    c:signal("sigusr2")
    c:wait_log("upgraded, generation 1")
    assert.same({ table.concat(c.lines, "\n") .. "\n", "", 0 }, { control.run(c, "logs", "-n", "100") })
    c:stop()
  end)

  it("reopen opens the files anew", function()
    local c = cluster.up { app = "hello", options = { cnum = 1 } }
    quietly(c, "logs", "reopen")
    c:wait_log("log files opened anew")
    c:stop()
  end)

  -- `clua logs -f` of all that has been logged; `text` is what it has shown so far, `code` its status.
  local function follow(c)
    local following = { text = "" }
    local pipe = uv.new_pipe(false)
    local handle
    handle = assert(uv.spawn(cluster.binary, { args = { "logs", "-f", "-n", "1000", "--control", control.path(c) },
      stdio = { nil, pipe, 2 } }, function(status)
      following.code = status
      handle:close()
    end))
    pipe:read_start(function(_, bytes)
      following.text = following.text .. (bytes or "")
      if not bytes then pipe:close() end
    end)
    c:wait(function() return following.text ~= "" end, "the first lines to be shown")
    return following
  end

  it("-f follows over upgrades, every line once and in order, and ends with the master", function()
    local c = cluster.up { app = "talks", options = { cnum = 2 } }
    local following = follow(c)
    for generation = 1, 3 do
      -- Fewer than are kept, and all the time.
      local flood = loop.task(function()
        for _ = 1, 15 do
          local conn = assert(client.connect(c:address()))
          assert.equal(200, (conn:request("POST", "/lines", { Connection = "close" }, "line 20")))
          conn:close()
        end
      end)
      c:signal("sigusr2")
      c:wait_log("upgraded, generation " .. generation)
      loop.wait(function() return flood.done end, 30)
      assert.is_nil(flood.error)
    end
    c:wait_log("out: line 20$", nil, 3 * 15)
    c:wait(function()
      return following.text == table.concat(c.lines, "\n") .. "\n"
    end, function() return "all lines and no others:\n" .. following.text end)
    c:stop()
    c:wait(function() return following.code end, "the command to end")
    assert.equal(0, following.code)
    assert.truthy(following.text:find("master%[%d+%] info: stopped\n$"), following.text)
  end)

  it("-f says where lines are missing, since more have come than are kept", function()
    local c = cluster.up { app = "talks", options = { cnum = 1 } }
    local conn = control.connect(c)
    local answer = control.ask(conn, { op = "log", lines = 1, follow = true })
    local position = answer.result.position
    local got = control.ask(conn, { op = "log-level", level = "debug" })
    while got.event ~= "log" do got = control.line(conn) end
    assert.truthy(got.line:find("log level changed", 1, true))
    assert.equal(position + #got.line + 1, got.position)
    conn:close()
    local function behind(place)
      conn = control.connect(c)
      local result = control.ask(conn, { op = "log", after = place }).result
      conn:close()
      return result
    end
    assert.same({ lines = { got.line }, position = got.position, lost = false }, behind(position))
    local http = assert(client.connect(c:address()))
    assert.equal(200, (http:request("POST", "/lines", nil, "line 5000", 60)))
    http:close()
    c:wait_log("out: line 5000$")
    local result = behind(position)
    assert.is_true(result.lost)
    assert.truthy(result.lines[#result.lines]:find("out: line 5000$"))
    assert.is_true(#table.concat(result.lines, "\n") < 128 * 1024)
    c:stop()
  end)
end)
