-- What a start refuses and how it says so; what it leaves alone; what it listens on.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local uv = require "luv"

local USAGE = 100

-- Starts what must be refused: exit code, the line that says why.
local function refused(options)
  local c = cluster.start(options)
  local code, signal = c:wait_exit()
  assert.equal(0, signal)
  assert.not_equal(0, code, "it has started and ended as if all were well:\n" .. c:text())
  assert.is_nil(c:find("worker %d+ of .* started"), c:text())
  return code, c:text(), c
end

-- Two pools of two workers, whatever the addresses.
local function serves(address)
  local status, _, body = client.get(address, "/")
  assert.equal(200, status)
  return tonumber(body)
end

describe("a start that cannot work", function()
  after_each(cluster.cleanup)

  it("names a dispatch script that does not exist", function()
    local code, text, c = refused {}
    assert.equal(USAGE, code)
    assert.equal(1, #c.lines, text)
    assert.truthy(text:find("dispatch.lua", 1, true), text)
  end)

  it("says file and line of a typo in the dispatch script", function()
    local code, text, c = refused { dispatch = 'local cluster = require "clua"\nlocal = 1\n' }
    assert.equal(USAGE, code)
    assert.equal(1, #c.lines, text)
    assert.truthy(text:find("dispatch.lua:2:", 1, true), text)
  end)

  it("says file and line of a typo in a worker script, before anything listens", function()
    local code, text, c = refused { app = "app.lua", files = { ["app.lua"] = "local x = 1\nlocal = 2\n" } }
    assert.equal(USAGE, code)
    assert.truthy(text:find("app.lua:2:", 1, true), text)
    assert.equal(0, c:count("listening on"))
  end)

  it("names a worker script that does not exist", function()
    local code, text = refused { app = "nowhere.lua" }
    assert.equal(USAGE, code)
    assert.truthy(text:find("nowhere.lua", 1, true), text)
  end)

  local misuses = {
    { "an unknown option of register()", 'master:register(0, APP, { cnmu = 2 })', "cnum" },
    { "an unknown option of Master()", 'cluster.Master { pidfil = "x" }', "pidfile" },
    { "an option of the wrong type", 'master:register(0, APP, { cnum = "two" })', "cnum" },
    { "an empty user", 'master:register(0, APP, { user = "" })', "'user' is empty" },
    { "an empty group for `admin`", 'cluster.Master { admin = { listen = 0, group = "" } }', "'group' is empty" },
    { "a mode that is a number", 'master:register("./s", APP, { mode = 660 })', "an octal string like '0660'" },
    { "a mode of more than permissions", 'master:register("./s", APP, { mode = "1777" })', "'1777'" },
    { "too many workers", 'master:register(0, APP, { cnum = 100000 })', "from 0 to 1024, got 100000" },
    { "a port that is none", 'master:register(65536, APP)', "65536" },
    { "ready() outside a worker", 'cluster.Worker():ready(function() end)', "worker" },
    { "a name registered twice", 'master:register("twice", APP) master:register("twice", APP)', "twice" },
  }
  for _, misuse in ipairs(misuses) do
    local what, source, word = unpack(misuse)
    it("says what is wrong with " .. what, function()
      local _, text = refused {
        dispatch = ('local cluster = require "clua"\nlocal master = cluster.Master()\nlocal APP = %q\n%s\n'):format(
          cluster.fixture("hello"), source),
      }
      assert.truthy(text:find("dispatch.lua:4:", 1, true), text)
      assert.truthy(text:find(word, 1, true), text)
    end)
  end

  for _, call in ipairs { "dispatch()", "register(0, 'app.lua')" } do
    it(("says that %s comes after dispatch(), and leaves nothing"):format(call), function()
      local c = cluster.start { dispatch = ([[
        local master = require("clua").Master()
        master:register("127.0.0.1:0", %q, { cnum = 1 })
        master:dispatch()
        master:%s
      ]]):format(cluster.fixture("hello"), call) }
      assert.equal(USAGE, (c:wait_exit()))
      assert.truthy(c:find("dispatch.lua:4: " .. call:match("^%a+")), c:text())
      c:wait(function() return #c:left() == 0 end, "the workers to end")
    end)
  end

  it("says which port is in use and leaves its owner alone", function()
    local first = cluster.up { app = "hello", options = { cnum = 1 } }
    local address = first:address()
    local _, text = refused { app = "hello", name = address }
    assert.truthy(text:find(address, 1, true), text)
    assert.truthy(text:find("EADDRINUSE", 1, true) or text:find("in use", 1, true), text)
    assert.equal(first:workers()[1].pid, serves(address))
  end)

  it("refuses a pid file that it cannot write", function()
    local _, text = refused { app = "hello", master = { pidfile = "no/such/folder/pid" } }
    assert.truthy(text:find("no/such/folder", 1, true), text)
  end)
end)

describe("the pid file", function()
  after_each(cluster.cleanup)

  it("holds the pid of the master and goes when it stops", function()
    local c = cluster.up { app = "hello", master = { pidfile = "clua.pid" }, options = { cnum = 1 } }
    assert.equal(c.pid, tonumber(proc.read(c.dir .. "/clua.pid")))
    c:stop()
    assert.is_nil(uv.fs_stat(c.dir .. "/clua.pid"))
  end)

  it("of a live master is refused and left as it was", function()
    local first = cluster.up { app = "hello", master = { pidfile = "clua.pid" }, options = { cnum = 1 } }
    local address = first:address()
    local _, text = refused {
      dir = first.dir, app = "hello", master = { pidfile = "clua.pid" }, options = { cnum = 1 },
    }
    assert.truthy(text:find("clua.pid", 1, true), text)
    assert.truthy(text:find(tostring(first.pid), 1, true), text)
    assert.equal(first.pid, tonumber(proc.read(first.dir .. "/clua.pid")))
    serves(address)
  end)

  it("of a master that was killed does not stop a start", function()
    local first = cluster.up { app = "hello", master = { pidfile = "clua.pid" }, options = { cnum = 1 } }
    first:signal("sigkill")
    first:wait_exit()
    assert.equal(first.pid, tonumber(proc.read(first.dir .. "/clua.pid")))
    local second = cluster.up {
      dir = first.dir, app = "hello", master = { pidfile = "clua.pid" }, options = { cnum = 1 },
    }
    assert.equal(second.pid, tonumber(proc.read(first.dir .. "/clua.pid")))
    second:stop()
  end)
end)

describe("a cluster listens on", function()
  after_each(cluster.cleanup)

  it("one chosen port that all its workers share", function()
    local c = cluster.up { app = "hello", name = "127.0.0.1:0", options = { cnum = 3 } }
    local port = c:port()
    assert.is_true(port > 0)
    local pids = {}
    for _ = 1, 60 do pids[serves(port)] = true end
    for _, member in ipairs(c:workers()) do
      assert.is_true(pids[member.pid], "a worker was never asked")
      pids[member.pid] = nil
    end
    assert.is_nil(next(pids))
  end)

  it("several ports with one pool, and tells which one the client came to", function()
    local c = cluster.up { app = "app.lua", name = { 0, 0 }, options = { cnum = 2 }, files = { ["app.lua"] = [[
      require("clua").ready(function(socket, port) socket:finish(port .. "\n") end)
    ]] } }
    assert.not_equal(c:port(1), c:port(2))
    for i = 1, 2 do
      local conn = assert(client.connect(c:port(i)))
      assert.equal(c:port(i) .. "\n", (conn:read_all()))
      conn:close()
    end
    assert.equal(2, #c:workers())
  end)

  it("TCP, IPv6 and unix sockets, each with a pool of its own", function()
    local c = cluster.up { dispatch = ([[
      local master = require("clua").Master()
      master:register("127.0.0.1:0", %q, { cnum = 1 })
            :register("[::1]:0", %q, { cnum = 1 })
            :register("./hello.sock", %q, { cnum = 1 })
      master:dispatch()
    ]]):format(cluster.fixture("hello"), cluster.fixture("hello"), cluster.fixture("hello")) }
    local pids = {}
    for _, listening in ipairs(c:events("^listening on ")) do
      local address = listening.text:match("^listening on (%S+) for ")
      if address:find("^unix:") then address = c.dir .. "/hello.sock" end
      pids[serves(address)] = true
    end
    local count = 0
    for _ in pairs(pids) do count = count + 1 end
    assert.equal(3, count)
    assert.equal(3, #c:workers())
  end)
end)

describe("clients that come early", function()
  after_each(cluster.cleanup)

  it("wait until the first worker is ready", function()
    local c = cluster.start { app = "never_ready", options = { cnum = 1, ready_timeout = 0.3 } }
    local address = c:address()
    local conn = assert(client.connect(address))
    conn:send(client.format("GET", "/"))
    c:wait_log("worker 1 of .* exited")
    assert.equal("", conn.buffer)
    cluster.write(c.dir .. "/heal", "")
    assert.equal(200, (conn:response("GET")))
    conn:close()
  end)
end)

describe("the last line of a start", function()
  after_each(cluster.cleanup)

  it("comes when every worker can serve", function()
    local c = cluster.up { app = "hello", options = { cnum = 4 } }
    assert.equal(4, c:count("worker %d+ of .* ready, pid"))
    loop.all(8, function() serves(c:address()) end)
  end)
end)
