--- What master:status() returns in the text format of Prometheus, version 0.0.4.
-- @module clua.admin.metrics

local utf8 = require "clua.status.utf8"

local metrics = {}

metrics.content_type = "text/plain; version=0.0.4; charset=utf-8"

-- Of the bounds of a histogram every power of two of a microsecond is shown: 16 us to 67 s.
local FIRST_POWER, LAST_POWER = 4, 26

--- A number as the format wants it.
function metrics.number(value)
  if value ~= value then return "NaN" end
  if value == math.huge then return "+Inf" end
  if value == -math.huge then return "-Inf" end
  if value == math.floor(value) and math.abs(value) < 2 ^ 53 then return ("%d"):format(value) end
  local short = ("%.15g"):format(value)
  return tonumber(short) == value and short or ("%.17g"):format(value)
end

--- A metric name of any text.
function metrics.name(text)
  return (text:gsub("[^%w_]", "_"))
end

--- A label's value, between its quotes.
function metrics.escape(text)
  return (utf8.valid(text):gsub("[\\\"\n]", { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }))
end

--- The number that a monset value is, as tostring() writes it or a person would; nil when it is none.
function metrics.parse(text)
  if text == "inf" then return math.huge end
  if text == "-inf" then return -math.huge end
  if text == "nan" or text == "-nan" then return 0 / 0 end
  local digits = text:match("^[+-]?([%d.]+)$") or text:match("^[+-]?([%d.]+)[eE][+-]?%d+$")
  if not digits or not digits:find("%d") then return nil end
  return tonumber(text)
end

-- ---- families -----------------------------------------------------------------------------------------------------

local Page = {}
Page.__index = Page

-- All samples of a name stand together, behind its type.
function Page:family(name, kind, help)
  local family = self.by_name[name]
  if not family then
    family = { ("# HELP %s %s\n# TYPE %s %s"):format(name, help, name, kind) }
    self.by_name[name] = family
    self.families[#self.families + 1] = family
  end
  return family
end

local function add(family, name, labels, value)
  local parts = {}
  for i = 1, #labels, 2 do parts[#parts + 1] = ('%s="%s"'):format(labels[i], metrics.escape(labels[i + 1])) end
  local text = #parts > 0 and "{" .. table.concat(parts, ",") .. "}" or ""
  family[#family + 1] = ("%s%s %s"):format(name, text, metrics.number(value))
end

function Page:add(name, kind, help, labels, value)
  add(self:family(name, kind, help), name, labels, value)
end

local function with(labels, ...)
  local all = { unpack(labels) }
  for _, value in ipairs { ... } do all[#all + 1] = value end
  return all
end

function Page:histogram(name, help, labels, histogram)
  local family = self:family(name, "histogram", help)
  local at, sum = 1, 0
  for power = FIRST_POWER, LAST_POWER do
    local bound = 2 ^ power / 1e6
    while histogram.buckets[at] and histogram.buckets[at][1] <= bound do
      sum = sum + histogram.buckets[at][2]
      at = at + 1
    end
    add(family, name .. "_bucket", with(labels, "le", metrics.number(bound)), sum)
  end
  add(family, name .. "_bucket", with(labels, "le", "+Inf"), histogram.count)
  add(family, name .. "_sum", labels, histogram.sum)
  add(family, name .. "_count", labels, histogram.count)
end

local function sorted(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return ipairs(keys)
end

-- ---- what is shown ------------------------------------------------------------------------------------------------

local function add_master(page, itself)
  page:add("clua_build_info", "gauge", "What runs; always 1.",
    { "version", itself.version, "luajit", itself.luajit, "libuv", itself.libuv }, 1)
  page:add("clua_ready", "gauge", "1 when clients should come.", {}, itself.ready and 1 or 0)
  page:add("clua_master_start_time_seconds", "gauge", "When the master started; an upgrade is no start.", {},
    itself.started)
  page:add("clua_master_upgrades_total", "counter", "Upgrades in place.", {}, itself.generation)
  page:add("clua_master_open_fds", "gauge", "Descriptors that the master has open.", {}, itself.fds)
  page:add("clua_master_max_fds", "gauge", "Descriptors that the master may have open, 0 for no limit.", {},
    itself.max_fds)
  page:add("clua_master_resident_memory_bytes", "gauge", "Resident memory of the master.", {}, itself.rss)
  page:add("clua_master_lua_heap_bytes", "gauge", "Lua heap of the master.", {}, itself.lua_heap)
  page:add("clua_master_cpu_seconds_total", "counter", "Processor time of the master.", {}, itself.cpu)
  page:add("clua_master_loop_lag_seconds", "gauge", "Longest turn of the master's loop in the last seconds.", {},
    itself.loop_lag)
end

local counted = {
  { "accepted", "clua_connections_accepted_total", "Connections accepted." },
  { "turned_away", "clua_connections_turned_away_total", "Connections that no worker could take." },
  { "lost", "clua_connections_lost_total", "Connections whose worker died before it answered; they were told." },
  { "broken", "clua_connections_broken_total", "Connections closed since their worker died." },
  { "stolen", "clua_connections_stolen_total", "Connections taken from a stuck worker and lent to another." },
  { "requests", "clua_requests_total", "Requests begun." },
  { "held", "clua_requests_held_total", "Slow requests that waited, so that a worker stayed free for others." },
  { "starts", "clua_worker_starts_total", "Workers started." },
}

local function add_registration(page, entry)
  local labels, counters = { "registration", entry.name }, entry.counters
  page:add("clua_registration_ready", "gauge", "1 when clients should come.", labels, entry.ready and 1 or 0)
  page:add("clua_workers_wanted", "gauge", "Workers that there should be.", labels, entry.wanted)
  for _, one in ipairs(counted) do page:add(one[2], "counter", one[3], labels, counters[one[1]]) end
  page:add("clua_connections_waiting", "gauge", "Connections in the lobby that wait for a worker.", labels,
    counters.waiting)
  page:add("clua_connections_parked", "gauge", "Connections in the lobby between two requests.", labels,
    counters.parked)
  for _, class in sorted(counters.responses) do
    page:add("clua_responses_total", "counter", "Answers of the HTTP server.", with(labels, "class", class),
      counters.responses[class])
  end
  for _, cause in sorted(entry.exits) do
    page:add("clua_worker_exits_total", "counter", "Workers that have ended.", with(labels, "cause", cause),
      entry.exits[cause])
  end
  page:histogram("clua_queue_seconds", "How long connections waited for a worker.", labels, counters.queue_time)
  page:histogram("clua_request_seconds", "From the call of an HTTP handler to the end of its answer.", labels,
    counters.request_time)
  page:histogram("clua_held_seconds", "How long slow requests were held, so that a worker stayed free for others.",
    labels, counters.held_time)
end

local function add_states(page, entry)
  local counts = { starting = 0, ready = 0, draining = 0, exiting = 0, killed = 0 }
  for _, worker in ipairs(entry.workers) do counts[worker.state] = (counts[worker.state] or 0) + 1 end
  for _, state in sorted(counts) do
    page:add("clua_workers", "gauge", "Worker processes.", { "registration", entry.name, "state", state },
      counts[state])
  end
end

local ranks = { ready = 3, starting = 2, draining = 1 }

-- While a place changes its worker there are two processes of one id; shown is the one that serves.
local function serving(workers)
  local by_id = {}
  for _, worker in ipairs(workers) do
    local other = by_id[worker.id]
    local rank, other_rank = ranks[worker.state] or 0, other and (ranks[other.state] or 0)
    if not other or rank > other_rank or (rank == other_rank and worker.serial > other.serial) then
      by_id[worker.id] = worker
    end
  end
  return by_id
end

local gauges = {
  { "remain", "clua_worker_requests_active", "Requests in execution." },
  { "loans", "clua_worker_connections", "Connections that the worker has." },
  { "rss", "clua_worker_resident_memory_bytes", "Resident memory." },
  { "lua_heap", "clua_worker_lua_heap_bytes", "Lua heap." },
  { "loop_lag", "clua_worker_loop_lag_seconds", "Longest turn of the loop in the last second." },
  { "age", "clua_worker_age_seconds", "Time since the process was started." },
}

-- A key that is no metric name stands in a label, too; of those that differ only in what is no UTF-8 one is shown.
local function add_values(page, labels, values)
  local shown = {}
  for _, key in sorted(values) do
    local value, valid = metrics.parse(values[key]), utf8.valid(key)
    if value and not shown[valid] then
      shown[valid] = true
      local name = metrics.name(key)
      page:add("clua_value_" .. name, "gauge", "Set by worker:monset().",
        name == key and labels or with(labels, "key", valid), value)
    end
  end
end

local function add_workers(page, entry)
  local by_id = serving(entry.workers)
  for id, place in ipairs(entry.counters.places) do
    local labels = { "registration", entry.name, "worker", tostring(id) }
    page:add("clua_worker_requests_total", "counter", "Requests begun, by all workers that had this place.", labels,
      place.requests)
    page:add("clua_worker_cpu_seconds_total", "counter", "Processor time of all workers that had this place.", labels,
      place.cpu)
  end
  for _, id in sorted(by_id) do
    local worker = by_id[id]
    local labels = { "registration", entry.name, "worker", tostring(worker.id) }
    for _, one in ipairs(gauges) do page:add(one[2], "gauge", one[3], labels, worker[one[1]]) end
    page:add("clua_worker_stuck", "gauge", "1 when the loop does not turn.", labels, worker.stuck and 1 or 0)
    add_values(page, labels, worker.values)
  end
end

--- @tparam table registrations
-- @tparam table itself the two results of master:status()
-- @treturn string the page
function metrics.format(registrations, itself)
  local page = setmetatable({ families = {}, by_name = {} }, Page)
  add_master(page, itself)
  for _, entry in ipairs(registrations) do
    add_registration(page, entry)
    add_states(page, entry)
    add_workers(page, entry)
  end
  local texts = {}
  for i, family in ipairs(page.families) do texts[i] = table.concat(family, "\n") end
  return table.concat(texts, "\n") .. "\n"
end

return metrics
