--- What cookieSession and session share: the options of their cookie.
-- @module clua.connect.session_cookie

local cookie = require "clua.http.cookie"
local usage = require "clua.usage"

local session_cookie = {}

session_cookie.KNOWN = {
  name = "string", max_age = "number", path = "string", domain = "string", secure = "boolean", http_only = "boolean",
  same_site = "string", rolling = "boolean",
}
session_cookie.DEFAULTS = {
  name = "session", max_age = 86400, path = "/", secure = false, http_only = true, same_site = "Lax", rolling = false,
}

--- What res:setCookie wants of these settings. A wrong one shows now and not with the first visitor.
function session_cookie.attributes(settings, where)
  local attributes = {
    path = settings.path, domain = settings.domain, secure = settings.secure, httpOnly = settings.http_only,
    sameSite = settings.same_site, maxAge = settings.max_age,
  }
  local ok, message = pcall(cookie.serialize, settings.name, "", attributes)
  if not ok then usage.fail(2, "%s: %s", where, message) end
  if settings.max_age == 0 then usage.fail(2, "%s: option 'max_age' must be more than 0 seconds", where) end
  return attributes
end

return session_cookie
