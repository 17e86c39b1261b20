--- What answers when no middleware has: 404, or the status of the error.
-- The text of an error goes to the log; the client learns the status and nothing else.
-- @module clua.connect.final

local host = require "clua.core.host"
local trace = require "clua.trace"

local final = {}

local REASONS = {
  [400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden", [404] = "Not Found",
  [405] = "Method Not Allowed", [406] = "Not Acceptable", [408] = "Request Timeout",
  [409] = "Conflict", [410] = "Gone", [412] = "Precondition Failed",
  [413] = "Content Too Large", [415] = "Unsupported Media Type", [422] = "Unprocessable Content",
  [421] = "Misdirected Request", [423] = "Locked", [428] = "Precondition Required",
  [429] = "Too Many Requests", [500] = "Internal Server Error",
  [501] = "Not Implemented", [502] = "Bad Gateway", [503] = "Service Unavailable", [504] = "Gateway Timeout",
}

-- What a middleware may have said of an answer that is not given now.
local STALE_HEADERS = {
  "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Length", "Content-Location",
  "Content-Range", "ETag", "Expires", "Last-Modified",
}

--- Text of an error value for the log.
-- @param err a string, a table with `message`, or anything
-- @treturn string
function final.describe(err)
  return tostring(type(err) == "table" and err.message or err)
end

--- The status that answers an error: its own from 400 to 599, else 500.
-- @param err
-- @treturn number
function final.status_of(err)
  local status = type(err) == "table" and err.status
  if type(status) == "number" and status >= 400 and status < 600 and status % 1 == 0 then return status end
  return 500
end

--- Logs an error, with its traceback if it was raised.
function final.log_error(req, err)
  local failure = req.failure
  local text = failure and rawequal(failure.value, err) and failure.trace or final.describe(err)
  host.log("error", ("cannot answer %s %s: %s"):format(req.method, req.originalUrl or req.url, text))
end

--- The name of a status.
function final.reason(status)
  return REASONS[status] or "Error " .. status
end

--- Takes off what a middleware has said of an answer that is not given now.
function final.clear(res)
  for _, name in ipairs(STALE_HEADERS) do res:removeHeader(name) end
end

-- While developing, a browser is shown what was raised.
local function answer(req, res, status, err)
  local text = final.reason(status) .. "\n"
  final.clear(res)
  local failure = req.failure
  if status >= 500 and failure and rawequal(failure.value, err) then
    local details = { status = status, reason = final.reason(status), message = final.describe(err) }
    details.frames = failure.frames
    if trace.answer(req, res, details) then return end
  end
  res.statusCode = status
  res:setHeader("Content-Type", "text/plain; charset=utf-8")
  res:setHeader("Content-Length", #text)
  res:finish(text)
end

--- Makes the last `next` of a chain.
-- next(): 404. next(err): err.status if it is one of 400 to 599, else 500; 500 and above are logged. When the head of
-- an answer is already on its way, the connection is closed instead: the client must see that the answer is cut off.
-- @tparam table req
-- @tparam table res
-- @treturn function(err)
function final.handler(req, res)
  return function(err) return final.answer(req, res, err) end
end

--- What that `next` does.
function final.answer(req, res, err)
  local status = err and final.status_of(err) or 404
  if status >= 500 then final.log_error(req, err) end
  if res.finished then return end
  if not res.headersSent then return answer(req, res, status, err) end
  res:destroy()
end

return final
