--- Parses request bodies of JSON.
-- @module clua.connect.json

local cjson = require "cjson"

local body = require "clua.connect.body"
local options = require "clua.options"
local usage = require "clua.usage"

local NAME = "json(options)"
local KNOWN = {
  limit = "integer", strict = "boolean", depth = "integer", types = "table", inflate = "boolean", verify = "callable",
}
local DEFAULTS = {
  limit = 102400, strict = true, depth = 32, types = { "application/json", "application/*+json" }, inflate = true,
}

--- Makes the middleware. `req.body` is then the parsed value: tables without metatables, `cjson.null` for null. Without
-- a body of these types it stays the method that reads, so `type(req.body) == "table"` tells.
--
-- next{ status = ... }: 400 for malformed JSON, wrong UTF-8, nesting too deep, or a compressed body that is cut off;
-- 413 for more than the limit, compressed or not; 415 for another charset or content coding. The server's own
-- maxBodySize holds too.
-- @tparam[opt] table given options:
-- @tparam[opt=102400] number given.limit bytes
-- @tparam[opt=true] boolean given.strict only an object or an array at the top
-- @tparam[opt=32] number given.depth of nested objects and arrays
-- @tparam[opt] table given.types media types, "*" allowed; default "application/json", "application/*+json"
-- @tparam[opt=true] boolean given.inflate take bodies with Content-Encoding gzip or deflate, with lua-zlib
-- @tparam[opt] function given.verify function(req, text): sees the text before it is parsed, for signatures of
--   webhooks; false refuses it by 403
-- @treturn function(req, res, next)
-- @raise wrong options
return function(given)
  local settings = options.complete(options.check(given, KNOWN, NAME), DEFAULTS)
  if settings.depth < 1 then usage.fail(1, "%s: option 'depth' must be at least 1", NAME) end
  local decoder = cjson.new()
  decoder.decode_max_depth(settings.depth)
  decoder.decode_invalid_numbers(false)
  return function(req, _, next)
    local parameters = body.wanted(req, settings.types)
    if not parameters then return next() end
    local text, refusal = body.text(req, parameters, settings, "connect.json")
    if not text then return next(refusal) end
    if settings.verify and settings.verify(req, text) == false then
      return next(body.refusal(403, "the body has not been verified"))
    end
    if settings.strict and not text:find("^[ \t\r\n]*[{%[]") then
      return next(body.refusal(400, "JSON: an object or an array is expected"))
    end
    local ok, value = pcall(decoder.decode, text)
    if not ok then return next(body.refusal(400, "JSON: " .. tostring(value))) end
    req.body = value
    return next()
  end
end
