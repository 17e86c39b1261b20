--- Cookies (RFC 6265 and its draft successor): res:setCookie(name, value, options), and what req.headers.cookie says.
-- @module clua.http.cookie

local date = require "clua.connect.date"
local options = require "clua.options"
local secure = require "clua.connect.secure"

local cookie = {}

local KNOWN = {
  domain = "string", encode = "boolean", expires = "number", httpOnly = "boolean", maxAge = "number",
  partitioned = "boolean", path = "string", sameSite = "string|boolean", secure = "boolean", signed = "boolean",
}
local PAIR_MAX_BYTES = 4096 -- of name and value, above which browsers ignore a cookie (RFC 6265bis, 5.6)
local SAME_SITE = { strict = "Strict", lax = "Lax", none = "None" }

-- ---- parsing ---------------------------------------------------------------------------------------------------

local function byte(hex) return string.char(tonumber(hex, 16)) end

-- In one pass, whatever the number of blanks: (.-)%s*$ would look at each of them again and again.
local function trim(text)
  return text:match("^%s*(.*%S)") or ""
end

local function decode(value)
  value = value:match('^"(.*)"$') or value
  if not value:find("%", 1, true) then return value end
  return (value:gsub("%%(%x%x)", byte)) -- what is no escape stays: others set cookies too
end

--- Name -> value. Of two with one name the first counts, which is the one with the longer path.
-- @tparam ?string header Cookie
-- @treturn table
function cookie.parse(header)
  local found = {}
  for pair in (header or ""):gmatch("[^;]+") do
    local at = pair:find("=", 1, true)
    local name = at and trim(pair:sub(1, at - 1))
    if at and name ~= "" and found[name] == nil then found[name] = decode(trim(pair:sub(at + 1))) end
  end
  return found
end

-- ---- making ----------------------------------------------------------------------------------------------------

local function encode(value)
  return (value:gsub("[^%w!#$&'()*+./:<=>?@%[%]^_`{|}~-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function check_attribute(where, name, value)
  if value:find("[%c;,\127-\255]") then
    error(("%s: %s may hold no control bytes, ';' or ','"):format(where, name), 0)
  end
end

-- Browsers ignore cookies that break these rules; better to say so.
local function check_rules(where, name, given)
  if given.sameSite == "None" and not given.secure then error(where .. ": sameSite 'None' needs secure = true", 0) end
  if given.partitioned and not given.secure then error(where .. ": partitioned needs secure = true", 0) end
  local lower = name:lower()
  if lower:find("^__secure%-") and not given.secure then error(where .. ": __Secure- needs secure = true", 0) end
  if lower:find("^__host%-") and not (given.secure and given.path == "/" and not given.domain) then
    error(where .. ": __Host- needs secure = true, path = '/' and no domain", 0)
  end
end

local function same_site(where, value)
  if value == false then return nil end
  if value == true then return "Strict" end
  local name = SAME_SITE[value:lower()]
  if not name then error(where .. ": sameSite must be 'Strict', 'Lax', 'None' or a boolean", 0) end
  return name
end

local function attributes(where, name, given)
  local list = {}
  local site = same_site(where, given.sameSite == nil and "Lax" or given.sameSite)
  check_rules(where, name, {
    sameSite = site, secure = given.secure, partitioned = given.partitioned, path = given.path or "/",
    domain = given.domain,
  })
  if given.maxAge then list[#list + 1] = ("Max-Age=%.0f"):format(math.floor(given.maxAge)) end
  if given.domain then
    check_attribute(where, "domain", given.domain)
    if not given.domain:find("^%.?[%w-][%w.-]*$") then error(where .. ": that is no domain", 0) end
    list[#list + 1] = "Domain=" .. given.domain
  end
  local path = given.path or "/"
  check_attribute(where, "path", path)
  if path:sub(1, 1) ~= "/" then error(where .. ": a path begins with '/'", 0) end
  list[#list + 1] = "Path=" .. path
  if given.expires then list[#list + 1] = "Expires=" .. date.format(given.expires) end
  if given.httpOnly ~= false then list[#list + 1] = "HttpOnly" end
  if given.secure then list[#list + 1] = "Secure" end
  if site then list[#list + 1] = "SameSite=" .. site end
  if given.partitioned then list[#list + 1] = "Partitioned" end
  return list
end

--- The value of a Set-Cookie field.
-- @tparam string name a token (RFC 6265, 4.1.1)
-- @tparam string value any bytes; what a cookie cannot hold is sent as %XX
-- @tparam ?table given see cookie.set
-- @treturn string
-- @raise what the field cannot hold, or what browsers would ignore
function cookie.serialize(name, value, given)
  given = given or {}
  local where = ("setCookie '%s'"):format(tostring(name):gsub("%c", "?"))
  if type(name) ~= "string" or not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then
    error(where .. ": that is no name of a cookie", 0)
  end
  if type(value) == "number" then value = tostring(value) end
  if type(value) ~= "string" then error(where .. ": a value is a string, got " .. type(value), 0) end
  if given.encode ~= false then
    value = encode(value)
  elseif value:find('[%c ",;\\\127-\255]') then
    error(where .. ": a value that is not encoded may hold no control bytes, spaces, '\"', ',', ';', '\\'", 0)
  end
  local list = attributes(where, name, given)
  table.insert(list, 1, name .. "=" .. value)
  return table.concat(list, "; ")
end

-- Two lines are for the same cookie when name, domain and path are.
local function identity(line)
  local domain = line:match("; Domain=([^;]*)") or ""
  return line:match("^([^=]*)=") .. ";" .. domain:lower() .. ";" .. (line:match("; Path=([^;]*)") or "")
end

local function append(res, line)
  local old = res:getHeader("Set-Cookie")
  local list, wanted = {}, identity(line)
  for _, other in ipairs(type(old) == "table" and old or { old }) do
    if identity(other) ~= wanted then list[#list + 1] = other end
  end
  list[#list + 1] = line
  res:setHeader("Set-Cookie", list)
  return res
end

--- res:setCookie(name, value [, options]), also res:cookie: adds a Set-Cookie field; one for the same name, domain and
-- path that was set before is replaced.
-- @param res
-- @tparam string name
-- @tparam string value any bytes
-- @tparam[opt] table given options:
-- @tparam[opt="/"] string given.path
-- @tparam[opt] string given.domain with all its subdomains; without it this host alone
-- @tparam[opt] number given.maxAge seconds; 0 removes it. Without it and expires: until the browser is closed
-- @tparam[opt] number given.expires seconds since 1970, for very old clients
-- @tparam[opt=true] boolean given.httpOnly scripts of the page do not see it
-- @tparam[opt=false] boolean given.secure only over https
-- @tparam[opt="Lax"] string|boolean given.sameSite "Strict" (or true), "Lax", "None", false: no such attribute
-- @tparam[opt=false] boolean given.partitioned
-- @tparam[opt=false] boolean given.signed by the first key of connect.cookieParser
-- @tparam[opt=true] boolean given.encode false: the value goes out as it is, and must be fit for that
-- @treturn table res
-- @raise what the field cannot hold, or what browsers would ignore
function cookie.set(res, name, value, given)
  given = options.check(given, KNOWN, "setCookie")
  if given.signed then
    local keys = res._cookie_keys
    if not keys then error("setCookie: signed cookies need connect.cookieParser with keys before", 2) end
    value = "s:" .. secure.sign(keys, "cookie " .. tostring(name), tostring(value))
  end
  local ok, line = pcall(cookie.serialize, name, value, given)
  if not ok then error(line, 2) end
  local bytes = #line:match("^[^;]*") - #"="
  if bytes > PAIR_MAX_BYTES then
    error(("setCookie '%s': name and value have %d bytes as they are sent, and browsers ignore more than %d"):format(
      name, bytes, PAIR_MAX_BYTES), 2)
  end
  return append(res, line)
end

--- res:clearCookie(name [, options]): has the browser forget it. Path and domain as they were set.
-- @treturn table res
function cookie.clear(res, name, given)
  given = options.check(given, KNOWN, "clearCookie")
  local all = {}
  for key, option in pairs(given) do all[key] = option end
  all.maxAge, all.expires, all.signed = 0, 0, nil
  local ok, line = pcall(cookie.serialize, name, "", all)
  if not ok then error(line, 2) end
  return append(res, line)
end

return cookie
