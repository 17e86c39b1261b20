-- `make bench`: clua and its peers side by side, in turn A B A B, server pinned to CPU 0 and client to CPU 1.
--
--     build/clua scripts/bench/main.lua [--short] [--rounds N] [--seconds S] [WHAT...]
--
-- WHAT: names of cases ("keep-alive", "json", ...) and of facts (p99, memory, start, growth, reload, workers); default:
-- all of them; --short: the first four cases, memory and start, in less than a minute. The figure of a case is server
-- CPU time a request: stable where wall time is not. Medians over the rounds, ratios to nginx + Lua of the same run.
-- Writes build/bench/result.json and build/bench/result.svg.
local cjson = require "cjson"
local uv = require "luv"
local chart = dofile(__dirname .. "/chart.lua")
local facts = dofile(__dirname .. "/facts.lua")
local measure = dofile(__dirname .. "/measure.lua")
local process = dofile(__dirname .. "/process.lua")
local servers = dofile(__dirname .. "/servers.lua")

local DIR = process.DIR
local BASE = "nginx+lua"
local CLOSE = "connection per request"

local cases = {
  { name = "keep-alive", path = "/" },
  { name = "browser's headers", path = "/headers", kind = "browser" },
  { name = "no two heads alike", path = "/headers", kind = "varied" },
  { name = "pipelined x16", path = "/", pipeline = 16 },
  { name = CLOSE, path = "/", kind = "close" },
  { name = "json", path = "/json" },
  { name = "1 KiB", path = "/1k" },
  { name = "100 KiB", path = "/100k" },
  { name = "64 KiB POST", path = "/echo", kind = "post" },
  { name = "1 MiB file", path = "/file" },
  { name = "static, 1 KiB", path = "/1k.txt" },
}
local FACTS = { "p99", "memory", "start", "growth", "reload", "workers" }
local SHORT = { ["keep-alive"] = true, ["browser's headers"] = true, ["pipelined x16"] = true, [CLOSE] = true,
  memory = true, start = true }

-- case, server, to whom, at most: the ratios that clua is meant to keep to.
local targets = {
  { "keep-alive", "clua", BASE, 0.93 },
  { "keep-alive", "clua", "raw epoll", 1.15 },
  { "browser's headers", "clua", BASE, 0.95 },
  { "no two heads alike", "clua", BASE, 0.95 }, -- nothing that clua has seen before (src/http_section.h)
  { "pipelined x16", "clua", BASE, 0.15 },
  { CLOSE, "clua", BASE, 0.9 }, -- each as it comes
  { CLOSE, "clua", "nginx+lua, deferred", 1.25 },
  { CLOSE, "clua, not deferred", BASE, 1.4 },
  { "json", "clua", BASE, 1 },
  { "1 KiB", "clua", BASE, 1 },
  { "100 KiB", "clua", BASE, 1 },
  { "64 KiB POST", "clua", BASE, 1 },
  { "1 MiB file", "clua", BASE, 1 }, -- head and file in one packet on both sides
}

local function fail_usage(message)
  io.stderr:write(("main.lua: %s\nusage: main.lua [--short] [--rounds N] [--seconds S] [WHAT...]\n"):format(message))
  io.stderr:write("WHAT:")
  for _, case in ipairs(cases) do io.stderr:write((' "%s"'):format(case.name)) end
  io.stderr:write((" %s\n"):format(table.concat(FACTS, " ")))
  os.exit(100)
end

local function parse_arguments()
  local options = { rounds = 3, seconds = 4, wanted = {} }
  local i, known = 1, {}
  for _, case in ipairs(cases) do known[case.name] = true end
  for _, name in ipairs(FACTS) do known[name] = true end
  while arg[i] do
    if arg[i] == "--short" then
      options.rounds, options.seconds, options.short = 2, 1, true
    elseif arg[i] == "--rounds" or arg[i] == "--seconds" then
      options[arg[i]:sub(3)] = tonumber(arg[i + 1]) or fail_usage(arg[i] .. " needs a number")
      i = i + 1
    else
      if not known[arg[i]] then fail_usage("no case or fact of this name: " .. arg[i]) end
      options.wanted[arg[i]] = true
    end
    i = i + 1
  end
  if not next(options.wanted) then options.wanted = options.short and SHORT or known end
  return options
end

local function takes_part(server, case, options)
  if server.only and not server.only[case.name] then return false end
  return not (options.short and server.slow)
end

local function run_case(case, running, options)
  local row = { case = case.name, servers = {} }
  for _ = 1, options.rounds do
    for _, server in ipairs(running) do
      if takes_part(server, case, options) then
        local result = row.servers[server.name] or { us = {}, rate = {} }
        row.servers[server.name] = result
        for key, value in pairs(measure.saturate(server, case, options.seconds)) do table.insert(result[key], value) end
      end
    end
  end
  local base = row.servers[BASE]
  for _, result in pairs(row.servers) do
    result.us_median, result.rate_median = measure.median(result.us), measure.median(result.rate)
    if base then result.ratio = result.us_median / measure.median(base.us) end
  end
  for _, server in ipairs(running) do
    local result = row.servers[server.name]
    if result then
      print(("%-24s %-20s %8.2f us %9.0f/s   %s"):format(row.case, server.name, result.us_median, result.rate_median,
        result.ratio and ("%.2f x %s"):format(result.ratio, BASE) or ""))
    end
  end
  return row
end

-- At 60 % of what nginx can, for both. The least of many short looks in turn: others on the machine can only make it
-- longer, and a host that stands still for a hundredth of the time is all that a p99 shows.
local LOOKS, LOOK_SECONDS = 8, 0.5

local function p99(running, rows, options)
  local by_name, peak = {}, nil
  for _, server in ipairs(running) do by_name[server.name] = server end
  if not by_name[BASE] then return {} end
  for _, row in ipairs(rows) do
    if row.case == cases[1].name then peak = row.servers[BASE].rate_median end
  end
  peak = peak or measure.saturate(by_name[BASE], cases[1], options.seconds).rate
  local least = { clua = {}, [BASE] = {} }
  for _ = 1, options.rounds * LOOKS do
    for name, times in pairs(least) do
      for key, us in pairs(measure.latency(by_name[name], cases[1], LOOK_SECONDS, peak * 0.6)) do
        times[key] = math.min(times[key] or us, us)
      end
    end
  end
  local found = {}
  for _, key in ipairs { "median", "p99" } do
    local limit = least[BASE][key]
    found[#found + 1] = { ("%s at %.0f requests a second, %s"):format(key, peak * 0.6, BASE), limit, "us" }
    found[#found + 1] = { key .. " at the same rate, clua", least.clua[key], "us", limit }
  end
  return found
end

local function print_facts(all)
  for _, fact in ipairs(all) do
    local name, figure, unit, limit = unpack(fact, 1, 4)
    print(("%-76s %9.2f %-6s%s"):format(name, figure, unit,
      limit and ("at most %.2f: %s"):format(limit, figure <= limit and "kept" or "MISSED") or ""))
  end
end

-- The ratios beside their targets.
local function ratios(rows)
  local found = {}
  for _, target in ipairs(targets) do
    local case, server, peer, limit = unpack(target)
    for _, row in ipairs(rows) do
      local ours, theirs = row.servers[server], row.servers[peer]
      if row.case == case and ours and theirs then
        local name = ("%s: %s, to %s"):format(case, server, peer)
        found[#found + 1] = { name, ours.us_median / theirs.us_median, "x", limit }
      end
    end
  end
  return found
end

-- Adds each to `running` as soon as it has a process, so that whatever fails later finds it there.
local function start_servers(running, options)
  for i, server in ipairs(servers.list) do
    if not (options.short and server.slow) then
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
end

local function prepare()
  os.execute("mkdir -p " .. DIR)
  process.write(DIR .. "/file.bin", ("0123456789abcdef"):rep(65536))
  process.write(DIR .. "/1k.txt", ("0123456789abcdef"):rep(64))
  uv.os_setenv("BENCH_FILE", uv.cwd() .. "/" .. DIR .. "/file.bin")
  uv.os_setenv("BENCH_FOLDER", uv.cwd() .. "/" .. DIR)
  for _, name in ipairs { "raw_epoll", "open_loop" } do
    os.execute(("cc -O2 -o %s/%s %s/%s.c -lm"):format(DIR, name, __dirname, name))
  end
end

local function main()
  local options = parse_arguments()
  prepare()
  local running, rows, found = {}, {}, {}
  print(("server CPU time a request, median of %d rounds of %g s; server on CPU 0, wrk -t1 -c64 on CPU 1"):format(
    options.rounds, options.seconds))
  local ok, message = xpcall(function()
    start_servers(running, options)
    for _, case in ipairs(cases) do
      if options.wanted[case.name] then rows[#rows + 1] = run_case(case, running, options) end
    end
    found = ratios(rows)
    if options.wanted.p99 then
      for _, fact in ipairs(p99(running, rows, options)) do found[#found + 1] = fact end
    end
  end, debug.traceback)
  for _, server in ipairs(running) do process.stop(server.pid) end
  if not ok then error(message, 0) end
  for _, name in ipairs(FACTS) do
    if options.wanted[name] and facts[name] then
      for _, fact in ipairs(facts[name](options)) do found[#found + 1] = fact end
    end
  end
  print ""
  print_facts(found)
  process.write(DIR .. "/result.json", cjson.encode { cases = rows, facts = found })
  if #rows > 0 then process.write(DIR .. "/result.svg", chart.draw(rows, running)) end
  print(("\nwritten: %s/result.json%s"):format(DIR, #rows > 0 and ", " .. DIR .. "/result.svg" or ""))
end

main()
