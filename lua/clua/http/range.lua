--- Byte ranges (RFC 9110, section 14). Pure functions.
-- @module clua.http.range

local range = {}

--- More ranges than this in one request are not served as ranges: nobody needs them but to hurt the server.
range.limit = 32

-- "a-b", "a-" or "-n" against a size: first and last byte, false when it lies outside, nil when it is malformed.
local function one(spec, size)
  local first, last = spec:match("^(%d*)%-(%d*)$")
  if not first or (first == "" and last == "") or #first > 15 or #last > 15 then return nil end
  first, last = tonumber(first), tonumber(last)
  if not first then
    if last == 0 or size == 0 then return false end
    return math.max(size - last, 0), size - 1
  end
  if last and last < first then return nil end
  if first >= size then return false end
  return first, math.min(last or size - 1, size - 1)
end

--- Reads a Range header.
-- @tparam ?string header
-- @tparam number size of the representation
-- @treturn table|nil list of {first, last}, in the order asked for; nil: send the whole (no header, another unit,
--   malformed, too many, or more bytes than the whole); an empty list: 416, none can be satisfied
function range.parse(header, size)
  local set = header and header:match("^[Bb][Yy][Tt][Ee][Ss]=(.*)$")
  if not set then return nil end
  local list, asked, bytes = {}, 0, 0
  for spec in (set .. ","):gmatch("([^,]*),") do
    spec = spec:match("^[ \t]*(.-)[ \t]*$")
    if spec ~= "" then
      asked = asked + 1
      local first, last = one(spec, size)
      if first == nil or asked > range.limit then return nil end
      if first then
        list[#list + 1] = { first, last }
        bytes = bytes + last - first + 1
      end
    end
  end
  if asked == 0 or (bytes > size and #list > 1) then return nil end
  return list
end

--- Content-Range of a part.
function range.content_range(part, size)
  return ("bytes %d-%d/%d"):format(part[1], part[2], size)
end

return range
