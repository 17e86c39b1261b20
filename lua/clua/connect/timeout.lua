--- An upper limit for the time that a request may take: 503 after it.
-- @module clua.connect.timeout

local core = require "clua.core.http"
local final = require "clua.connect.final"
local options = require "clua.options"
local timer = require "clua.timer"
local usage = require "clua.usage"

local NAME = "timeout(seconds, options)"
local KNOWN = { respond = "callable" }

--- Makes the middleware. When no head of an answer has been sent after so many seconds, the client gets 503 and what
-- runs for it is told: `req.timedOut` is true, `req` has the event `timeout`, whose listener may answer something else,
-- and methods of req and res return nil, message, "ECLOSED", which is no mistake then and is not logged. The coroutine
-- itself goes on: it has what only it can give back. An answer that has begun is not cut off.
-- @tparam number seconds
-- @tparam[opt] table given options:
-- @tparam[opt] function given.respond error middleware that answers; default: connect.errorHandler()
-- @treturn function(req, res, next)
-- @raise wrong arguments, an unknown option
return function(seconds, given)
  if type(seconds) ~= "number" or not (seconds > 0 and seconds < 1e9) then
    usage.fail(1, "%s: a number of seconds is expected, got %s", NAME, tostring(seconds))
  end
  given = options.check(given, KNOWN, NAME)
  local respond = given.respond or require("clua.connect.errorHandler")()

  local function expire(req, res)
    if res.headersSent ~= false then return end -- true, or nil: over
    req.timedOut = true
    req:emit("timeout")
    if res.headersSent == false then
      local err = { status = 503, message = ("no answer after %g s"):format(seconds), code = "ETIMEDOUT" }
      local ok, why = xpcall(respond, debug.traceback, err, req, res, final.handler(req, res))
      if not ok then final.handler(req, res)(why) end
    end
    core.give_up(res)
  end

  return function(req, res, next)
    local watch = timer.after(seconds, function() expire(req, res) end):unref()
    local function stop() watch:stop() end
    res:on("finish", stop)
    res:on("close", stop)
    return next()
  end
end
