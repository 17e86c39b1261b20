--- What dead workers were executing: told in the log, and, with the option `quarantine`, refused when it goes on
-- killing. The master parses nothing: workers publish the lines, workers refuse them.
-- @module clua.blame

local core = require "clua.core.master"
local host = require "clua.core.host"
local Quarantine = require "clua.quarantine"

local blame = {}

local SHOWN_MAX = 4 -- lines in a message
local RETRY_DELAY = 1 -- seconds, for a worker that does not read its channel

--- For the log: "executing "GET /a", "GET /b" and 3 more", or nil when there was nothing.
-- @tparam table executing array of { line, len, running }
function blame.describe(executing)
  local shown = {}
  for i = 1, math.min(#executing, SHOWN_MAX) do
    shown[i] = Quarantine.show(executing[i].line, executing[i].len)
  end
  if #shown == 0 then return nil end
  local more = #executing - #shown
  return "executing " .. table.concat(shown, ", ") .. (more > 0 and (" and %d more"):format(more) or "")
end

local function tell(master, registration, serial, entry)
  local left = entry.till - master.now()
  local worker = registration.supervisor.workers[serial]
  if left <= 0 or not worker then return end
  local ok, message, code = core.quarantine(serial, entry.line, entry.len, left)
  if ok then return end
  if code == "EAGAIN" then
    master.after(RETRY_DELAY, function() tell(master, registration, serial, entry) end)
  elseif code ~= "EPIPE" then -- that one is about to be reaped
    host.log("warn", ("cannot tell worker %d of %s what to refuse: %s"):format(worker.id, registration.name, message))
  end
end

--- A worker has become ready: it refuses what the others refuse.
function blame.on_ready(master, registration, serial)
  for _, entry in ipairs(registration.quarantine:active(master.now())) do
    tell(master, registration, serial, entry)
  end
end

--- A worker that was not told to go has died.
-- @tparam table master { now(), after(seconds, fn), emit(event, ...) }
function blame.on_death(master, registration, executing)
  local entry = registration.quarantine:died(master.now(), executing)
  if not entry then return end
  local duration = registration.quarantine.duration
  local shown = Quarantine.show(entry.line, entry.len)
  host.log("error", ("quarantine: %s has killed workers of %s again and again: refused for %.3g s"):format(shown,
    registration.name, duration))
  for serial in pairs(registration.supervisor.workers) do tell(master, registration, serial, entry) end
  master.emit("quarantine", registration.name, entry.line, duration)
end

return blame
