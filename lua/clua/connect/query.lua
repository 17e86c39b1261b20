--- Parses the query of the URL.
-- @module clua.connect.query

local form = require "clua.connect.form"
local options = require "clua.options"
local path = require "clua.connect.path"

local NAME = "query(options)"
local KNOWN = { parameters = "integer", depth = "integer", nested = "boolean" }
local DEFAULTS = { parameters = 1000, depth = 5, nested = true }

--- Makes the middleware. `req.query` is then a table, `{}` without a query; names and values as with urlencoded. What
-- is malformed is next{ status = 400 }, too many next{ status = 413 }.
-- @tparam[opt] table given options:
-- @tparam[opt=1000] number given.parameters how many
-- @tparam[opt=5] number given.depth how many pairs of brackets in a name
-- @tparam[opt=true] boolean given.nested false: brackets are a part of the name
-- @treturn function(req, res, next)
-- @raise wrong options
return function(given)
  local settings = options.complete(options.check(given, KNOWN, NAME), DEFAULTS)
  return function(req, _, next)
    if req.query then return next() end
    local _, _, rest = path.split(req.url)
    local query = rest:match("^%?([^#]*)") or ""
    local fields, status, message = form.parse(query, settings)
    if not fields then return next { status = status, message = "query: " .. message } end
    req.query = fields
    return next()
  end
end
