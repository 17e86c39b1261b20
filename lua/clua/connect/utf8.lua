--- Is a string well-formed UTF-8 (RFC 3629: no surrogates, nothing overlong, nothing above U+10FFFF)?
-- @module clua.connect.utf8

local CONT = "[\128-\191]"

local FORMS = { -- lead bytes -> what follows
  { "^[\194-\223]" .. CONT, 2 },
  { "^\224[\160-\191]" .. CONT, 3 },
  { "^[\225-\236\238\239]" .. CONT .. CONT, 3 },
  { "^\237[\128-\159]" .. CONT, 3 },
  { "^\240[\144-\191]" .. CONT .. CONT, 4 },
  { "^[\241-\243]" .. CONT .. CONT .. CONT, 4 },
  { "^\244[\128-\143]" .. CONT .. CONT, 4 },
}

local utf8 = {}

local function length_at(text, at)
  for i = 1, #FORMS do
    if text:find(FORMS[i][1], at) then return FORMS[i][2] end
  end
end

--- @treturn boolean
function utf8.is_valid(text)
  local at = text:find("[\128-\255]")
  while at do
    local length = length_at(text, at)
    if not length then return false end
    at = text:find("[\128-\255]", at + length)
  end
  return true
end

--- The same text with U+FFFD for every byte that is not a part of a character.
function utf8.repair(text)
  if utf8.is_valid(text) then return text end
  local parts, at = {}, 1
  while at <= #text do
    local plain = text:match("^[%z\1-\127]+", at)
    local length = plain and #plain or length_at(text, at)
    parts[#parts + 1] = length and text:sub(at, at + length - 1) or "\239\191\189"
    at = at + (length or 1)
  end
  return table.concat(parts)
end

return utf8
