--- Checks option tables: a wrong name or type is an error that says what was meant.
-- @module clua.options

local is_callable = require "clua.callable"
local usage = require "clua.usage"

local options = {}

-- Levenshtein distance of two short words.
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      local best = math.min(row[j] + 1, row[j - 1] + 1, diagonal + cost)
      diagonal, row[j] = row[j], best
    end
  end
  return row[#b]
end

--- The known name that is nearest to a wrong one.
-- @tparam string name
-- @tparam table known table with the known names as keys
-- @treturn string|nil nil when none is near
function options.nearest(name, known)
  local best, best_distance
  local names = {}
  for candidate in pairs(known) do names[#names + 1] = candidate end
  table.sort(names)
  for _, candidate in ipairs(names) do
    local d = distance(name:lower(), candidate:lower())
    if not best or d < best_distance then best, best_distance = candidate, d end
  end
  -- Every short word is near to every other: something of the name must be left.
  if best and best_distance < #name and best_distance <= math.max(2, math.floor(#name / 3)) then return best end
  return nil
end

local function has_type(value, wanted)
  for one in wanted:gmatch("[^|]+") do
    if one == "integer" then
      if type(value) == "number" and value == math.floor(value) then return true end
    elseif one == "callable" then
      if is_callable(value) then return true end
    elseif type(value) == one then
      return true
    end
  end
  return false
end

--- A new table with what was given and, for the rest, the defaults.
function options.complete(given, defaults)
  local all = {}
  for name, value in pairs(defaults) do all[name] = value end
  for name, value in pairs(given or {}) do all[name] = value end
  return all
end

--- Raises an error (at `level`, default the caller's caller) when a name is unknown or a type is wrong.
-- @tparam table|nil given
-- @tparam table known name -> type or types ("number", "integer", "string|function", "callable"); numbers are refused
--   when they are negative or not a number
-- @tparam string where name of the function, for the message
-- @treturn table given, or an empty table
function options.check(given, known, where, level)
  level = level or 2
  if given == nil then return {} end
  if type(given) ~= "table" then usage.fail(level, "%s: options must be a table, got %s", where, type(given)) end
  for name, value in pairs(given) do
    local wanted = known[name]
    if not wanted then
      local near = type(name) == "string" and options.nearest(name, known)
      local hint = near and (", did you mean '" .. near .. "'?") or ""
      usage.fail(level, "%s: unknown option '%s'%s", where, tostring(name), hint)
    end
    if not has_type(value, wanted) then
      usage.fail(level, "%s: option '%s' must be %s, got %s", where, name, (wanted:gsub("|", " or ")), type(value))
    end
    if value == math.huge then usage.fail(level, "%s: option '%s' must be finite, got inf", where, name) end
    if type(value) == "number" and (value ~= value or value < 0) then
      usage.fail(level, "%s: option '%s' must not be negative, got %s", where, name, tostring(value))
    end
  end
  return given
end

return options
