--- Refuses requests that another site makes in the name of a visitor (cross-site request forgery).
-- @module clua.connect.csrf

local base64 = require "clua.connect.base64"
local cookie = require "clua.http.cookie"
local options = require "clua.options"
local secure = require "clua.connect.secure"
local usage = require "clua.usage"

local NAME = "csrf(options)"
local KNOWN = {
  cookie = "string", secure = "boolean", field = "string", headers = "table", origins = "table", value = "callable",
}
local DEFAULTS = {
  cookie = "csrf", secure = false, field = "_csrf", headers = { "x-csrf-token", "x-xsrf-token" }, origins = {},
}
local SAFE = { GET = true, HEAD = true, OPTIONS = true, TRACE = true }
local SECRET_BYTES = 24
local SESSION_FIELD = "csrf_secret"

-- ---- where the request comes from ------------------------------------------------------------------------------

local function authority(url)
  return (url:match("^%a[%w+.-]*://([^/?#]*)") or ""):lower()
end

-- true: from here, or from where it may; false: from elsewhere; nil: the client does not say.
local function is_from_here(req, settings)
  local headers = req.headers
  local origin = headers.origin
  if origin then
    if settings.allowed[origin:lower()] then return true end
    local from = authority(origin)
    return from ~= "" and from == (headers.host or ""):lower()
  end
  local site = headers["sec-fetch-site"]
  if site then return site == "same-origin" or site == "none" end
  local referer = headers.referer
  if referer then
    local from = authority(referer)
    local as_origin = referer:match("^%a[%w+.-]*://[^/?#]*")
    if as_origin and settings.allowed[as_origin:lower()] then return true end
    return from ~= "" and from == (headers.host or ""):lower()
  end
  return nil
end

-- ---- the secret ------------------------------------------------------------------------------------------------

-- In the session where there is one, else in a cookie of its own.
local function read_secret(req, settings)
  local text
  if type(req.session) == "table" then
    text = req.session[SESSION_FIELD]
  else
    text = cookie.parse(req.headers.cookie)[settings.cookie]
  end
  local secret = type(text) == "string" and base64.url_decode(text)
  return secret and #secret == SECRET_BYTES and secret or nil
end

local function write_secret(req, res, settings)
  local secret = secure.random(SECRET_BYTES)
  local text = base64.url_encode(secret)
  if type(req.session) == "table" then
    req.session[SESSION_FIELD] = text
  else
    res:setCookie(settings.cookie, text, { secure = settings.secure, sameSite = "Lax" })
  end
  return secret
end

local function given_token(req, settings)
  if settings.value then return settings.value(req) end
  for _, name in ipairs(settings.headers) do
    local token = req.headers[name:lower()]
    if token then return token end
  end
  return type(req.body) == "table" and req.body[settings.field] or nil
end

local function is_valid(token, secret)
  if type(token) ~= "string" or not secret then return false end
  local found = secure.unmask(token)
  return found ~= nil and secure.equal(found, secret)
end

--- Makes the middleware. It stands behind session or cookieSession, if there is one, and behind what parses forms.
--
-- `req:csrfToken()` returns a token to be put into forms (field `_csrf`) or sent as header `X-CSRF-Token`; it is
-- another each time, and all are good as long as the secret is. A request with another method than GET, HEAD,
-- OPTIONS and TRACE is next{ status = 403 } without one, or when Origin, Sec-Fetch-Site or Referer (the first that is
-- there) tell of another site. The secret is in the session; without one, in a cookie of its own (double submit).
-- @tparam[opt] table given options:
-- @tparam[opt="csrf"] string given.cookie its name when there is no session; "__Host-csrf" with `secure` is safe from
--   neighbours on subdomains too
-- @tparam[opt=false] boolean given.secure that cookie only over https
-- @tparam[opt="_csrf"] string given.field of the parsed body
-- @tparam[opt] table given.headers names; default X-CSRF-Token, X-XSRF-Token
-- @tparam[opt] table given.origins other origins that may: "https://admin.example.com"
-- @tparam[opt] function given.value function(req): the token that came, in place of headers and field
-- @treturn function(req, res, next)
-- @raise wrong options
return function(given)
  local settings = options.complete(options.check(given, KNOWN, NAME), DEFAULTS)
  local ok, message = pcall(cookie.serialize, settings.cookie, "", { secure = settings.secure })
  if not ok then usage.fail(1, "%s: %s", NAME, message) end
  settings.allowed = {}
  for _, origin in ipairs(settings.origins) do
    if authority(tostring(origin)) == "" or tostring(origin):find("^%a[%w+.-]*://[^/]*/") then
      usage.fail(1, "%s: an origin is like \"https://example.com\", got \"%s\"", NAME, tostring(origin))
    end
    settings.allowed[origin:lower()] = true
  end

  return function(req, res, next)
    local secret = read_secret(req, settings)
    function req.csrfToken()
      secret = secret or write_secret(req, res, settings)
      return secure.mask(secret)
    end
    if SAFE[req.method] then return next() end
    if is_from_here(req, settings) == false then
      return next { status = 403, message = "csrf: the request comes from another site" }
    end
    if not is_valid(given_token(req, settings), secret) then
      return next { status = 403, message = "csrf: the token is missing or wrong" }
    end
    return next()
  end
end
