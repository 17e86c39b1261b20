-- `make bench`: clua and its peers side by side, in turn A B A B, server pinned to CPU 0 and wrk to CPU 1.
--
--     build/clua scripts/bench/main.lua [--short] [--rounds N] [--seconds S] [CASE...]
--
-- The figure is server CPU time (utime + stime of all processes of the server, /proc/PID/stat) over the requests that
-- wrk counted: stable where wall time is not. Medians over the rounds; ratios to nginx + Lua of the same run. Writes
-- build/bench/result.json and build/bench/result.svg.
local cjson = require "cjson"
local uv = require "luv"
local chart = dofile(__dirname .. "/chart.lua")
local process = dofile(__dirname .. "/process.lua")

local DIR = "build/bench"
local CLUA = os.getenv "CLUA" or "build/clua"

local cases = {
  { name = "keep-alive", path = "/" },
  { name = "browser's headers", path = "/headers", kind = "browser" },
  { name = "pipelined x16", path = "/", pipeline = 16 },
  { name = "connection per request", path = "/", kind = "close" },
  { name = "json", path = "/json" },
  { name = "1 KiB", path = "/1k" },
  { name = "100 KiB", path = "/100k" },
  { name = "64 KiB POST", path = "/echo", kind = "post" },
  { name = "1 MiB file", path = "/file" },
}

-- Each starts a server on a port and says which cases it takes part in; nil: all.
local servers = {
  { name = "clua", command = function(port)
    return { CLUA, __dirname .. "/servers/clua_dispatch.lua", tostring(port), "1" }
  end },
  { name = "nginx+lua", needs = "nginx", command = function(port)
    return { "nginx", "-c", process.fill(__dirname .. "/servers/nginx.conf", DIR .. "/nginx.conf", {
      DIR = uv.cwd() .. "/" .. DIR, PORT = port, DEFER = "", FILE = os.getenv "BENCH_FILE",
    }) }
  end },
  { name = "nginx+lua deferred", needs = "nginx", only = { ["connection per request"] = true }, command = function(port)
    return { "nginx", "-c", process.fill(__dirname .. "/servers/nginx.conf", DIR .. "/nginx_deferred.conf", {
      DIR = uv.cwd() .. "/" .. DIR .. "/deferred", PORT = port, DEFER = "deferred", FILE = os.getenv "BENCH_FILE",
    }) }
  end },
  { name = "node", needs = "node", command = function(port)
    return { "node", __dirname .. "/servers/node.js", tostring(port) }
  end },
  { name = "raw epoll", needs = DIR .. "/raw_epoll", command = function(port)
    return { DIR .. "/raw_epoll", tostring(port) }
  end, only = { ["keep-alive"] = true, ["pipelined x16"] = true, ["connection per request"] = true } },
}

local function parse_arguments()
  local options = { rounds = 3, seconds = 4, cases = {} }
  local i = 1
  while arg[i] do
    if arg[i] == "--short" then
      options.rounds, options.seconds, options.short = 2, 1, true
    elseif arg[i] == "--rounds" or arg[i] == "--seconds" then
      options[arg[i]:sub(3)] = assert(tonumber(arg[i + 1]), arg[i] .. " needs a number")
      i = i + 1
    else
      options.cases[arg[i]] = true
      options.some = true
    end
    i = i + 1
  end
  return options
end

local function wrk(case, port, seconds)
  local format = "taskset -c 1 wrk -t1 -c64 -d%gs --latency -s %s http://127.0.0.1:%d%s -- %d %s 2>&1"
  local command = format:format(seconds, __dirname .. "/wrk.lua", port, case.path, case.pipeline or 1,
    case.kind or "plain")
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  local requests = tonumber(text:match "(%d+) requests in")
  if not requests or requests == 0 then error("wrk has counted no requests:\n" .. text, 0) end
  -- Behind a close wrk counts no error; anything else makes the figure worthless.
  local refused = text:match "Non%-2xx or 3xx responses: (%d+)"
  if refused then error(("%s: %s answers were no success"):format(case.name, refused), 0) end
  return requests, tonumber(text:match "Requests/sec:%s+([%d.]+)"), text:match "99%%%s+(%S+)"
end

local function median(list)
  local sorted = { unpack(list) }
  table.sort(sorted)
  local middle = math.floor((#sorted + 1) / 2)
  return #sorted % 2 == 1 and sorted[middle] or (sorted[middle] + sorted[middle + 1]) / 2
end

local function measure(server, case, seconds)
  local before = process.cpu_seconds(server.pid)
  local requests, rate, p99 = wrk(case, server.port, seconds)
  local used = process.cpu_seconds(server.pid) - before
  return { us = used / requests * 1e6, rate = rate, p99 = p99 }
end

local function takes_part(server, case)
  return not server.only or server.only[case.name]
end

local function run_case(case, running, options)
  local row = { case = case.name, servers = {} }
  for _ = 1, options.rounds do
    for _, server in ipairs(running) do
      if takes_part(server, case) then
        local result = row.servers[server.name] or { us = {}, rate = {}, p99 = {} }
        row.servers[server.name] = result
        local one = measure(server, case, options.seconds)
        for key, value in pairs(one) do table.insert(result[key], value) end
      end
    end
  end
  local base = row.servers["nginx+lua"]
  for _, result in pairs(row.servers) do
    result.us_median, result.rate_median = median(result.us), median(result.rate)
    if base then result.ratio = result.us_median / median(base.us) end
  end
  return row
end

local function print_row(row, running)
  for _, server in ipairs(running) do
    local result = row.servers[server.name]
    if result then
      print(("%-24s %-20s %8.2f us %9.0f/s   p99 %-9s %s"):format(row.case, server.name, result.us_median,
        result.rate_median, result.p99[#result.p99], result.ratio and ("%.2f x nginx+lua"):format(result.ratio) or ""))
    end
  end
end

-- Adds each to `running` as soon as it has a process, so that whatever fails later finds it there.
local function start_servers(running)
  for i, server in ipairs(servers) do
    if not server.needs or process.exists(server.needs) then
      server.port = 18080 + i
      server.pid = process.start(server.command(server.port))
      running[#running + 1] = server
      process.wait_for(server.port, server.name)
    else
      print(server.name .. ": not installed, left out (`make bench-deps`)")
    end
  end
end

local function main()
  local options = parse_arguments()
  os.execute("mkdir -p " .. DIR .. "/deferred")
  process.write(DIR .. "/file.bin", ("0123456789abcdef"):rep(65536))
  uv.os_setenv("BENCH_FILE", uv.cwd() .. "/" .. DIR .. "/file.bin")
  os.execute(("cc -O2 -o %s/raw_epoll %s/raw_epoll.c"):format(DIR, __dirname))
  local running, rows = {}, {}
  print(("server CPU time per request, median of %d rounds of %g s; server on CPU 0, wrk -t1 -c64 on CPU 1"):format(
    options.rounds, options.seconds))
  local ok, message = xpcall(function()
    start_servers(running)
    for i, case in ipairs(cases) do
      local wanted = options.some and options.cases[case.name] or (not options.some and (not options.short or i <= 4))
      if wanted then
        rows[#rows + 1] = run_case(case, running, options)
        print_row(rows[#rows], running)
      end
    end
  end, debug.traceback)
  for _, server in ipairs(running) do process.stop(server.pid) end
  if not ok then error(message, 0) end
  process.write(DIR .. "/result.json", cjson.encode(rows))
  process.write(DIR .. "/result.svg", chart.draw(rows, running))
  print("written: " .. DIR .. "/result.json, " .. DIR .. "/result.svg")
end

main()
