-- What is measured of clua by itself: memory, start, growth with connections, reload with workers, several workers.
-- Each function returns a list of { name, figure, unit [, limit] }; a figure must not be above its limit.
local uv = require "luv"
local measure = dofile(__dirname .. "/measure.lua")
local process = dofile(__dirname .. "/process.lua")
local servers = dofile(__dirname .. "/servers.lua")

local facts = {}

local KEEP_ALIVE = { name = "keep-alive", path = "/" }
local CLOSE = { name = "connection per request", path = "/", kind = "close" }
local WORK = { name = "100 us of Lua", path = "/work" }
local REQUEST = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
local port = 18200

-- Calls fn(server) with a server that runs. command: as in servers.list; step_ms: how often its port is tried.
local function with_server(name, command, pin, fn, step_ms)
  port = port + 1
  local log = ("%s/fact_%d.log"):format(process.DIR, port)
  os.remove(log)
  local server = { port = port, log = log, began = uv.hrtime() }
  local ended
  server.pid, ended = process.start(command(port), pin, log)
  local ok, result = xpcall(function()
    process.wait_for(port, name, step_ms)
    return fn(server)
  end, debug.traceback)
  process.finish(server.pid, ended)
  if not ok then error(result, 0) end
  return result
end

-- The same with a clua, from its first answer on. options as in servers.clua, and pin.
local function with_clua(options, fn)
  uv.os_setenv("BENCH_LOG", "info")
  return with_server("clua", servers.clua(options), options.pin, function(server)
    measure.open(server.port, 1, REQUEST)()
    server.ready_ms = (uv.hrtime() - server.began) / 1e6
    return fn(server)
  end, 1)
end

local function wait(predicate, seconds, what)
  local till = uv.hrtime() + seconds * 1e9
  while not predicate() do
    if uv.hrtime() > till then error("waited in vain for " .. what, 0) end
    uv.run "nowait"
    uv.sleep(1)
  end
end

local function log_of(server)
  local file = assert(io.open(server.log))
  local text = file:read "*a"
  file:close()
  return text
end

local function descriptors(pid)
  local count = 0
  for _ in process.files(("/proc/%d/fd"):format(pid)) do count = count + 1 end
  return count
end

local function workers_of(server)
  local family = process.family(server.pid)
  table.remove(family, 1)
  return family
end

function facts.memory()
  local found = {}
  with_clua({ workers = 2 }, function(server)
    wait(function() return log_of(server):find "all workers ready" end, 10, "the workers")
    found[1] = { "idle cluster: master and 2 workers (PSS)", process.pss_bytes(server.pid) / 2 ^ 20, "MiB", 12 }
  end)
  -- One worker. In batches, so that those to be parked are not all in the worker at one time.
  local function of_connections(name, linger, limit, parked)
    with_clua({ linger = linger }, function(server)
      local before, batch, batches, closing = process.pss_bytes(server.pid), 500, 16, {}
      for i = 1, batches do
        closing[i] = measure.open(server.port, batch, REQUEST)
        wait(function() return not parked or descriptors(workers_of(server)[1]) < 60 end, 30, "them to be parked")
      end
      found[#found + 1] = { name, (process.pss_bytes(server.pid) - before) / (batch * batches), "bytes", limit }
      for i = 1, batches do closing[i]() end
    end)
  end
  of_connections("active keep-alive connection, in the worker", 60, 2560)
  of_connections("parked connection, in the master", 0.05, 400, true)
  return found
end

-- "2026-01-01T12:00:00.123Z" to milliseconds of the day.
local function ms_of(stamp)
  local h, m, s = stamp:match "T(%d+):(%d+):([%d.]+)Z"
  return ((h * 60 + m) * 60 + s) * 1000
end

function facts.start(options)
  local ready, worker = {}, {}
  for i = 1, options.short and 5 or 11 do
    with_clua({ pin = "0,1" }, function(server)
      local text = log_of(server)
      ready[i] = server.ready_ms
      worker[i] = ms_of(text:match "(%S+) master[^\n]* ready, pid") -
        ms_of(text:match "(%S+) master[^\n]* started, pid")
    end)
  end
  -- Others on the machine can only make it longer.
  local function row(name, times, limit)
    name = ("%s, least of %d (median %.0f)"):format(name, #times, measure.median(times))
    return { name, math.min(unpack(times)), "ms", limit }
  end
  return { row("from exec to the first answer", ready, 30), row("from a worker's fork to ready", worker, 15) }
end

-- CPU of a connection that is accepted, lent, asked once and closed, with so many parked.
local function of_dispatch(parked, options)
  return with_clua({ linger = 0.05 }, function(server)
    local close = parked > 0 and measure.open(server.port, parked, REQUEST)
    uv.sleep(1000) -- far longer than linger
    measure.saturate(server, CLOSE, 1) -- warm
    local us = {}
    for i = 1, options.short and 1 or 3 do us[i] = measure.saturate(server, CLOSE, options.seconds).us end
    if close then close() end
    return measure.median(us)
  end)
end

--- CPU a request with so many connections open, 100 of them (or all, when they are fewer) active.
function facts.growth(options)
  local found, base = {}, nil
  local most = tonumber((io.open "/proc/self/limits"):read "*a":match "Max open files%s+(%d+)")
  for _, count in ipairs { 100, 10, 1000, 10000 } do
    if count * 1.2 > most then
      print(("growth: %d connections left out: at most %d descriptors here (ulimit -n)"):format(count, most))
    else
      with_clua({}, function(server)
        local active = math.min(count, 100)
        local close = count > active and measure.open(server.port, count - active, REQUEST)
        measure.saturate(server, KEEP_ALIVE, 1, { connections = active }) -- warm
        local us = {}
        for i = 1, options.short and 1 or 3 do
          us[i] = measure.saturate(server, KEEP_ALIVE, options.seconds, { connections = active }).us
        end
        local figure = measure.median(us)
        base = base or figure
        found[#found + 1] = { ("CPU a request with %d connections open, to that with 100"):format(count), figure / base,
          "x", count > 100 and 1.15 or nil }
        if close then close() end
      end)
    end
  end
  if 12000 <= most then
    found[#found + 1] = { "CPU a connection with 10000 others parked, to that with none",
      of_dispatch(10000, options) / of_dispatch(0, options), "x", 1.15 }
  end
  return found
end

function facts.reload()
  local found, of_one = {}, nil
  for _, count in ipairs { 1, 2, 4, 8 } do
    with_clua({ workers = count, pin = "0,1" }, function(server)
      wait(function() return log_of(server):find "all workers ready" end, 10, "the workers")
      local times = {}
      for i = 1, 3 do
        uv.kill(server.pid, "sigusr1")
        wait(function() return select(2, log_of(server):gsub("reload of %S+ done", "")) == i end, 30, "the reload")
      end
      local starts = {}
      for stamp, what in log_of(server):gmatch "(%S+) master%S+ info: reload of %S+ (%l+)" do
        if what == "started" then starts[#starts + 1] = ms_of(stamp) end
        if what == "done" then times[#times + 1] = (ms_of(stamp) - starts[#starts]) / count end
      end
      local figure = measure.median(times)
      of_one = of_one or figure
      found[#found + 1] = { ("reload of %d workers, for each"):format(count), figure, "ms",
        count > 1 and math.max(of_one * 1.5, of_one + 10) or nil }
    end)
  end
  return found
end

-- The peers with workers: name, and command(count) for servers.
local function peers_with_workers()
  local list = {
    { "clua", function(count) return servers.clua { workers = count } end },
    { "clua, sched_batch off", function(count) return servers.clua { workers = count, sched_batch = false } end },
  }
  if process.exists "nginx" then
    list[3] = { "nginx + Lua", function(count) return servers.nginx("nginx_workers", { workers = count }) end }
  end
  return list
end

--- Throughput on two processors: that of 1 worker to that of 4, of clua and of nginx. The client has the same two. With
-- a handler that does nothing it has most of the work: its one thread and one worker fill both processors, so what more
-- workers do to that shows only where the kernel puts them. Two threads are what can load more than one worker.
function facts.workers(options)
  local found, peers = {}, peers_with_workers()
  local function rate(peer, count, case, threads)
    return with_server(peer[1], peer[2](count), "0,1", function(server)
      measure.saturate(server, case, 1, { pinned = false, threads = threads }) -- warm
      return measure.saturate(server, case, options.seconds, { pinned = false, threads = threads }).rate
    end)
  end
  for _, load in ipairs { { WORK, 1, 1.0 }, { KEEP_ALIVE, 2, 1.0 }, { KEEP_ALIVE, 1 } } do
    local case, threads, limit = unpack(load, 1, 3)
    local ratios = {}
    for i = 1, options.short and 1 or 3 do
      for at, peer in ipairs(peers) do
        ratios[at] = ratios[at] or {}
        ratios[at][i] = rate(peer, 1, case, threads) / rate(peer, 4, case, threads)
      end
    end
    for at, peer in ipairs(peers) do
      local title = ("%s, wrk -t%d: throughput of 1 worker, to that of 4, %s"):format(case.name, threads, peer[1])
      found[#found + 1] = { title, measure.median(ratios[at]), "x", at == 1 and limit or nil }
    end
  end
  return found
end

return facts
