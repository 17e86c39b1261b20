-- What a handler with something to do does, some 100 microseconds long: clua and nginx run the same.
local STEPS = 25000

return function()
  local n = 1
  for _ = 1, STEPS do n = (n * 16807) % 2147483647 end
  return n
end
