--- Headers that tell browsers to be careful. The defaults are those of Node's helmet.
-- @module clua.connect.securityHeaders

local options = require "clua.options"

local CONTENT = "default-src 'self'; base-uri 'self'; font-src 'self' https: data:; form-action 'self'; "
  .. "frame-ancestors 'self'; img-src 'self' data:; object-src 'none'; script-src 'self'; script-src-attr 'none'; "
  .. "style-src 'self' https: 'unsafe-inline'; upgrade-insecure-requests"

local HEADERS = {
  contentSecurityPolicy = { "Content-Security-Policy", CONTENT },
  crossOriginEmbedderPolicy = { "Cross-Origin-Embedder-Policy", false },
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
-- xXssProtection) its value, or false: not sent
-- @treturn function(req, res, next)
-- @raise an unknown option
return function(given)
  given = options.check(given, KNOWN, "securityHeaders(options)")
  local list = {}
  for name, header in pairs(HEADERS) do
    local value = header[2]
    if type(given[name]) == "string" or given[name] == false then value = given[name] end
    if value then list[#list + 1] = { header[1], value } end
  end
  return function(_, res, next)
    for _, header in ipairs(list) do res:setHeader(header[1], header[2]) end
    return next()
  end
end
