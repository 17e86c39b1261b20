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

-- As many requests as the server can answer. pin: "taskset -c 1" or "".
local function wrk(case, port, seconds, connections, pin)
  local text = output_of(("%s wrk -t1 -c%d -d%ds -s %s http://127.0.0.1:%d%s -- %d %s"):format(pin, connections,
    seconds, __dirname .. "/wrk.lua", port, case.path, case.pipeline or 1, case.kind or "plain"))
  local requests = tonumber(text:match "(%d+) requests in")
  if not requests or requests == 0 then error("wrk has counted no requests:\n" .. text, 0) end
  -- Behind a close wrk counts no error; anything else makes the figure worthless.
  local refused = text:match "Non%-2xx or 3xx responses: (%d+)"
  if refused then error(("%s: %s answers were no success"):format(case.name, refused), 0) end
  return requests, tonumber(text:match "Requests/sec:%s+([%d.]+)")
end

--- Saturates the server. options: connections (64), pinned (true).
-- @treturn table us: CPU a request in microseconds; rate: requests a second
function measure.saturate(server, case, seconds, options)
  options = options or {}
  local before = process.cpu_seconds(server.pid)
  local requests, rate = wrk(case, server.port, seconds, options.connections or 64,
    options.pinned == false and "" or "taskset -c 1")
  return { us = (process.cpu_seconds(server.pid) - before) / requests * 1e6, rate = rate }
end

--- Asks at a fixed rate, over 32 connections, and gives the latency that 99 of 100 stay below, in milliseconds.
function measure.p99(server, case, seconds, rate)
  local log = process.DIR .. "/h2load.log"
  os.remove(log)
  local clients = 32
  local text = output_of(("taskset -c 1 h2load --h1 -t1 -c%d -D%d --rps=%.2f --log-file=%s http://127.0.0.1:%d%s")
    :format(clients, math.max(1, math.floor(seconds + 0.5)), rate / clients, log, server.port, case.path))
  local times = {}
  for line in io.lines(log) do
    local status, us = line:match "^%d+\t(%-?%d+)\t(%d+)"
    if status ~= "200" then error("h2load: an answer was no success:\n" .. text, 0) end
    times[#times + 1] = tonumber(us)
  end
  if #times < 100 then error("h2load has counted too few requests:\n" .. text, 0) end
  table.sort(times)
  return times[math.ceil(#times * 0.99)] / 1000
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
