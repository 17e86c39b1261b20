-- Load on a server that runs, and what it costs: server CPU time (utime + stime of all its processes, /proc/PID/stat)
-- over the requests that the client counted.
local uv = require "luv"
local process = dofile(__dirname .. "/process.lua")

local measure = {}

function measure.median(list)
  local sorted = { unpack(list) }
  table.sort(sorted)
  local middle = math.floor((#sorted + 1) / 2)
  return #sorted % 2 == 1 and sorted[middle] or (sorted[middle] + sorted[middle + 1]) / 2
end

local function output_of(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

-- As many requests as the server can answer. options: connections, threads, pinned.
local function wrk(case, port, seconds, options)
  local text = output_of(("%s wrk -t%d -c%d -d%ds -s %s http://127.0.0.1:%d%s -- %d %s"):format(
    options.pinned == false and "" or "taskset -c 1", options.threads or 1, options.connections or 64, seconds,
    __dirname .. "/wrk.lua", port, case.path, case.pipeline or 1, case.kind or "plain"))
  local requests = tonumber(text:match "(%d+) requests in")
  if not requests or requests == 0 then error("wrk has counted no requests:\n" .. text, 0) end
  -- Behind a close wrk counts no error; anything else makes the figure worthless.
  local refused = text:match "Non%-2xx or 3xx responses: (%d+)"
  if refused then error(("%s: %s answers were no success"):format(case.name, refused), 0) end
  return requests, tonumber(text:match "Requests/sec:%s+([%d.]+)")
end

--- Saturates the server. options: connections (64), threads of the client (1), pinned (true).
-- @treturn table us: CPU a request in microseconds; rate: requests a second
function measure.saturate(server, case, seconds, options)
  local before = process.cpu_seconds(server.pid)
  local requests, rate = wrk(case, server.port, seconds, options or {})
  return { us = (process.cpu_seconds(server.pid) - before) / requests * 1e6, rate = rate }
end

--- Asks at a fixed rate, at random moments, over 64 connections (open_loop.c).
-- @treturn table median and p99, in microseconds
function measure.latency(server, case, seconds, rate)
  local client = ("taskset -c 1 %s/open_loop"):format(process.DIR)
  local text = output_of(("%s %d %s 64 %.0f %g"):format(client, server.port, case.path, rate, seconds))
  local median, p99 = text:match "p50 ([%d.]+) .*p99 ([%d.]+)"
  if not median then error(text, 0) end
  return { median = tonumber(median), p99 = tonumber(p99) }
end

--- Opens connections that stay; each has had an answer when `request` is given. Returns a function that closes them.
function measure.open(port, count, request)
  local all, answered, failed = {}, 0, nil
  local timer = uv.new_timer()
  timer:start(20, 20, function() end) -- wakes the loop, so that a deadline is seen
  local till = uv.hrtime() + 60e9
  for i = 1, count do
    local tcp = uv.new_tcp()
    all[i] = tcp
    tcp:connect("127.0.0.1", port, function(err)
      failed = failed or err
      if err then return end
      tcp:read_start(function(_, bytes)
        if bytes and not all[tcp] then
          all[tcp] = true
          answered = answered + 1
        end
      end)
      tcp:write(request)
    end)
    -- Not all at once: the backlog is 4,096.
    while i - answered > 500 and not failed and uv.hrtime() < till do uv.run "once" end
  end
  while answered < count and not failed and uv.hrtime() < till do uv.run "once" end
  timer:close()
  if answered < count then error(("%d of %d connections: %s"):format(answered, count, failed or "time-out"), 0) end
  return function()
    for i = 1, count do all[i]:close() end
    uv.run "nowait"
  end
end

return measure
