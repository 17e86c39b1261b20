-- Workers that are started when clients come, and go when nobody needs them.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local load = require "spec.support.load"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"

local function up(options, app)
  options.cnum, options.linger = 0, 0.02
  return cluster.up { app = app or "hello", options = options }
end

local function wait_idle(c, mark)
  c:wait_log("worker 1 of .* is idle", mark)
  c:wait_workers(0)
end

describe("a registration with cnum = 0", function()
  after_each(cluster.cleanup)

  it("has no worker until a client comes, and none when it has been idle; its connections stay open", function()
    local c = up { idle_timeout = 0.3 }
    assert.equal(0, c:count("started, pid"))
    assert.same({}, c:left())
    local conn = assert(client.connect(c:address()))
    local first
    for round = 1, 3 do
      local mark = c:mark()
      local status, _, body = conn:request("GET", "/")
      assert.equal(200, status)
      assert.not_equal(first, body)
      first = body
      wait_idle(c, mark)
      assert.equal(round, c:count("started, pid"))
    end
    assert.is_nil(conn.closed)
    conn:close()
    c:stop()
  end)

  it("is noticed by no client whose requests come about when a worker goes", function()
    local c = up { idle_timeout = 0.05 }
    local clients = load.start(c:address(), { clients = 3, think = 0.6 })
    c:wait_log("is idle", nil, 5, 60)
    clients:wait(10)
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    assert.equal(3, clients.connections)
  end)

  it("keeps its worker as long as a connection or a request needs it", function()
    local c = up({ idle_timeout = 0.1 }, "echo_raw")
    local conn = assert(client.connect(c:address()))
    local pid = conn:send("pid\n"):read_until("\n")
    local till = loop.now() + 1 -- what must not happen needs time in which it could
    loop.wait(function() return loop.now() > till end, 5)
    assert.equal(pid, conn:send("pid\n"):read_until("\n"))
    conn:close()
    wait_idle(c)
  end)

  it("starts one worker for many clients, and lets it go once", function()
    local c = up { idle_timeout = 0.5 }
    loop.all(100, function() assert(client.get(c:address(), "/") == 200) end)
    wait_idle(c)
    assert.equal(1, c:count("started, pid"))
  end)

  it("keeps its worker for ever without idle_timeout", function()
    local c = up { idle_timeout = 0 }
    local _, _, pid = client.get(c:address(), "/")
    local till = loop.now() + 1
    loop.wait(function() return loop.now() > till end, 5)
    assert.equal(pid, (select(3, client.get(c:address(), "/"))))
  end)

  it("tells its clients when no worker can be started, does not spin, and serves when one can", function()
    local c = cluster.up { app = "app.lua", options = { cnum = 0, queue_timeout = 0.5 },
      files = { ["app.lua"] = "error 'not today'\n" }, master = { restart_delay = 0.1, restart_delay_max = 0.2 } }
    assert.equal(503, (client.get(c:address(), "/")))
    c:wait_log("not today")
    local deaths = c:count("exited, pid")
    local cpu, from = proc.stat(c.pid).cpu, loop.now()
    loop.wait(function() return loop.now() > from + 1 end, 5)
    assert.is_true(proc.stat(c.pid).cpu - cpu < 0.3, "it is busy with nothing")
    assert.is_true(c:count("exited, pid") <= deaths + 1, "workers are started for nobody")
    cluster.write(c.dir .. "/app.lua", io.open(cluster.fixture("hello")):read("*a"))
    assert.equal(200, (client.get(c:address(), "/")))
    c:stop()
  end)

  it("is what a scaling to 0 and back makes of any, and no client notices", function()
    local c = cluster.up { app = "hello", options = { cnum = 2, linger = 0.02, idle_timeout = 0.2 } }
    local clients = load.start(c:address(), { clients = 5, think = 0.05 })
    local once = load.start(c:address(), { clients = 3, think = 0.05, once = true })
    for round = 1, 3 do
      for left = 1, 0, -1 do
        c:signal("sigttou")
        c:wait_log(("scaled from %d to %d workers"):format(left + 1, left), nil, round)
      end
      clients:wait(30)
      for more = 1, 2 do
        c:signal("sigttin")
        c:wait_log(("scaled from %d to %d workers"):format(more - 1, more), nil, round)
      end
      clients:wait(30)
    end
    clients:stop()
    once:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    assert.equal(0, #once.incidents, tostring(once))
    assert.equal(2, #c:wait_workers(2))
    c:stop()
  end)

  it("is reloaded when it has a worker, and stays what it is over an upgrade", function()
    local c = up { idle_timeout = 1 }
    c:signal("sigusr1")
    c:wait_log("reload of .* done") -- nothing to do
    local conn = assert(client.connect(c:address()))
    local _, _, first = conn:request("GET", "/")
    local mark = c:mark()
    c:signal("sigusr1")
    c:wait_log("reload of .* done", mark)
    local _, _, second = conn:request("GET", "/")
    assert.not_equal(first, second)
    c:signal("sigusr2")
    c:wait_log("upgraded, generation 1")
    assert.equal(second, (select(3, conn:request("GET", "/"))))
    wait_idle(c, mark)
    c:signal("sigusr2")
    c:wait_log("upgraded, generation 2")
    assert.same({}, c:left())
    assert.equal(200, (conn:request("GET", "/")))
    assert.equal(200, (client.get(c:address(), "/")))
    conn:close()
    c:stop()
  end)

  it("stops while its worker is starting", function()
    local c = cluster.up { app = "never_ready", options = { cnum = 0, ready_timeout = 600 } }
    local conn = assert(client.connect(c:address())):send(client.format("GET", "/"))
    c:wait_log("worker 1 of .* started")
    c:stop()
    assert.equal(503, (conn:response("GET")))
    conn:close()
  end)
end)
