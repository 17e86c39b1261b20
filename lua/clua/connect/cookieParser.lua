--- Reads the cookies of a request, and checks the signatures of those that are signed.
-- @module clua.connect.cookieParser

local cookie = require "clua.http.cookie"
local library = require "clua.connect.library"
local secure = require "clua.connect.secure"

local NAME = "cookieParser(keys)"

--- Makes the middleware. `req.cookies`: name -> value. With keys, those that were set with `signed = true` are in
-- `req.signedCookies` instead: the value without its signature, or false when it was tampered with.
-- @tparam[opt] string|table keys at least 16 random bytes each; the first signs, all are accepted
-- @treturn function(req, res, next)
-- @raise wrong keys; lua-luaossl is not installed (with keys)
return function(keys)
  if keys ~= nil then
    keys = secure.keys(keys, NAME, 2)
    library.load("openssl.hmac", "connect.cookieParser")
  end
  return function(req, res, next)
    local cookies = cookie.parse(req.headers.cookie)
    req.cookies = cookies
    if not keys then return next() end
    local signed = {}
    for name, value in pairs(cookies) do
      local text = value:match("^s:(.*)$")
      if text then signed[name] = secure.verify(keys, "cookie " .. name, text) or false end
    end
    for name in pairs(signed) do cookies[name] = nil end
    req.signedCookies, res._cookie_keys = signed, keys
    return next()
  end
end
