-- More clients than the workers can take: a bounded lobby, a complete answer for everybody, and no cost for those who
-- wait.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local load = require "spec.support.load"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local uv = require "luv"

local UNTAKEN_MAX = 64 -- loans on their way to one worker: so many does the master give to one that does not read
local PARKED, PARKED_BYTES_MAX = 5000, 400
-- `make crowd` comes with 20,000, as many as promised; ten times fewer are enough to see a limit that is none.
local CROWD = tonumber(os.getenv "CLUA_SPEC_CROWD") or 3000
local CROWD_PER_PROCESS = 7000
local IS_SLOW = cluster.is_sanitized

-- A cluster whose only worker does not run: what it is lent it does not take.
local function stopped(options)
  options.cnum, options.hang_timeout = 1, 600
  local c = cluster.up { app = "hello", options = options }
  assert(uv.kill(c:workers()[1].pid, "sigstop"))
  return c
end

local function continue(c)
  assert(uv.kill(c:workers()[1].pid, "sigcont"))
end

local function ask(c, count, bytes)
  local conns = {}
  for i = 1, count do conns[i] = assert(client.connect(c:address())):send(bytes or client.format("GET", "/")) end
  return conns
end

local function assert_turned_away(conn)
  local status, headers, body = conn:response("GET")
  assert.equal(503, status)
  assert.truthy(headers["retry-after"]:find("^%d+$"))
  assert.equal(#body, tonumber(headers["content-length"]))
  assert.same({ "", "eof" }, { conn:read_all() })
  conn:close()
end

local function assert_served(conns)
  for _, conn in ipairs(conns) do
    assert.equal(200, (conn:response("GET")))
    conn:close()
  end
end

local function peak_bytes(pid)
  return tonumber(proc.status(pid).VmHWM:match("%d+")) * 1024
end

describe("the lobby", function()
  after_each(cluster.cleanup)

  it("is bounded by queue_max: the others are told at once, whole and without a reset", function()
    local c = stopped { queue_max = 10 }
    local served = ask(c, UNTAKEN_MAX + 10)
    c:wait(function() return c:fds() >= UNTAKEN_MAX + 10 end, "the lobby to be full")
    for _, conn in ipairs(ask(c, 50)) do assert_turned_away(conn) end
    -- Nor is one whose request has not even been sent completely.
    local body = ("x"):rep(16 * 1024 * 1024) -- more than the kernel keeps
    for _, conn in ipairs(ask(c, 1, client.format("POST", "/", nil, body))) do
      loop.wait(function() return conn.written end, 20, "the body to be taken")
      assert.is_nil(conn.write_error)
      assert_turned_away(conn)
    end
    continue(c)
    assert_served(served)
    c:stop()
  end)

  it("is bounded by queue_timeout", function()
    local c = stopped { queue_timeout = 0.5 }
    local served = ask(c, UNTAKEN_MAX)
    c:wait(function() return c:fds() >= UNTAKEN_MAX end, "the worker's loans to be many")
    local from = loop.now()
    local waiting = ask(c, 20)
    for _, conn in ipairs(waiting) do assert_turned_away(conn) end
    assert.is_true(loop.now() - from >= 0.4, "they were not left to wait")
    continue(c)
    assert_served(served)
  end)

  it("is not full because many come at once, while workers are free", function()
    local c = cluster.up { app = "hello", options = { cnum = 2, queue_max = 0, steal_after = 0 } }
    c:signal("sigstop")
    local conns = {}
    for i = 1, 100 do conns[i] = client.open(c:address()):send(client.format("GET", "/")) end
    loop.wait(function()
      for _, conn in ipairs(conns) do
        if not conn.connected then return false end
      end
      return true
    end, 20, "the clients to be in the backlog")
    c:signal("sigcont")
    assert_served(conns)
  end)

  it("says what the registration wants to be said", function()
    local gone = "HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlater"
    local c = stopped { queue_max = 0, gone = gone }
    local served = ask(c, UNTAKEN_MAX)
    c:wait(function() return c:fds() >= UNTAKEN_MAX end, "the worker's loans to be many")
    local conn = ask(c, 1)[1]
    assert.equal(gone, (conn:read_all()))
    conn:close()
    continue(c)
    assert_served(served)
  end)

  it("is left by clients that hang up, and nobody serves them", function()
    local c = cluster.up { app = "app.lua", options = { cnum = 1, hang_timeout = 600 }, files = { ["app.lua"] = [[
      local http = require "clua.http"
      local server = http.createServer(function(req, res)
        io.stderr:write("served " .. req.url .. "\n")
        res:finish("well")
      end)
      require("clua").ready(function(socket) server:emit("connection", socket) end)
    ]] } }
    assert(uv.kill(c:workers()[1].pid, "sigstop"))
    local before = c:fds()
    local served = ask(c, UNTAKEN_MAX)
    c:wait(function() return c:fds() == before + UNTAKEN_MAX end, "the worker's loans to be many")
    local gone = ask(c, 20, client.format("GET", "/gone"))
    c:wait(function() return c:fds() == before + UNTAKEN_MAX + 20 end, "the lobby to be filled")
    for _, conn in ipairs(gone) do conn:reset() end
    c:wait(function() return c:fds() == before + UNTAKEN_MAX end, "the lobby to be empty")
    continue(c)
    assert_served(served)
    assert.equal(200, (client.get(c:address(), "/last")))
    c:wait_log("served /last")
    assert.equal(0, c:count("served /gone"))
  end)
end)

-- Clients in a process of their own: its exit status, what it has printed, what it has complained about.
local function come(address, path, count)
  local args = { "spec/support/crowd.lua", address, path, tostring(count), "120" }
  local task = loop.current()
  local found, text, open = {}, { "", "" }, 3
  local pipes = { uv.new_pipe(false), uv.new_pipe(false) }
  local function part_done()
    open = open - 1
    if open == 0 then loop.wake(found) end
  end
  local handle
  handle = assert(uv.spawn(cluster.binary, { args = args, stdio = { nil, pipes[1], pipes[2] } }, function(code)
    found.status = code
    handle:close()
    part_done()
  end))
  for i, pipe in ipairs(pipes) do
    pipe:read_start(function(_, bytes)
      text[i] = text[i] .. (bytes or "")
      if bytes then return end
      pipe:close()
      part_done()
    end)
  end
  assert(task and loop.await(found, function() return open == 0 end, 240))
  return found.status, text[1], text[2]
end

describe("a crowd", function()
  after_each(cluster.cleanup)

  it("of " .. CROWD .. " clients gets an answer each, in bounded memory, and is forgotten within a second", function()
    local queue_max = math.floor(CROWD / 3)
    local c = cluster.up { app = "blocks_loop", options = { cnum = 4, queue_max = queue_max, queue_timeout = 60 } }
    local address = c:address()
    local peak, fds = peak_bytes(c.pid), c:fds()
    local served, turned_away, parts = 0, 0, math.ceil(CROWD / CROWD_PER_PROCESS)
    loop.all(parts, function(i)
      local count = math.floor(CROWD * i / parts) - math.floor(CROWD * (i - 1) / parts)
      local status, text, complaint = come(address, "/block/2", count)
      assert(status == 0, complaint)
      local well, later, other, why = text:match("^(%d+) (%d+) (%d+) (.-)\n")
      assert(other == "0", why)
      served, turned_away = served + tonumber(well), turned_away + tonumber(later)
    end, 300)
    local from = loop.now()
    assert.equal(200, (client.get(address, "/")))
    local recovered = loop.now() - from
    local grown = peak_bytes(c.pid) - peak
    print(("  %d served, %d turned away, the master grew by %d KiB, next answer after %.1f ms"):format(served,
      turned_away, grown / 1024, recovered * 1000))
    assert.equal(CROWD, served + turned_away)
    assert.is_true(served >= queue_max)
    local bound = (IS_SLOW and 64 or 2) * 1024 * 1024 + 400 * CROWD
    assert.is_true(grown < bound, "the master grew by " .. grown .. " bytes")
    assert.is_true(recovered < (IS_SLOW and 10 or 1), "the next answer took " .. recovered .. " s")
    c:wait(function() return c:fds() <= fds end, "the crowd's descriptors to be closed")
    assert.equal(0, c:count("exited"))
    c:stop()
  end)
end)

describe("a worker that does not read its channel", function()
  after_each(cluster.cleanup)

  it("stalls nobody", function()
    local c = cluster.up { app = "hello", options = { cnum = 2, hang_timeout = 600, linger = 0.02 } }
    local victim = c:workers()[1].pid
    assert(uv.kill(victim, "sigstop"))
    local clients = load.start(c:address(), { clients = 20, think = 0.02 })
    local once = load.start(c:address(), { clients = 10, think = 0.02, once = true })
    clients:wait(300)
    once:wait(200)
    -- Nor the master itself: it obeys.
    c:signal("sigttin")
    c:wait_log("worker 3 of .* ready")
    clients:stop()
    once:stop()
    assert(uv.kill(victim, "sigcont"))
    assert.equal(0, #clients.incidents, tostring(clients))
    assert.equal(0, #once.incidents, tostring(once))
    loop.all(50, function() assert(client.get(c:address(), "/") == 200) end)
    c:stop()
  end)
end)

describe("a parked connection", function()
  after_each(cluster.cleanup)

  -- Pages of programs and libraries are shared with whoever else runs, and no part of the cost.
  local function sum_memory(c)
    local sum = 0
    for _, pid in ipairs { c.pid, unpack(c:left()) } do
      local text = io.open(("/proc/%d/smaps_rollup"):format(pid)):read("*a")
      for _, kind in ipairs { "Anon", "Shmem" } do
        sum = sum + tonumber(text:match("Pss_" .. kind .. ":%s+(%d+)")) * 1024
      end
    end
    return sum
  end

  it("costs at most " .. PARKED_BYTES_MAX .. " bytes in all processes together", function()
    if cluster.is_sanitized then
      pending "a sanitizer's own memory would be measured"
      return
    end
    local c = cluster.up { app = "app.lua", options = { cnum = 2, linger = 0.01 }, files = { ["app.lua"] = [[
      local http = require "clua.http"
      local server = http.createServer(function(req, res)
        if req.url == "/collect" then collectgarbage() end
        res:finish(tostring(require("luv").os_getpid()))
      end)
      require("clua").ready(function(socket) server:emit("connection", socket) end)
    ]] } }
    local address, conns = c:address(), {}
    -- Garbage of Lua's is not what a connection costs.
    local function collect()
      local seen, count = {}, 0
      repeat
        local _, _, pid = client.get(address, "/collect")
        if not seen[pid] then seen[pid], count = true, count + 1 end
      until count == 2
    end
    local function sockets()
      local count = 0
      for _, member in ipairs(c:workers()) do
        for _, target in pairs(proc.fds(member.pid)) do count = count + (target:find("^socket:") and 1 or 0) end
      end
      return count
    end
    local own = sockets()
    local function park(count)
      local first = #conns
      loop.all(count, function(i)
        local conn = assert(client.connect(address))
        conns[first + i] = conn
        assert(conn:request("GET", "/") == 200)
      end, 60, 20)
      c:wait(function() return sockets() == own end, "all connections to be parked")
    end
    -- What grows with the number of connections served, such as the Lua heaps, is to have grown.
    loop.all(6000, function()
      local conn = assert(client.connect(address))
      assert(conn:request("GET", "/") == 200)
      conn:close()
    end, 60, 20)
    -- As is what the workers need for so many at once, before they are parked: never more of them are there.
    park(300)
    collect()
    local before = sum_memory(c)
    for _ = 1, PARKED / 250 do park(250) end
    collect()
    local bytes = (sum_memory(c) - before) / PARKED
    print(("  %d parked connections: %.0f bytes each"):format(PARKED, bytes))
    assert.is_true(bytes < PARKED_BYTES_MAX, bytes .. " bytes each")
    for i = 1, #conns, 10 do assert.equal(200, (conns[i]:request("GET", "/"))) end
    for _, conn in ipairs(conns) do conn:close() end
    c:stop()
  end)
end)
