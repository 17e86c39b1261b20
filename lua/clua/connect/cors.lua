--- Lets scripts of other sites read answers (Fetch standard, "CORS protocol").
-- @module clua.connect.cors

local options = require "clua.options"
local usage = require "clua.usage"
local vary = require "clua.connect.vary"

local NAME = "cors(options)"
local KNOWN = {
  origin = "string|table|function", methods = "table", allowedHeaders = "table", exposedHeaders = "table",
  credentials = "boolean", max_age = "number",
}

-- A function that says which Access-Control-Allow-Origin a request gets, nil for none; and whether that depends on it.
local function judge_of(origin)
  if origin == nil or origin == "*" then return function() return "*" end, false end
  if type(origin) == "function" then
    return function(sent, req)
      local answer = sent and origin(sent, req)
      if answer == true then return sent end
      if type(answer) ~= "string" then return nil end
      if answer == "*" then error("cors: origin() returns true, false or an origin, not '*'", 0) end
      return answer
    end, true
  end
  local known = {}
  for _, one in ipairs(type(origin) == "table" and origin or { origin }) do
    if type(one) ~= "string" or not (one == "null" or one:find("^%a[%w+.-]*://[^/%s*]+$")) then
      usage.fail(2, "%s: an origin is like 'https://example.com', without a path or '*', got '%s'", NAME, tostring(one))
    end
    known[one:lower()] = true
  end
  return function(sent) return sent and known[sent:lower()] and sent or nil end, true
end

local function list(names)
  return names and #names > 0 and table.concat(names, ", ") or nil
end

-- What a browser may ask for is a list of header names; anything else is not repeated.
local function requested_headers(req)
  local names = req.headers["access-control-request-headers"]
  if names and not names:find("[^%w!#$&'+.^_`|~, -]") then return names end
end

local function preflight(req, res, settings, allowed)
  vary(res, "Access-Control-Request-Method")
  if not settings.allowed_headers then vary(res, "Access-Control-Request-Headers") end
  if allowed then
    res:setHeader("Access-Control-Allow-Methods", settings.methods)
    local headers = settings.allowed_headers or requested_headers(req)
    if headers and headers ~= "" then res:setHeader("Access-Control-Allow-Headers", headers) end
    if settings.max_age then res:setHeader("Access-Control-Max-Age", settings.max_age) end
  end
  res.statusCode = 204
  res:finish()
end

--- Makes the middleware. A preflight (OPTIONS with Access-Control-Request-Method) is answered here, by 204; who is not
-- allowed gets no Access-Control headers. It does not keep anybody from sending requests: see csrf.
-- @tparam[opt] table given options:
-- @tparam[opt="*"] string|table|function given.origin an origin ("https://example.com"), a list of them, or
-- fn(origin, req) -> true, false or an origin; "*": any
-- @tparam[opt] table given.methods default: GET, HEAD, PUT, PATCH, POST, DELETE
-- @tparam[opt] table given.allowedHeaders default: those that are asked for
-- @tparam[opt] table given.exposedHeaders what scripts may read besides the usual
-- @tparam[opt=false] boolean given.credentials whether cookies count; not with "*"
-- @tparam[opt] number given.max_age seconds that a browser may remember a preflight
-- @treturn function(req, res, next)
-- @raise an unknown option; credentials with "*"
return function(given)
  given = options.check(given, KNOWN, NAME)
  local judge, depends = judge_of(given.origin)
  if given.credentials and not depends then
    usage.fail(1, "%s: credentials with any origin would open every session to every site: say which in 'origin'", NAME)
  end
  local settings = {
    methods = list(given.methods) or "GET, HEAD, PUT, PATCH, POST, DELETE",
    allowed_headers = given.allowedHeaders and (list(given.allowedHeaders) or ""),
    max_age = given.max_age and ("%d"):format(given.max_age),
  }
  local exposed = list(given.exposedHeaders)
  return function(req, res, next)
    local sent = req.headers.origin
    local allowed = judge(sent, req)
    if depends then vary(res, "Origin") end
    if allowed then
      res:setHeader("Access-Control-Allow-Origin", allowed)
      if given.credentials then res:setHeader("Access-Control-Allow-Credentials", "true") end
    end
    if req.method == "OPTIONS" and sent and req.headers["access-control-request-method"] then
      return preflight(req, res, settings, allowed)
    end
    if allowed and exposed then res:setHeader("Access-Control-Expose-Headers", exposed) end
    return next()
  end
end
