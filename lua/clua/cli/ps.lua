--- `clua ps`
-- @module clua.cli.ps

local Client = require "clua.control.client"
local place = require "clua.control.place"
local text = require "clua.control.text"

local ps = { summary = "list the clusters of this user" }

function ps.configure(parser)
  parser:flag("--json", "as a line of JSON for each")
end

local function ask(entry)
  local client, message = Client.open(entry.path)
  if not client then return nil, message end
  local status
  status, message = client:request "status"
  client:close()
  return status, message
end

local function describe(entry)
  local status, message = ask(entry)
  local found = { name = entry.name, pid = entry.pid, control = entry.path }
  if not status then
    found.problem = message
    return found
  end
  found.state, found.ready, found.version = status.master.state, status.master.ready, status.master.version
  found.started, found.registrations, found.workers, found.requests = status.master.started, {}, 0, 0
  for i, registration in ipairs(status.registrations) do
    found.registrations[i] = registration.name
    found.workers = found.workers + #registration.workers
    found.requests = found.requests + registration.counters.requests
  end
  return found
end

local function row_of(found)
  local name, pid = text.clean(found.name), tostring(found.pid)
  if found.problem then return { name, pid, "no answer", "", "", "", found.control } end
  local state = found.state == "running" and not found.ready and "not ready" or found.state
  return {
    name, pid, state, tostring(found.workers), tostring(found.requests), text.age(os.time() - found.started),
    text.clean(table.concat(found.registrations, " ")),
  }
end

function ps.run(args)
  local rows = { { "NAME", "PID", "STATE", "WORKERS", "REQUESTS", "UP", "REGISTRATIONS" } }
  for _, entry in ipairs(place.list()) do
    local found = describe(entry)
    if args.json then
      print(require("cjson").encode(found))
    else
      rows[#rows + 1] = row_of(found)
    end
  end
  if args.json then return 0 end
  for _, line in ipairs(text.columns(rows, { true, [3] = true, [7] = true })) do print(line) end
  return 0
end

return ps
