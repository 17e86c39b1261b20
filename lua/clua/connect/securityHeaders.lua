--- Headers that tell browsers to be careful. The defaults are those of Node's helmet.
-- @module clua.connect.securityHeaders

local field = require "clua.connect.field"
local options = require "clua.options"

local CONTENT = "default-src 'self'; base-uri 'self'; font-src 'self' https: data:; form-action 'self'; "
  .. "frame-ancestors 'self'; img-src 'self' data:; object-src 'none'; script-src 'self'; script-src-attr 'none'; "
  .. "style-src 'self' https: 'unsafe-inline'; upgrade-insecure-requests"

local NAME = "securityHeaders(options)"
local HEADERS = {
  contentSecurityPolicy = { "Content-Security-Policy", CONTENT },
  crossOriginEmbedderPolicy = { "Cross-Origin-Embedder-Policy", "require-corp", is_off = true },
  crossOriginOpenerPolicy = { "Cross-Origin-Opener-Policy", "same-origin" },
  crossOriginResourcePolicy = { "Cross-Origin-Resource-Policy", "same-origin" },
  originAgentCluster = { "Origin-Agent-Cluster", "?1" },
  referrerPolicy = { "Referrer-Policy", "no-referrer" },
  strictTransportSecurity = { "Strict-Transport-Security", "max-age=31536000; includeSubDomains" },
  xContentTypeOptions = { "X-Content-Type-Options", "nosniff" },
  xDnsPrefetchControl = { "X-DNS-Prefetch-Control", "off" },
  xDownloadOptions = { "X-Download-Options", "noopen" },
  xFrameOptions = { "X-Frame-Options", "SAMEORIGIN" },
  xPermittedCrossDomainPolicies = { "X-Permitted-Cross-Domain-Policies", "none" },
  xXssProtection = { "X-XSS-Protection", "0" },
}

local KNOWN = {}
for name in pairs(HEADERS) do KNOWN[name] = "string|boolean" end

--- Makes the middleware. They are set before the handler runs, which may change or remove them.
-- @tparam[opt] table given for each header (contentSecurityPolicy, crossOriginEmbedderPolicy (off),
-- crossOriginOpenerPolicy, crossOriginResourcePolicy, originAgentCluster, referrerPolicy, strictTransportSecurity,
-- xContentTypeOptions, xDnsPrefetchControl, xDownloadOptions, xFrameOptions, xPermittedCrossDomainPolicies,
-- xXssProtection) its value; true: the default one, false: not sent
-- @treturn function(req, res, next)
-- @raise an unknown option, a value that could not be sent
return function(given)
  given = options.check(given, KNOWN, NAME)
  local list = {}
  for name, header in pairs(HEADERS) do
    local value = given[name]
    if value == nil then value = not header.is_off end
    if value == true then value = header[2] end
    if value then list[#list + 1] = { header[1], field.value(NAME, name, value) } end
  end
  return function(_, res, next)
    for _, header in ipairs(list) do res:setHeader(header[1], header[2]) end
    return next()
  end
end
