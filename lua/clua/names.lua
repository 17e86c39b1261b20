--- Names of registrations: where workers of a registration take their connections from.
-- @module clua.names

local names = {}

local function port_number(text)
  local port = tonumber(text)
  if port and port == math.floor(port) and port >= 0 and port <= 65535 then return port end
  return nil, ("'%s' is not a port (0 to 65535)"):format(tostring(text))
end

local function one(name)
  if type(name) == "number" then
    local port, message = port_number(name)
    if not port then return nil, message end
    return { { host = "", port = port } }
  end
  if type(name) ~= "string" or name == "" then
    return nil, "a name is a port, an array of ports, 'host:port', '[v6]:port', a socket path or a word, not "
      .. (name == "" and "an empty string" or type(name))
  end
  local path = name:match("^unix:(.+)$") or name:match("^%.?%.?/.+$")
  if path then return { { path = path } } end
  if name:match("^%d+$") then return one(tonumber(name)) end
  local host, text = name:match("^%[([%x:.]+)%]:(%d+)$")
  if not host then host, text = name:match("^([^:%[%]]+):(%d+)$") end
  if host then
    local port, message = port_number(text)
    if not port then return nil, message end
    return { { host = host, port = port } }
  end
  if name:match("^[%a_][%w_.%-]*$") then return {} end
  return nil, ("'%s' is no port, 'host:port', '[v6]:port', socket path or plain word"):format(name)
end

-- Two sockets cannot have one address; of port 0 each gets another one.
local function is_same(a, b)
  return a.host == b.host and a.port == b.port and a.path == b.path and a.port ~= 0
end

--- Parses a name.
-- @tparam number|string|table name a port, "host:port", "[::1]:port", "unix:/path", "/path" or "./path", an array of
--   these, or a plain word: workers that listen on nothing
-- @treturn table|nil array of {host =, port =} or {path =}; nil, message
-- @treturn string the registration's name as text
function names.parse(name)
  if type(name) ~= "table" then
    local specs, message = one(name)
    if not specs then return nil, message end
    return specs, tostring(name)
  end
  if #name == 0 then return nil, "an array of ports must not be empty" end
  local all, texts = {}, {}
  for i, part in ipairs(name) do
    local specs, message = one(part)
    if not specs then return nil, message end
    if #specs == 0 then return nil, ("'%s' in an array is no address"):format(tostring(part)) end
    for _, other in ipairs(all) do
      if is_same(other, specs[1]) then return nil, ("'%s' stands twice in the array"):format(tostring(part)) end
    end
    all[#all + 1], texts[i] = specs[1], tostring(part)
  end
  return all, table.concat(texts, ",")
end

return names
