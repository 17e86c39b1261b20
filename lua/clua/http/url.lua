--- URLs of the HTTP client: what RFC 3986 and RFC 9110 §4.2 ask of who sends a request. Pure functions.
-- @module clua.http.url

local url = {}

-- Bytes that may not stand in a URL but often do are encoded; control bytes and spaces are refused.
local function encode(text)
  return (text:gsub("[\128-\255\"<>\\^`{|}]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function authority(text)
  if text:find("@", 1, true) then return nil, "user names in URLs are not taken: send an Authorization header" end
  local host, port = text:match("^%[([%x:.]+)%](.*)$")
  if not host then host, port = text:match("^([^:%[%]]+)(.*)$") end
  local digits = port and port:match("^:?(%d*)$")
  local number = digits and digits ~= "" and tonumber(digits) or 80
  if not digits or number > 65535 then return nil, "no valid host and port: " .. text end
  if host:find("[^%w%-._~%%!$&'()*+,;=:]") then return nil, "no valid host: " .. host end
  return host:lower(), number
end

--- Splits an absolute URL: "http://host:port/path?query" or "unix:/path/of/socket:/path?query".
-- @tparam string text
-- @treturn table|nil `host`, `port`, `socketPath`, `target` (path and query), `origin` (for comparing), `authority`
--   (the value of Host); nil, message, code "EINVAL" or "ENOTSUP" (https)
function url.parse(text)
  if type(text) ~= "string" then return nil, "no URL", "EINVAL" end
  if text:find("[%z\1-\32\127]") then return nil, "a URL must not have spaces or control bytes", "EINVAL" end
  text = text:gsub("#.*$", "")
  local path, target = text:match("^unix:(/[^:]+):?(.*)$")
  if path then
    if target ~= "" and target:sub(1, 1) ~= "/" then return nil, "no valid path: " .. target, "EINVAL" end
    return {
      socketPath = path, host = "localhost", port = 80, authority = "localhost", origin = "unix:" .. path,
      target = encode(target == "" and "/" or target),
    }
  end
  local scheme, rest = text:match("^(%a[%w+.-]*)://(.*)$")
  scheme = scheme and scheme:lower()
  if scheme == "https" then
    return nil, "https is not built into this clua: only http:// URLs can be requested", "ENOTSUP"
  end
  if scheme ~= "http" then return nil, "no http:// URL: " .. text, "EINVAL" end
  local host, port = authority(rest:match("^[^/?]*"))
  if not host then return nil, port, "EINVAL" end
  target = rest:match("^[^/?]*(.*)$")
  if target:sub(1, 1) ~= "/" then target = "/" .. target end
  local shown = host:find(":", 1, true) and "[" .. host .. "]" or host
  local name = port == 80 and shown or shown .. ":" .. port
  return { host = host, port = port, authority = name, origin = "http://" .. name, target = encode(target) }
end

-- RFC 3986 §5.2.4.
local function remove_dots(path)
  local kept = {}
  for segment, slash in path:gmatch("([^/]*)(/?)") do
    if segment == ".." then
      kept[#kept] = nil
      if #kept == 0 then kept[1] = "/" end
    elseif segment ~= "." then
      kept[#kept + 1] = segment .. slash
    end
  end
  return table.concat(kept)
end

--- The URL that a Location means (RFC 9110 §10.2.2).
-- @tparam table base as url.parse() gives it
-- @tparam string location
-- @treturn table|nil as url.parse()
function url.resolve(base, location)
  if location:match("^%a[%w+.-]*:") then
    -- From a redirect, not from the script: no other way into this machine.
    if location:match("^[uU][nN][iI][xX]:") then return nil, "a redirect to a unix socket is not followed", "EINVAL" end
    return url.parse(location)
  end
  if location:sub(1, 2) == "//" then return url.parse("http:" .. location) end
  if location:find("[%z\1-\32\127]") then return nil, "a URL must not have spaces or control bytes", "EINVAL" end
  location = location:gsub("#.*$", "")
  local path, query = base.target:match("^([^?]*)(.*)$")
  local new_path, new_query = location:match("^([^?]*)(.*)$")
  if new_path == "" then
    new_path, new_query = path, new_query ~= "" and new_query or query
  elseif new_path:sub(1, 1) ~= "/" then
    new_path = path:match("^(.*/)") .. new_path
  end
  local found = {}
  for key, value in pairs(base) do found[key] = value end
  found.target = encode(remove_dots(new_path) .. new_query)
  return found
end

return url
