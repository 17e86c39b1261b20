--- Answers errors as the client wants to read them: HTML, JSON or plain text, by Accept.
--
--     app:use(function(_, _, next) next { status = 404 } end)    -- so that what nobody answers comes here too
--     app:use(connect.errorHandler())
--
-- While developing the answer shows the message, the source line and the functions of the application that led there;
-- in production (CLUA_ENV=production) nothing but the status. The log has it all in both cases.
-- @module clua.connect.errorHandler

local accept = require "clua.connect.accept"
local final = require "clua.connect.final"
local options = require "clua.options"
local trace = require "clua.trace"
local vary = require "clua.connect.vary"

local KNOWN = { show = "boolean" }
local OFFERS = { "text/html", "application/json", "text/plain" }

-- What the answer may tell: always status and reason, the rest as far as it is to be shown.
local function details_of(err, req, status, show)
  local details = { status = status, reason = final.reason(status) }
  local exposed = type(err) == "table" and err.expose == true
  if (show or exposed) and not (type(err) == "table" and err.message == nil) then
    details.message = final.describe(err)
  end
  local failure = req.failure
  if show and failure and rawequal(failure.value, err) then details.frames = failure.frames end
  return details
end

-- ---- the three forms -------------------------------------------------------------------------------------------

local function as_text(details)
  local lines = { details.reason }
  lines[#lines + 1] = details.message
  for _, frame in ipairs(details.frames or {}) do lines[#lines + 1] = "    " .. trace.frame(frame) end
  return table.concat(lines, "\n") .. "\n"
end

local function as_json(details)
  local body = { status = details.status, error = details.reason, message = details.message }
  if details.frames and details.frames[1] then
    body.trace = {}
    for i, frame in ipairs(details.frames) do body.trace[i] = trace.frame(frame) end
  end
  return require("cjson").encode(body) .. "\n"
end

local FORMS = {
  ["text/html"] = trace.page, ["application/json"] = as_json, ["text/plain"] = as_text,
}

--- Makes error middleware. It stands behind all others.
--
-- The status is `err.status` if it is one of 400 to 599, else 500; from 500 on the error goes to the log with its
-- traceback. A message is shown in production too when the error has `expose = true`. When an answer is under way
-- already, its connection is closed: the client must see that it is cut off.
-- @tparam[opt] table given options:
-- @tparam[opt] boolean given.show whether message, source and trace are shown; default: unless CLUA_ENV is "production"
-- @treturn function(err, req, res, next)
-- @raise an unknown option
return function(given)
  given = options.check(given, KNOWN, "errorHandler(options)")
  local show = given.show
  if show == nil then show = trace.development() end
  return function(err, req, res, next)
    if res.headersSent then return next(err) end
    local status = final.status_of(err)
    if status >= 500 then final.log_error(req, err) end
    local form = accept.best(req.headers.accept, OFFERS) or "text/plain"
    local body = FORMS[form](details_of(err, req, status, show))
    final.clear(res)
    res.statusCode = status
    res:setHeader("Content-Type", form == "application/json" and form or form .. "; charset=utf-8")
    res:setHeader("Cache-Control", "no-store")
    res:setHeader("X-Content-Type-Options", "nosniff")
    if form == "text/html" then
      res:setHeader("Content-Security-Policy", trace.PAGE_POLICY)
    end
    vary(res, "Accept")
    res:finish(body)
  end
end
