--- What `clua top` shows: two samples of a cluster's status become lines of text. Pure, so that it is tested without a
-- terminal.
-- @module clua.control.top

local text = require "clua.control.text"

local top = {}

local HISTORY = 60 -- samples of the sparkline
local BARS = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" }
local PLAIN_BARS = { ".", ":", "-", "=", "+", "*", "#", "@" }

--- Keys that sort, the column that they sort by, and how a row is measured. Largest first, but for ids.
top.sorts = {
  { key = "i", column = "ID" },
  { key = "r", column = "REMAIN", by = function(row) return row.remain end },
  { key = "s", column = "REQ/S", by = function(row) return row.rate end },
  { key = "l", column = "LAG", by = function(row) return row.loop_lag end },
  { key = "m", column = "RSS", by = function(row) return row.rss end },
  { key = "c", column = "CPU", by = function(row) return row.cpu end },
}

-- A counter's growth in a second; a worker that was not there before has none yet.
local function rate(now, before, seconds)
  if not before or seconds <= 0 or now < before then return 0 end
  return (now - before) / seconds
end

local function workers_of(sample)
  local by_pid = {}
  for _, registration in ipairs(sample.status.registrations) do
    for _, worker in ipairs(registration.workers) do by_pid[worker.pid] = worker end
  end
  return by_pid
end

local function sum(sample, field)
  local total = 0
  for _, registration in ipairs(sample.status.registrations) do total = total + registration.counters[field] end
  return total
end

--- The rows of the table.
-- @tparam table now sample: { at = seconds, status = result of the request "status" }
-- @tparam table before the one before it
function top.rows(now, before)
  local seconds, known, rows = now.at - before.at, workers_of(before), {}
  for position, registration in ipairs(now.status.registrations) do
    for _, worker in ipairs(registration.workers) do
      local was = known[worker.pid] or {}
      rows[#rows + 1] = {
        position = position, registration = registration.name, id = worker.id, pid = worker.pid,
        state = worker.stuck and "stuck" or worker.state, remain = worker.remain, loop_lag = worker.loop_lag,
        rss = worker.rss, lua_heap = worker.lua_heap, age = worker.age,
        rate = rate(worker.scores, was.scores, seconds), cpu = rate(worker.cpu, was.cpu, seconds),
      }
    end
  end
  return rows
end

local function in_order(a, b)
  if a.position ~= b.position then return a.position < b.position end
  if a.id ~= b.id then return a.id < b.id end
  return a.pid < b.pid
end

--- Sorts rows.
-- @tparam string key of top.sorts
function top.sort(rows, key)
  local by
  for _, sort in ipairs(top.sorts) do
    if sort.key == key then by = sort.by end
  end
  table.sort(rows, function(a, b)
    local x, y = by and by(a), by and by(b)
    if x ~= y then return x > y end
    return in_order(a, b)
  end)
end

--- The last values as a line of bars, the highest of them being full.
function top.sparkline(values, utf8)
  local bars, highest, line = utf8 and BARS or PLAIN_BARS, 0, {}
  for _, value in ipairs(values) do highest = math.max(highest, value) end
  for i, value in ipairs(values) do
    line[i] = bars[highest > 0 and math.max(1, math.ceil(value / highest * #bars)) or 1]
  end
  return table.concat(line)
end

--- Adds the rate of the newest sample to the history.
-- @treturn number requests in a second
function top.remember(history, now, before)
  local current = rate(sum(now, "requests"), sum(before, "requests"), now.at - before.at)
  history[#history + 1] = current
  if #history > HISTORY then table.remove(history, 1) end
  return current
end

local function head(now, before, history, options)
  local master = now.status.master
  local was = before.status.master
  return {
    ("%s, pid %d: %s%s, up %s, clua %s"):format(text.clean(master.name), master.pid, master.state,
      master.state == "running" and not master.ready and " (not ready)" or "", text.age(os.time() - master.started),
      master.version),
    ("requests/s %.1f  %s"):format(history[#history] or 0, top.sparkline(history, options.utf8)),
    ("lobby: %d waiting, %d parked   master: lag %s, rss %s, cpu %.0f %%, %d of %d descriptors"):format(
      sum(now, "waiting"), sum(now, "parked"), text.duration(master.loop_lag), text.bytes(master.rss),
      100 * rate(master.cpu, was.cpu, now.at - before.at), master.fds, master.max_fds),
    "",
  }
end

local function heading(key)
  local names = { "REGISTRATION", "ID", "PID", "STATE", "REMAIN", "REQ/S", "LAG", "RSS", "LUA", "CPU", "AGE" }
  for _, sort in ipairs(top.sorts) do
    for i, name in ipairs(names) do
      if sort.key == key and sort.column == name then names[i] = name .. "*" end
    end
  end
  return names
end

-- To a width in characters; a character of several bytes is never cut.
local function cut(line, width)
  local count, at = 0, 1
  while at <= #line do
    local byte = line:byte(at)
    local size = byte < 0x80 and 1 or byte < 0xe0 and 2 or byte < 0xf0 and 3 or 4
    count = count + 1
    if count > width then return line:sub(1, at - 1) end
    at = at + size
  end
  return line
end

--- The lines to show.
-- @tparam table options `sort` (a key), `utf8`; `width` and `height` of a terminal, both or neither
-- @treturn table array of strings
-- @treturn number which of them is the heading
function top.lines(now, before, history, options)
  local lines = head(now, before, history, options)
  local rows = top.rows(now, before)
  top.sort(rows, options.sort)
  local cells = { heading(options.sort) }
  for _, row in ipairs(rows) do
    cells[#cells + 1] = {
      text.clean(row.registration), tostring(row.id), tostring(row.pid), row.state, tostring(row.remain),
      ("%.1f"):format(row.rate), text.duration(row.loop_lag), text.bytes(row.rss), text.bytes(row.lua_heap),
      ("%.0f %%"):format(row.cpu * 100), text.age(row.age),
    }
  end
  local heading_at = #lines + 1
  for _, line in ipairs(text.columns(cells, { true, [4] = true })) do lines[#lines + 1] = line end
  if not options.width then return lines, heading_at end
  local hidden = #lines - (options.height - 1)
  while #lines > options.height - 1 do lines[#lines] = nil end
  lines[#lines + 1] = ("q quit; sort by i id, r remain, s requests/s, l lag, m memory, c cpu%s"):format(
    hidden > 0 and ("; %d lines more"):format(hidden) or "")
  for i, line in ipairs(lines) do lines[i] = cut(line, options.width) end
  return lines, heading_at
end

return top
