--- Parses request bodies of HTML forms, application/x-www-form-urlencoded.
-- @module clua.connect.urlencoded

local body = require "clua.connect.body"
local form = require "clua.connect.form"
local options = require "clua.options"

local NAME = "urlencoded(options)"
local KNOWN = {
  limit = "integer", parameters = "integer", depth = "integer", nested = "boolean", types = "table",
  inflate = "boolean",
}
local DEFAULTS = {
  limit = 102400, parameters = 1000, depth = 5, nested = true, types = { "application/x-www-form-urlencoded" },
  inflate = true,
}

--- Makes the middleware. `req.body` is then a table of strings; of lists for names that occur more than once or end in
-- "[]"; of tables for "a[b]". So a handler that wants a string has to look whether it got one.
--
-- next{ status = ... }: 400 for malformed %XX, wrong UTF-8, nesting too deep, "a" beside "a[b]"; 413 for more than the
-- limits; 415 for another charset or content coding.
-- @tparam[opt] table given options:
-- @tparam[opt=102400] number given.limit bytes, before and after decompression
-- @tparam[opt=1000] number given.parameters how many
-- @tparam[opt=5] number given.depth how many pairs of brackets in a name
-- @tparam[opt=true] boolean given.nested false: brackets are a part of the name
-- @tparam[opt] table given.types media types
-- @tparam[opt=true] boolean given.inflate take bodies with Content-Encoding gzip or deflate, with lua-zlib
-- @treturn function(req, res, next)
-- @raise wrong options
return function(given)
  local settings = options.complete(options.check(given, KNOWN, NAME), DEFAULTS)
  return function(req, _, next)
    local parameters = body.wanted(req, settings.types)
    if not parameters then return next() end
    local text, refusal = body.text(req, parameters, settings, "connect.urlencoded")
    if not text then return next(refusal) end
    local fields, status, message = form.parse(text, settings)
    if not fields then return next(body.refusal(status, message)) end
    req.body = fields
    return next()
  end
end
