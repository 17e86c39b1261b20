--- A name for each request: in the answer, for the log, for those it asks in turn.
-- @module clua.connect.requestId

local field = require "clua.connect.field"
local is_callable = require "clua.callable"
local options = require "clua.options"
local uv = require "luv"

local NAME = "requestId(options)"
local KNOWN = { header = "string", trust = "boolean", generate = "callable" }
local LENGTH_MAX = 128

-- 128 random bits.
local function random_id()
  return (uv.random(16):gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

-- What can go into a log line and a header without harm.
local function is_valid(id)
  return type(id) == "string" and #id > 0 and #id <= LENGTH_MAX and not id:find("[^%w._~:=+/-]")
end

--- Makes the middleware: `req.id`, and the same in the answer's header.
-- @tparam[opt] table given options:
-- @tparam[opt="X-Request-Id"] string given.header
-- @tparam[opt=false] boolean given.trust whether an id that comes with the request is kept, when it is 1 to 128
-- letters, digits or ._~:=+/- ; say so only behind a proxy that sets it
-- @tparam[opt] function given.generate fn(req) -> id; default: 128 random bits
-- @treturn function(req, res, next)
-- @raise an unknown option, a header that could not be sent
return function(given)
  given = options.check(given, KNOWN, NAME)
  local header = field.name(NAME, "header", given.header or "X-Request-Id")
  local generate = is_callable(given.generate) and given.generate or random_id
  return function(req, res, next)
    local id = given.trust and req.headers[header:lower()]
    if not is_valid(id) then id = generate(req) end
    req.id = id
    res:setHeader(header, id)
    return next()
  end
end
