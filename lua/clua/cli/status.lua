--- `clua status [--json]`
-- @module clua.cli.status

local target = require "clua.control.target"
local text = require "clua.control.text"

local status = { summary = "show a cluster: its workers and what they do" }

function status.configure(parser)
  target.configure(parser)
  parser:flag("--json", "all that is known, as JSON")
end

local function head(of)
  local master = of.master
  local line = ("%s, pid %d: %s%s, up %s, clua %s"):format(text.clean(master.name), master.pid, master.state,
    master.state == "running" and not master.ready and " (not ready)" or "", text.age(os.time() - master.started),
    master.version)
  if master.generation > 0 then line = line .. (", upgraded %d times"):format(master.generation) end
  return line
end

local function values_of(worker)
  local words = {}
  for key, value in pairs(worker.values) do words[#words + 1] = text.clean(key .. "=" .. value) end
  table.sort(words)
  return table.concat(words, " ")
end

local function ends_of(registration)
  local words = {}
  for cause, count in pairs(registration.exits) do words[#words + 1] = ("%s %d"):format(cause, count) end
  table.sort(words)
  return #words > 0 and "  ended: " .. table.concat(words, ", ") or nil
end

local function held_by(counters)
  local time = counters.held_time -- a master that is older than this command has none
  if (counters.held or 0) == 0 then return nil end
  return ("%d held%s"):format(counters.held, time and (" (%s in all)"):format(text.duration(time.sum)) or "")
end

local function show(registration)
  local counters = registration.counters
  local rows = { { "ID", "PID", "STATE", "AGE", "REMAIN", "REQUESTS", "LAG", "RSS", "LUA", "CPU", "VALUES" } }
  table.sort(registration.workers, function(a, b) return a.id < b.id or a.id == b.id and a.pid < b.pid end)
  for _, worker in ipairs(registration.workers) do
    rows[#rows + 1] = {
      tostring(worker.id), tostring(worker.pid), worker.stuck and "stuck" or worker.state, text.age(worker.age),
      tostring(worker.remain), tostring(worker.scores), text.duration(worker.loop_lag), text.bytes(worker.rss),
      text.bytes(worker.lua_heap), ("%.2f s"):format(worker.cpu), values_of(worker),
    }
  end
  print(("\n%s: %d wanted, %s; %d accepted, %d requests; lobby: %d waiting, %d parked"):format(
    text.clean(registration.name), registration.wanted, registration.ready and "ready" or "not ready",
    counters.accepted, counters.requests, counters.waiting, counters.parked))
  local wrong = {}
  for _, name in ipairs { "turned_away", "lost", "broken", "stolen" } do
    if (counters[name] or 0) > 0 then wrong[#wrong + 1] = ("%d %s"):format(counters[name], (name:gsub("_", " "))) end
  end
  wrong[#wrong + 1] = held_by(counters)
  if #wrong > 0 then print("  " .. table.concat(wrong, ", ")) end
  local ends = ends_of(registration)
  if ends then print(ends) end
  if #rows == 1 then return end
  for _, line in ipairs(text.columns(rows, { [3] = true, [11] = true })) do print("  " .. line) end
end

function status.run(args)
  local client = target.open(args)
  local found, message = client:request "status"
  client:close()
  if not found then return target.fail("status", message) end
  if args.json then
    print(require("clua.status.json").encode(found.registrations, found.master))
    return 0
  end
  print(head(found))
  print("control socket " .. found.master.control)
  for _, registration in ipairs(found.registrations) do show(registration) end
  return 0
end

return status
