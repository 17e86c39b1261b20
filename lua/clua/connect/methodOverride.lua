--- A method for clients that can only POST: HTML forms, old proxies.
-- @module clua.connect.methodOverride

local field = require "clua.connect.field"
local options = require "clua.options"
local vary = require "clua.connect.vary"

local NAME = "methodOverride(options)"
local KNOWN = { header = "string|boolean", query = "string", body = "string", methods = "table" }

-- One parameter of a query string, undecoded: no method needs an escape.
local function query_value(url, name)
  local query = url:match("%?([^#]*)")
  for pair in (query or ""):gmatch("[^&]+") do
    local key, value = pair:match("^([^=]*)=(.*)$")
    if key == name then return value end
  end
end

--- Makes the middleware: a POST that names another method is taken for that. Only the methods listed, and only from
-- where you say: what a link or a form of another site can set is a way around its protection (csrf stands before).
-- `req.originalMethod` is what was sent. A method that is not listed is next{ status = 400 }.
-- @tparam[opt] table given options:
-- @tparam[opt="X-HTTP-Method-Override"] string|false given.header field that names the method
-- @tparam[opt] string given.query parameter of the query that names it, such as "_method"
-- @tparam[opt] string given.body field of the parsed body (urlencoded, multipart, json before this one)
-- @tparam[opt={"PUT","PATCH","DELETE"}] table given.methods
-- @treturn function(req, res, next)
-- @raise an unknown option, a header that could not be sent
return function(given)
  given = options.check(given, KNOWN, NAME)
  local header = given.header
  if header == nil or header == true then header = "X-HTTP-Method-Override" end
  if header then field.name(NAME, "header", header) end
  local allowed = {}
  for _, method in ipairs(given.methods or { "PUT", "PATCH", "DELETE" }) do allowed[method:upper()] = true end
  return function(req, res, next)
    req.originalMethod = req.originalMethod or req.method
    if req.method ~= "POST" then return next() end
    local method
    if header then
      vary(res, header)
      method = req.headers[header:lower()]
    end
    if not method and given.query then method = query_value(req.url, given.query) end
    if not method and given.body and type(req.body) == "table" then method = req.body[given.body] end
    if not method then return next() end
    method = tostring(method):upper()
    if method ~= "POST" then
      if not allowed[method] then return next { status = 400, message = "the method cannot be overridden so" } end
      req.method = method
    end
    return next()
  end
end
