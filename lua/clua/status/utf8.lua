--- Text that others have made (monset values, paths), for formats that must be UTF-8.
-- @module clua.status.utf8

local utf8 = {}

local REPLACEMENT = "\239\191\189"

-- Length of the well-formed sequence (RFC 3629) that begins at i, or nil.
local function sequence(text, i)
  local a, b, c, d = text:byte(i, i + 3)
  local function is_tail(byte) return byte ~= nil and byte >= 0x80 and byte < 0xC0 end
  if a < 0x80 then return 1 end
  if a < 0xC2 or a > 0xF4 or not is_tail(b) then return nil end
  if a < 0xE0 then return 2 end
  if not is_tail(c) then return nil end
  if a < 0xF0 then
    if (a == 0xE0 and b < 0xA0) or (a == 0xED and b >= 0xA0) then return nil end
    return 3
  end
  if not is_tail(d) or (a == 0xF0 and b < 0x90) or (a == 0xF4 and b >= 0x90) then return nil end
  return 4
end

--- The same text with U+FFFD for each byte that belongs to no character.
-- @tparam string text
-- @treturn string
function utf8.valid(text)
  if not text:find("[\128-\255]") then return text end
  local parts, i = {}, 1
  while i <= #text do
    local len = sequence(text, i)
    parts[#parts + 1] = len and text:sub(i, i + len - 1) or REPLACEMENT
    i = i + (len or 1)
  end
  return table.concat(parts)
end

return utf8
