--- Short forms of answers: res:json, res:type, res:redirect.
-- @module clua.http.answer

local mime = require "clua.mime"
local options = require "clua.options"

local answer = {}

--- Answers with a value as JSON.
-- @param res
-- @param value what lua-cjson can encode; cjson.null for null
-- @tparam[opt] number status default: res.statusCode as it is
-- @treturn boolean|nil true; nil, message, code when the client has gone
-- @raise a value that JSON does not have (function, NaN, a table that is list and object)
function answer.json(res, value, status)
  local ok, text = pcall(require("cjson").encode, value)
  if not ok then error("json: " .. tostring(text), 2) end
  if status then res.statusCode = status end
  if not res:getHeader("Content-Type") then res:setHeader("Content-Type", "application/json") end
  return res:finish(text)
end

--- Sets Content-Type: res:type "html", res:type "text/csv".
-- @param res
-- @tparam string name an extension with or without its dot, or a type
-- @return res
function answer.type(res, name)
  if type(name) ~= "string" then error("type: an extension or a type is expected, got " .. type(name), 2) end
  res:setHeader("Content-Type", name:find("/", 1, true) and name or mime.type("x." .. name:gsub("^%.", "")))
  return res
end

-- ---- redirect --------------------------------------------------------------------------------------------------

local REDIRECT_KNOWN = { status = "integer", external = "boolean|table" }
local REDIRECT_STATUS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

local Refusal = { __tostring = function(self) return self.message end }

local function refuse(url, why)
  error(setmetatable({ status = 400, code = "EACCES", message = ("redirect to %q refused: %s"):format(url, why) },
    Refusal), 0)
end

local function escape(byte)
  return ("%%%02X"):format(byte:byte())
end

-- Browsers drop tabs and line ends inside of a URL and take a backslash for a slash: none of them may stay to be
-- misread, here or there.
local function check_url(url, external)
  if url == "" then refuse(url, "it is empty") end
  if url:find("[%c%s\\]") then refuse(url, "it has spaces, control characters or backslashes") end
  local scheme = url:match("^(%a[%w+.-]*):")
  if not scheme and url:sub(1, 2) ~= "//" then
    if url:find("^[^/?#]*:") then refuse(url, "it looks like a scheme") end
    return
  end
  local origin, host = url:match("^(%a[%w+.-]*://([^/?#]*))")
  if not origin or host == "" or host:find("@", 1, true) or not (scheme:lower() == "http" or scheme:lower() == "https")
  then
    refuse(url, "neither a path of this site nor a plain http or https URL")
  end
  if external == true then return end
  for _, allowed in ipairs(external or {}) do
    if allowed:lower():gsub("/$", "") == origin:lower() then return end
  end
  refuse(url, "it leaves this site")
end

--- Answers with a redirect. Only to this site, unless told otherwise: a URL that came with the request must not send
-- the client where an attacker wants it.
-- @param res
-- @tparam string url a path, a relative URL; an absolute one with `external`
-- @tparam[opt] number|table given the status, or options: status (302; 301, 303, 307, 308), external (false; true: any
-- http or https URL; a list of origins: those)
-- @treturn boolean|nil true; nil, message, code when the client has gone
-- @raise a refused URL: a table with status 400, which clua.connect answers by 400
function answer.redirect(res, url, given)
  if type(url) ~= "string" then error("redirect: url must be a string, got " .. type(url), 2) end
  if type(given) == "number" then given = { status = given } end
  given = options.check(given, REDIRECT_KNOWN, "redirect")
  local status = given.status or 302
  if not REDIRECT_STATUS[status] then error("redirect: the status is 301, 302, 303, 307 or 308, got " .. status, 2) end
  check_url(url, given.external)
  local location = url:gsub('["<>^`{|}\128-\255]', escape)
  res.statusCode = status
  res:setHeader("Location", location)
  res:setHeader("Content-Type", "text/plain; charset=utf-8")
  return res:finish("See " .. location .. "\n")
end

return answer
