--- Remembers what a pure function has returned, for arguments that come again and again: times, paths of a site.
-- @module clua.memo

local KEPT = 256 -- results; then all are forgotten
local LONGEST = 256 -- bytes of a string that is remembered: clients choose them

--- A function that calls fn once for each argument that it has not seen lately.
-- @tparam function fn fn(value): the same result for the same value, always, and never nil
-- @treturn function
local function memo(fn)
  local results, kept = {}, 0
  return function(value)
    local result = results[value]
    if result ~= nil then return result end
    result = fn(value)
    if type(value) == "string" and #value > LONGEST then return result end
    if kept == KEPT then results, kept = {}, 0 end
    results[value], kept = result, kept + 1
    return result
  end
end

return memo
