--- What master:status() returns as JSON: { "master": {...}, "registrations": [...] }.
--
-- cjson writes an empty table as an object, so arrays are put together here.
-- @module clua.status.json

local cjson = require "cjson"
local utf8 = require "clua.status.utf8"

local json = {}

-- Strings are as their makers wrote them; numbers that are none have no JSON.
local function clean(value)
  if type(value) == "string" then return utf8.valid(value) end
  if type(value) == "number" and (value ~= value or value == math.huge or value == -math.huge) then
    return cjson.null
  end
  if type(value) ~= "table" then return value end
  local copy = {}
  for key, item in pairs(value) do
    copy[type(key) == "string" and utf8.valid(key) or key] = clean(item)
  end
  return copy
end

-- An object of plain fields and of others whose JSON is known.
local function object(fields, encoded)
  local parts = {}
  for name, text in pairs(encoded) do parts[#parts + 1] = cjson.encode(name) .. ":" .. text end
  table.sort(parts)
  local plain = {}
  for name, value in pairs(fields) do
    if not encoded[name] then plain[name] = value end
  end
  local text = cjson.encode(clean(plain))
  return (next(plain) and text:sub(1, -2) .. "," or "{") .. table.concat(parts, ",") .. "}"
end

local function array(list, encode)
  local parts = {}
  for i, item in ipairs(list) do parts[i] = encode(item) end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function plain(item)
  return cjson.encode(clean(item))
end

local function histogram(figures)
  return object(figures, { buckets = array(figures.buckets, plain) })
end

local function counters(figures)
  return object(figures, {
    queue_time = histogram(figures.queue_time), request_time = histogram(figures.request_time),
    held_time = figures.held_time and histogram(figures.held_time), -- a master that is older than the command has none
    places = array(figures.places, plain),
  })
end

local function registration(entry)
  return object(entry, { counters = counters(entry.counters), workers = array(entry.workers, plain) })
end

--- @tparam table registrations
-- @tparam table itself the two results of master:status()
-- @treturn string one line, without an end
function json.encode(registrations, itself)
  return ('{"master":%s,"registrations":%s}'):format(plain(itself), array(registrations, registration))
end

return json
