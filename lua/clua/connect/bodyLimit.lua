--- Refuses bodies that are too large, before anybody reads them.
-- @module clua.connect.bodyLimit

local usage = require "clua.usage"

local NAME = "bodyLimit(bytes)"

--- Makes the middleware: a request whose Content-Length is above the limit is next{ status = 413 }; a body in chunks
-- ends with 413 as soon as more has come (reading it returns nil, message, "ETOOBIG"). The server's maxBodySize is the
-- upper bound: it is enforced for declared lengths before any middleware runs.
-- @tparam number|function limit bytes, or function(req) -> bytes
-- @treturn function(req, res, next)
-- @raise wrong arguments
return function(limit)
  local is_function = type(limit) == "function"
  if not is_function and not (type(limit) == "number" and limit >= 0 and limit < math.huge) then
    usage.fail(1, "%s: a number of bytes or a function is expected, got %s", NAME, tostring(limit))
  end
  return function(req, _, next)
    local bytes = is_function and limit(req) or limit
    local declared = tonumber(req.headers["content-length"])
    if declared and declared > bytes then
      return next { status = 413, message = ("the body has %d bytes, more than %d"):format(declared, bytes) }
    end
    if not declared and req.headers["transfer-encoding"] then
      local ok, message, code = req:setMaxBodySize(bytes)
      if code == "ETOOBIG" then return next { status = 413, message = message } end
      if not ok then return end -- the exchange is over
    end
    return next()
  end
end
