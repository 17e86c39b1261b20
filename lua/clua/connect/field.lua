--- Header fields that come from a middleware's options: what could not be sent is said at the start, not by each
-- request.
-- @module clua.connect.field

local core = require "clua.core.http_client"
local usage = require "clua.usage"

local field = {}

--- Raises an error at the caller of the middleware when a name is none (RFC 9110 §5.6.2).
-- @tparam string where name of the middleware
-- @tparam string option
-- @tparam string name
-- @treturn string name
function field.name(where, option, name)
  if not core.is_token(name) then
    usage.fail(2, "%s: option '%s' must be the name of a header: letters, digits and !#$%%&'*+-.^_`|~, got '%s'", where,
      option, name)
  end
  return name
end

--- The same of a value (RFC 9110 §5.5).
function field.value(where, option, value)
  if not core.is_value(value) then
    usage.fail(2, "%s: option '%s' must not contain CR, LF, NUL or another control character", where, option)
  end
  return value
end

return field
