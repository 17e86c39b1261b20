--- Content-Type of a request (RFC 9110, 8.3): media type and parameters. Pure functions.
-- @module clua.connect.content_type

local content_type = {}

local TOKEN = "^[%w!#$%%&'*+.^_`|~-]+"

-- Reads a token or a quoted string at `at`: value and what comes behind; nil when there is neither.
local function read_value(text, at, as_form)
  local token = text:match(TOKEN, at)
  if token then return token, at + #token end
  if text:sub(at, at) ~= '"' then return nil end
  local parts = {}
  at = at + 1
  while true do
    local plain = text:match('^[^"\\]*', at)
    parts[#parts + 1] = plain
    at = at + #plain
    local c = text:sub(at, at)
    if c == '"' then return table.concat(parts), at + 1 end
    if c ~= "\\" or at == #text then return nil end
    local escaped = text:sub(at + 1, at + 1)
    parts[#parts + 1] = as_form and not escaped:find('["\\]') and c .. escaped or escaped
    at = at + 2
  end
end

--- Parameters "; name=value; name="quoted"", from position `at` on.
-- @tparam string text
-- @tparam number at
-- @tparam[opt] boolean as_form browsers do not escape a backslash in forms: it stands for itself, but before '"' and
--   another one
-- @treturn table|nil name in lower case -> value; nil when malformed, or when a name occurs twice: two readers may
--   choose differently
function content_type.parameters(text, at, as_form)
  local parameters = {}
  while true do
    local name, behind = text:match("^[ \t]*;[ \t]*([%w!#$%%&'*+.^_`|~-]+)=()", at)
    if not name then
      local rest = text:match("^[ \t]*;?[ \t]*()", at)
      if rest <= #text then return nil end
      return parameters
    end
    local value
    value, at = read_value(text, behind, as_form)
    name = name:lower()
    if not value or parameters[name] then return nil end
    parameters[name] = value
  end
end

--- Parses the field.
-- @tparam ?string header
-- @treturn string|nil "application/json", in lower case; nil when there is none or it is malformed
-- @treturn table parameters
function content_type.parse(header)
  local main, sub, at = (header or ""):match("^[ \t]*([%w!#$%%&'*+.^_`|~-]+)/([%w!#$%%&'*+.^_`|~-]+)()")
  if not main then return nil end
  local parameters = content_type.parameters(header, at)
  if not parameters then return nil end
  return (main .. "/" .. sub):lower(), parameters
end

--- Is a media type one of these? "application/json" is itself, "application/*+json" any with that suffix, "text/*" any.
function content_type.is(kind, wanted)
  for _, one in ipairs(wanted) do
    local pattern = one:lower():gsub("[%-.+]", "%%%0"):gsub("%*", ".+")
    if kind:find("^" .. pattern .. "$") then return true end
  end
  return false
end

return content_type
