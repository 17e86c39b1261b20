-- USR1: new workers before the old ones go, and nobody notices.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local load = require "spec.support.load"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"

-- A worker script that answers with a version and its pid.
local function version(text)
  return ([[
    local http = require "clua.http"
    local uv = require "luv"
    local server = http.createServer(function(_, res) res:finish(%q .. " " .. uv.os_getpid()) end)
    require("clua").ready(function(socket) server:emit("connection", socket) end)
  ]]):format(text)
end

local function pids(c)
  local set = {}
  for _, member in ipairs(c:workers()) do set[member.pid] = true end
  return set
end

local function reload(c)
  local mark = c:mark()
  c:signal("sigusr1")
  c:wait_log("reload of .* done", mark)
  return mark
end

describe("a reload", function()
  after_each(cluster.cleanup)

  it("under keep-alive load fails no request and closes no connection", function()
    local c = cluster.up { app = "hello", options = { cnum = 4 } }
    local clients = load.start(c:address(), { clients = 40, think = 0.05 })
    clients:wait(200)
    local fds = c:fds()
    for _ = 1, 3 do
      local before = pids(c)
      reload(c)
      for _, member in ipairs(c:wait_workers(4)) do assert.is_nil(before[member.pid]) end
      clients:wait(200)
    end
    -- Connections come and go between lobby and workers, but the number of what the master holds stays.
    assert.equal(fds, c:fds())
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    assert.equal(40, clients.connections)
    c:stop()
  end)

  it("with slow requests in flight all the time fails none", function()
    local c = cluster.up { app = "slow", options = { cnum = 2 } }
    local clients = load.start(c:address(), { clients = 20, think = 0.02, path = "/sleep/50" })
    clients:wait(50)
    for _ = 1, 2 do
      reload(c)
      clients:wait(50)
    end
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
  end)

  it("puts the new code in force", function()
    local c = cluster.up { app = "app.lua", options = { cnum = 2 }, files = { ["app.lua"] = version "one" } }
    local before = pids(c)
    cluster.write(c.dir .. "/app.lua", version "two")
    reload(c)
    loop.all(40, function()
      local _, _, body = client.get(c:address(), "/")
      local word, pid = body:match("^(%w+) (%d+)$")
      assert.equal("two", word)
      assert.is_nil(before[tonumber(pid)])
    end, 20, 10)
  end)

  local breakages = {
    { "does not compile", "local = 1\n", "app.lua:1:" },
    { "fails when it runs", "local x = nil\nx.y = 1\n", "app.lua:2:" },
    { "ends before it is ready", "os.exit(3)\n", "status 3" },
    { "is never ready", "require('luv').new_timer():start(3600000, 0, function() end)\n", "ready" },
  }
  for _, breakage in ipairs(breakages) do
    local what, source, reason = unpack(breakage)
    it("with a script that " .. what .. " keeps the old workers and says why", function()
      local c = cluster.up {
        app = "app.lua", options = { cnum = 2, ready_timeout = 1 }, files = { ["app.lua"] = version "one" },
      }
      local before = pids(c)
      cluster.write(c.dir .. "/app.lua", source)
      local mark = c:mark()
      c:signal("sigusr1")
      c:wait_log("reload of .* failed: ", mark)
      assert.is_true(c:count(reason, mark) > 0, c:text())
      local workers = c:wait_workers(2)
      for _, member in ipairs(workers) do assert.is_true(before[member.pid]) end
      for _ = 1, 10 do
        local _, _, body = client.get(c:address(), "/")
        assert.truthy(body:find("^one "))
      end

      cluster.write(c.dir .. "/app.lua", version "two")
      reload(c)
      local _, _, body = client.get(c:address(), "/")
      assert.truthy(body:find("^two "))
    end)
  end

  it("lets the old worker finish what it executes", function()
    local c = cluster.up { app = "slow", options = { cnum = 1 } }
    local old = c:workers()[1].pid
    local conn = assert(client.connect(c:address()))
    conn:send(client.format("GET", "/sleep/1000"))
    c:wait_log("sleep begins")
    local mark = c:mark()
    c:signal("sigusr1")
    c:wait_log("ready, pid", mark)
    assert.equal("", conn.buffer)
    local status, _, body = conn:response("GET")
    assert.equal(200, status)
    assert.equal(old, tonumber(body))
    c:wait_log(("exited, pid %d, status 0"):format(old), mark)
    conn:close()
  end)

  it("ends an old worker that never finishes after term_timeout", function()
    local c = cluster.up { app = "ignore_term", options = { cnum = 1, term_timeout = 0.5 } }
    local old = c:workers()[1].pid
    local conn = assert(client.connect(c:address()))
    conn:send(client.format("GET", "/stuck"))
    c:wait_log("stuck begins")
    reload(c)
    c:wait_log(("exited, pid %d, killed by SIGKILL"):format(old))
    assert.equal(502, (conn:response("GET")))
    conn:close()
  end)

  it("moves idle connections to the new workers", function()
    local c = cluster.up { app = "hello", options = { cnum = 2, linger = 60 } }
    local before, conns = pids(c), {}
    for i = 1, 20 do
      conns[i] = assert(client.connect(c:address()))
      assert.equal(200, (conns[i]:request("GET", "/")))
    end
    reload(c)
    c:wait_workers(2)
    for _, conn in ipairs(conns) do
      local status, _, body = conn:request("GET", "/")
      assert.equal(200, status)
      assert.is_nil(before[tonumber(body)])
      conn:close()
    end
  end)

  it("moves connections that have not sent anything yet", function()
    local c = cluster.up { app = "echo_raw", options = { cnum = 2 } }
    local before, conns = pids(c), {}
    for i = 1, 20 do conns[i] = assert(client.connect(c:address())) end
    reload(c)
    c:wait_workers(2)
    for _, conn in ipairs(conns) do
      local pid = assert(conn:send("pid\n"):read_until("\n"))
      assert.is_nil(before[tonumber(pid)])
      conn:close()
    end
  end)

  it("never has fewer workers ready than before", function()
    local c = cluster.up { app = "hello", options = { cnum = 3 } }
    local mark = reload(c)
    c:wait_workers(3)
    local ready = 3
    for _, entry in ipairs(c:events("^worker %d+ of ", mark)) do
      if entry.text:find(" ready, pid") then ready = ready + 1 end
      if entry.text:find(" exited, pid") then ready = ready - 1 end
      assert.is_true(ready >= 3, c:text())
    end
  end)

  it("asked for while one is running is not mixed with it", function()
    local c = cluster.up { app = "hello", options = { cnum = 3 } }
    local before, mark = pids(c), c:mark()
    for _ = 1, 5 do c:signal("sigusr1") end
    c:wait_log("reload of .* done", mark)
    c:wait(function() return c:count("reload of .* started") == c:count("reload of .* done") end, "the last reload")
    local starting, ready = 0, 3
    for _, entry in ipairs(c:events("^worker %d+ of ", mark)) do
      if entry.text:find(" started, pid") then starting = starting + 1 end
      if entry.text:find(" ready, pid") then starting, ready = starting - 1, ready + 1 end
      if entry.text:find(" exited, pid") then ready = ready - 1 end
      assert.is_true(starting <= 1 and ready >= 3, c:text())
    end
    for _, member in ipairs(c:wait_workers(3)) do assert.is_nil(before[member.pid]) end
  end)

  it("20 times leaves no process, no descriptor and no memory behind", function()
    local c = cluster.up { app = "hello", options = { cnum = 1 } }
    local function memory() return tonumber(proc.status(c.pid).VmRSS:match("%d+")) end
    for _ = 1, 20 do -- until the heap has its size
      reload(c)
      c:wait_workers(1)
    end
    local fds, kib = c:fds(), memory()
    for _ = 1, 20 do
      reload(c)
      c:wait_workers(1)
    end
    -- A segment that stays would be 400 KiB of addresses and, where it was touched, tens of memory, each time.
    -- (A sanitizer keeps freed memory for a while.)
    assert.is_true(cluster.is_sanitized or memory() - kib < 256, "the master has grown by " .. memory() - kib .. " KiB")
    assert.equal(1, #c:left())
    loop.wait(function() return c:fds() <= fds end, 10, c:explain("descriptors to be closed"))
    c:stop()
  end)
end)
