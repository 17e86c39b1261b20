--- What the client wants to read (RFC 9110, 12.5.1).
-- @module clua.connect.accept

local accept = {}

-- How well a range of the header fits a type: 3 the same, 2 type/*, 1 */*, nil not at all.
local function fit(range, wanted)
  if range == wanted then return 3 end
  if range == "*/*" then return 1 end
  local main = range:match("^([^/]+)/%*$")
  return main and main == wanted:match("^[^/]+") and 2 or nil
end

-- Quality of a type: that of the most exact range which fits; 0 when none does.
local function quality(header, wanted)
  local best, q = 0, 0
  for part in header:lower():gmatch("[^,]+") do
    local range = part:match("^%s*([^;%s]+)")
    local exact = range and fit(range, wanted)
    if exact and exact > best then
      best, q = exact, tonumber(part:match(";%s*q=([%d.]+)")) or 1
    end
  end
  return q
end

--- The best of what can be offered.
-- @tparam ?string header of the request; nil: anything
-- @tparam table offers media types, the preferred one first
-- @treturn ?string one of them; nil when the client wants none
function accept.best(header, offers)
  if not header or header:match("^%s*$") then return offers[1] end
  local best, best_q = nil, 0
  for _, offer in ipairs(offers) do
    local q = quality(header, offer)
    if q > best_q then best, best_q = offer, q end
  end
  return best
end

return accept
