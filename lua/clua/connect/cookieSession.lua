--- Sessions that live in a cookie: encrypted and authenticated, so the client can neither read nor change them.
--
-- Nothing is stored on the server, and every worker and machine with the keys understands them. The price: at most 4
-- KiB, and no way to take a session back before it expires, other than to change the keys.
-- @module clua.connect.cookieSession

local cjson = require "cjson"

local cookie = require "clua.http.cookie"
local library = require "clua.connect.library"
local options = require "clua.options"
local secure = require "clua.connect.secure"
local session_cookie = require "clua.connect.session_cookie"

local NAME = "cookieSession(options)"
local COOKIE_MAX_BYTES = 4096 -- of name, value and attributes: what browsers must at least take (RFC 6265, 6.1)

local KNOWN = options.complete(session_cookie.KNOWN, { keys = "string|table" })

-- The session in the cookie, or nil: none, tampered with, or expired.
local function load(req, settings)
  local token = cookie.parse(req.headers.cookie)[settings.name]
  if not token or token == "" then return nil, false end
  local text = secure.open(settings.keys, settings.purpose, token)
  local ok, value = pcall(cjson.decode, text or "")
  if not ok or type(value) ~= "table" or type(value.d) ~= "table" then return nil, true end
  if not (type(value.e) == "number" and value.e > os.time()) then return nil, true end
  return value.d, true
end

local function save(res, data, settings)
  local text = cjson.encode { e = os.time() + math.floor(settings.max_age), d = data }
  local token = secure.seal(settings.keys, settings.purpose, text)
  local bytes = #cookie.serialize(settings.name, token, settings.attributes)
  if bytes > COOKIE_MAX_BYTES then
    error(("cookieSession: the session needs a cookie of %d bytes, and browsers take %d: keep less in it, or use "
      .. "connect.session"):format(bytes, COOKIE_MAX_BYTES), 0)
  end
  res:setCookie(settings.name, token, settings.attributes)
end

--- Makes the middleware. `req.session` is a table for what JSON can hold; a cookie is sent when it has changed. An
-- empty one, or `req.session = nil`, removes the cookie. What was tampered with, has expired, or was made with other
-- keys is an empty session.
-- @tparam table given options:
-- @tparam string|table given.keys at least 16 random bytes each: the first encrypts, all decrypt
-- @tparam[opt="session"] string given.name of the cookie
-- @tparam[opt=86400] number given.max_age seconds; the time is inside too, where no client can change it
-- @tparam[opt=false] boolean given.rolling a new cookie with every answer, so that it expires after so long without a
--   visit
-- @tparam[opt="/"] string given.path
-- @tparam[opt] string given.domain
-- @tparam[opt=false] boolean given.secure only over https: switch it on where there is https
-- @tparam[opt=true] boolean given.http_only
-- @tparam[opt="Lax"] string given.same_site
-- @treturn function(req, res, next)
-- @raise wrong options; lua-luaossl is not installed. While answering: a session of more than 4 KiB, or with what JSON
--   cannot hold, is an error of the handler
return function(given)
  given = options.check(given, KNOWN, NAME)
  local settings = options.complete(given, session_cookie.DEFAULTS)
  settings.keys = secure.keys(settings.keys, NAME, 2)
  settings.attributes = session_cookie.attributes(settings, NAME)
  settings.purpose = "session " .. settings.name
  library.load("openssl.cipher", "connect.cookieSession")

  return function(req, res, next)
    local data, has_cookie = load(req, settings)
    local before = data and cjson.encode(data)
    req.session = data or {}
    res:onHead(function()
      local session = req.session
      if type(session) ~= "table" or _G.next(session) == nil then
        if has_cookie then res:clearCookie(settings.name, settings.attributes) end
      elseif settings.rolling or cjson.encode(session) ~= before then
        save(res, session, settings)
      end
    end)
    return next()
  end
end
