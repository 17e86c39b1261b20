--- Asks for a user name and a password (RFC 7617). Over plain http everybody on the way reads them.
-- @module clua.connect.basicAuth

local base64 = require "clua.connect.base64"
local options = require "clua.options"
local secure = require "clua.connect.secure"
local usage = require "clua.usage"
local utf8 = require "clua.connect.utf8"

local NAME = "basicAuth(options)"
local KNOWN = { users = "table", authorize = "callable", realm = "string" }
local DEFAULTS = { realm = "restricted" }

-- User and password of the field, or nil.
local function credentials(header)
  local scheme, token = (header or ""):match("^(%a+) +([%w+/=]+) *$")
  if not scheme or scheme:lower() ~= "basic" then return nil end
  local text = base64.decode(token)
  if not text or text:find("%c") or not utf8.is_valid(text) then return nil end
  return text:match("^([^:]*):(.*)$")
end

-- All are compared, so that the time tells neither whether the user exists nor how much of the password was right.
local function is_listed(users, user, password)
  local found = false
  for name, secret in pairs(users) do
    local same_user, same_password = secure.equal(user, name), secure.equal(password, secret)
    found = (same_user and same_password) or found
  end
  return found
end

local function check_users(users)
  for name, password in pairs(users) do
    if type(name) ~= "string" or type(password) ~= "string" or name:find("[:%c]") then
      usage.fail(2, "%s: option 'users' is a table of name = password; a name holds no ':'", NAME)
    end
  end
end

--- Makes the middleware. Who is known passes, with `req.user` set to the name; others get 401 through next, with
-- WWW-Authenticate.
-- @tparam table given options, one of the first two:
-- @tparam[opt] table given.users name = password
-- @tparam[opt] function given.authorize function(user, password, req) -> boolean; may wait
-- @tparam[opt="restricted"] string given.realm what the browser shows
-- @treturn function(req, res, next)
-- @raise wrong options
return function(given)
  local settings = options.complete(options.check(given, KNOWN, NAME), DEFAULTS)
  if settings.users == nil and settings.authorize == nil then
    usage.fail(1, "%s: either 'users' or 'authorize' is needed", NAME)
  end
  if settings.users and settings.authorize then
    usage.fail(1, "%s: give 'users' or 'authorize', not both", NAME)
  end
  if settings.users then check_users(settings.users) end
  if settings.realm:find("%c") then usage.fail(1, "%s: option 'realm' may hold no control bytes", NAME) end
  local challenge = ('Basic realm="%s", charset="UTF-8"'):format((settings.realm:gsub('[\\"]', "\\%0")))

  return function(req, res, next)
    local user, password = credentials(req.headers.authorization)
    local is_known
    if user and settings.users then
      is_known = is_listed(settings.users, user, password)
    elseif user then
      is_known = settings.authorize(user, password, req)
    end
    if is_known then
      req.user = user
      return next()
    end
    res:setHeader("WWW-Authenticate", challenge)
    return next { status = 401, message = user and "unknown user or wrong password" or "no credentials" }
  end
end
