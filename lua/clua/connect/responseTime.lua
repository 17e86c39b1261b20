--- How long it took to the head of the answer, in a header.
-- @module clua.connect.responseTime

local field = require "clua.connect.field"
local options = require "clua.options"
local usage = require "clua.usage"
local uv = require "luv"

local NAME = "responseTime(options)"
local KNOWN = { header = "string", digits = "integer", suffix = "boolean" }

--- Makes the middleware. The time goes from here to the head of the answer.
-- @tparam[opt] table given options:
-- @tparam[opt="X-Response-Time"] string given.header
-- @tparam[opt=3] number given.digits after the point, at most 6
-- @tparam[opt=true] boolean given.suffix whether "ms" follows
-- @treturn function(req, res, next)
-- @raise an unknown option, a header that could not be sent
return function(given)
  given = options.check(given, KNOWN, NAME)
  local header = field.name(NAME, "header", given.header or "X-Response-Time")
  local digits = given.digits or 3
  if digits > 6 then usage.fail(1, "%s: option 'digits' must be at most 6", NAME) end
  local format = ("%%.%df%s"):format(digits, given.suffix == false and "" or "ms")
  return function(_, res, next)
    local began = uv.hrtime()
    res:onHead(function(answer)
      if not answer:getHeader(header) then answer:setHeader(header, format:format((uv.hrtime() - began) / 1e6)) end
    end)
    return next()
  end
end
