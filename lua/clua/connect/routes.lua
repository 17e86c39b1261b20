--- The routes of a router as a tree of path segments: finding one takes steps by the length of the path, not by the
-- number of routes.
--
-- At each segment a literal goes before a parameter, that before a wildcard, that before a mount; what leads nowhere is
-- taken back, so `/users/new` and `/users/:id/posts` may stand side by side. A route that has the path but not the
-- method does not end the search: POST /users/new leaves GET /users/new to /users/:id.
-- @module clua.connect.routes

local path = require "clua.connect.path"

local SLASH = ("/"):byte()

local Routes = {}
Routes.__index = Routes

local function new_node()
  return { literals = {} }
end

--- An empty tree.
function Routes.new()
  return setmetatable({ root = new_node() }, Routes)
end

-- ---- adding ----------------------------------------------------------------------------------------------------

-- Kind and name (or text) of one segment of a pattern; nil and what is wrong.
local function parse_segment(segment)
  local mark = segment:sub(1, 1)
  if mark ~= ":" and mark ~= "*" then
    if segment == "." or segment == ".." then return nil, ("no request ever has the segment '%s'"):format(segment) end
    return "literal", segment
  end
  local name = segment:sub(2)
  if mark == "*" and name == "" then return "wildcard", "*" end
  if not name:find("^[%a_][%w_]*$") then
    return nil, ("'%s' is no name of a parameter: letters, digits and _, up to the next slash"):format(segment)
  end
  return mark == ":" and "parameter" or "wildcard", name
end

-- Walks to the node of a pattern and makes what is missing. Returns the node, the names of its parameters, and whether
-- it ends in a wildcard; nil and what is wrong.
local function reach(root, pattern)
  if pattern:sub(1, 1) ~= "/" then return nil, "a path begins with '/'" end
  local node, names, seen, wildcard = root, {}, {}, false
  for segment in pattern:gmatch("[^/]+") do
    local kind, name = parse_segment(segment)
    if not kind then return nil, name end
    if wildcard then return nil, "a wildcard is the last segment" end
    if kind == "literal" then
      node.literals[name] = node.literals[name] or new_node()
      node = node.literals[name]
    else
      if seen[name] then return nil, ("the parameter '%s' occurs twice"):format(name) end
      seen[name] = true
      names[#names + 1] = name
      if kind == "parameter" then
        node.parameter = node.parameter or new_node()
        node = node.parameter
      else
        wildcard = true
      end
    end
  end
  return node, names, wildcard
end

--- Adds a route.
-- @tparam string method in upper case; "*": any that has no route of its own; "mount": whatever begins with the path
-- @tparam string pattern such as "/users/:id/files/*path", literals decoded
-- @param value what find() returns
-- @tparam string where of the script, for the message of a conflict
-- @treturn boolean|nil nil, message: malformed pattern, or the same route twice
function Routes:add(method, pattern, value, where)
  local node, names, wildcard = reach(self.root, pattern)
  if not node then return nil, ("%s: %s"):format(pattern, names) end
  local place = wildcard and "wildcard" or method == "mount" and "mount" or "leaf"
  if wildcard and method == "mount" then return nil, pattern .. ": a mount takes all below its path anyway" end
  node[place] = node[place] or {}
  local before = node[place][method]
  if before then
    return nil, ("%s at %s and %s at %s are the same route"):format(pattern, where, before.pattern, before.where)
  end
  node[place][method] = { value = value, names = names, pattern = pattern, where = where }
  return true
end

-- ---- finding ---------------------------------------------------------------------------------------------------

-- A value that would lead out of a directory when somebody makes a file name of it.
local function climbs(text)
  if not text:find("..", 1, true) then return false end
  for piece in text:gmatch("[^/\\]+") do
    if piece == ".." then return true end
  end
  return false
end

-- As below, for a path in which nothing is encoded and no segment is made of dots.
local function split_plain(raw)
  local segments, starts, count, at = {}, {}, 0, 1
  while true do
    local first = at
    while raw:byte(first) == SLASH do first = first + 1 end
    if first > #raw then return segments, starts end
    local slash = raw:find("/", first, true) or #raw + 1
    count = count + 1
    segments[count], starts[count] = raw:sub(first, slash - 1), at
    at = slash
  end
end

-- Segments, decoded once, and where each begins (its slash) in the raw path, which begins with one; nil when the path
-- is malformed.
local function split(raw)
  local is_plain = not raw:find("%", 1, true) and not raw:find("..", 1, true) and not raw:find("/.", 1, true)
  if is_plain then return split_plain(raw) end
  local segments, starts = {}, {}
  for at, encoded in raw:gmatch("()/+([^/]+)") do
    local segment = path.decode(encoded)
    if not segment or segment == "." or segment:find("%z") or climbs(segment) then return nil end
    segments[#segments + 1], starts[#starts + 1] = segment, at
  end
  return segments, starts
end

local function note_methods(allowed, methods)
  for method in pairs(methods) do
    if method ~= "*" then allowed[method] = true end
    if method == "GET" then allowed.HEAD = true end
  end
end

-- Takes the route of the method, if there is one.
local function take(search, methods)
  local method = search.method
  local entry = methods[method] or method == "HEAD" and methods.GET or methods["*"]
  search.found = entry
  if entry then return true end
  search.allowed = search.allowed or {}
  note_methods(search.allowed, methods)
  return false
end

local function note_value(search, n, value)
  if not search.values then search.values = {} end
  search.values[n] = value
end

-- An encoded slash is a part of a parameter; in the rest of a path it could not be told from a real one.
local function take_rest(search, methods, i)
  local rest = {}
  for k = i, #search.segments do
    if search.segments[k]:find("[/\\]") then
      search.malformed = true
      return false
    end
    rest[#rest + 1] = search.segments[k]
  end
  if not take(search, methods) then return false end
  note_value(search, search.depth + 1, table.concat(rest, "/"))
  return true
end

local function walk(search, node, i)
  search.steps = search.steps + 1
  local segment = search.segments[i]
  if segment then
    local literal = node.literals[segment]
    if literal and walk(search, literal, i + 1) then return true end
    if node.parameter then
      search.depth = search.depth + 1
      note_value(search, search.depth, segment)
      if walk(search, node.parameter, i + 1) then return true end
      search.depth = search.depth - 1
    end
  elseif node.leaf and take(search, node.leaf) then
    return true
  end
  if node.wildcard and (segment or search.slash) and take_rest(search, node.wildcard, i) then return true end
  if not node.mount then return false end
  search.found, search.rest = node.mount.mount, search.starts[i] or #search.raw + (search.slash and 0 or 1)
  return true
end

-- Constants, so that the table is made at its full size: see new_chain in clua.connect.
local function new_search()
  return {
    method = false, raw = false, slash = false, segments = false, starts = false, depth = 0, steps = 0,
    values = false, found = false, rest = false, allowed = false, malformed = false,
  }
end

--- Finds the route of a request.
-- @tparam string method
-- @tparam string raw the path as sent, still encoded
-- @treturn table `malformed` when the path can be no route's; else `found` (`value`, `names`, `pattern`, `where`),
-- `values` (of the parameters, decoded once), `rest` (where what lies below a mount begins in raw), `allowed` (set of
-- the methods that the path has), each false when there is none; `steps` (nodes visited)
function Routes:find(method, raw)
  local search = new_search()
  search.method, search.raw, search.slash = method, raw, raw:byte(-1) == SLASH
  search.segments, search.starts = split(raw)
  if not search.segments then
    search.malformed = true
    return search
  end
  walk(search, self.root, 1)
  if search.found then search.malformed = false end
  return search
end

return Routes
