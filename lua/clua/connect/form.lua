--- Names and values of forms and queries: "a=1&b[c]=2&d[]=3". Pure functions.
--
-- What comes out is tables without metatables: names such as "__index" are names like any other.
-- @module clua.connect.form

local utf8 = require "clua.connect.utf8"

local form = {}

local function byte(hex) return string.char(tonumber(hex, 16)) end

-- Decodes %XX and "+". nil when malformed, or no UTF-8.
local function decode(text)
  if text:find("+", 1, true) then text = text:gsub("+", " ") end
  if text:find("%", 1, true) then
    if text:gsub("%%%x%x", ""):find("%", 1, true) then return nil end
    text = text:gsub("%%(%x%x)", byte)
  end
  return utf8.is_valid(text) and text or nil
end

-- "a[b][c]" -> { "a", "b", "c" }. What is no such name is one key, as it is.
local function split(name)
  local first, rest = name:match("^([^%[%]]+)(%[.*%])$")
  if not first then return { name } end
  local path, at = { first }, 1
  for start, key, behind in rest:gmatch("()%[([^%[%]]*)%]()") do
    if start ~= at then break end
    path[#path + 1] = key
    at = behind
  end
  return at > #rest and path or { name }
end

-- One list or value more under this key. LIST marks tables that are lists while the form is read.
local function add(into, key, value, lists)
  local old = into[key]
  if old == nil then
    into[key] = value
  elseif type(old) == "table" then
    if not lists[old] then return false end
    old[#old + 1] = value
  else
    local list = { old, value }
    lists[list] = true
    into[key] = list
  end
  return true
end

local function put(root, path, value, lists)
  local into = root
  for i = 1, #path - 1 do
    local key, after = path[i], path[i + 1]
    local child = into[key]
    if after == "" then -- "a[]": a list, whatever the number of its values
      if i + 1 < #path then return false end
      if child == nil then
        child = {}
        lists[child] = true
        into[key] = child
      elseif type(child) ~= "table" then
        child = { child }
        lists[child] = true
        into[key] = child
      end
      if not lists[child] then return false end
      child[#child + 1] = value
      return true
    end
    if child == nil then
      child = {}
      into[key] = child
    end
    if type(child) ~= "table" or lists[child] then return false end
    into = child
  end
  return add(into, path[#path], value, lists)
end

--- Puts one name and value where they belong, for forms that come in parts (multipart).
-- @tparam table root
-- @tparam string name "a", "a[b]", "a[]"
-- @param value
-- @tparam table state `{ depth = n, lists = {} }`, kept for all names of one form
-- @treturn boolean|nil nil, message: too deep, or "a" and "a[b]" contradict each other
function form.put(root, name, value, state)
  local path = state.flat and { name } or split(name)
  if #path > state.depth + 1 then return nil, "a name is nested too deeply" end
  if put(root, path, value, state.lists) then return true end
  return nil, "a name is used in two ways"
end

--- Parses a query or a body.
-- A name that occurs more than once, or ends in "[]", becomes a list; "a[b]" a table within.
-- @tparam string text without "?"
-- @tparam table settings parameters: how many at most; depth: of brackets; nested: whether brackets mean anything
-- @treturn table|nil nil, status, message: 400, or 413 for too many
function form.parse(text, settings)
  local root, count = {}, 0
  local state = { depth = settings.depth, lists = {}, flat = settings.nested == false }
  for pair in text:gmatch("[^&]+") do
    count = count + 1
    if count > settings.parameters then return nil, 413, ("more than %d parameters"):format(settings.parameters) end
    local at = pair:find("=", 1, true)
    local name, value = decode(at and pair:sub(1, at - 1) or pair), decode(at and pair:sub(at + 1) or "")
    if not name or not value then return nil, 400, "malformed % encoding or no UTF-8" end
    local ok, message = form.put(root, name, value, state)
    if not ok then return nil, 400, message end
  end
  return root
end

return form
