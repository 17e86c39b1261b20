--- When to start a worker again after it has died unasked: a pure function of the deaths so far and the clock.
-- @module clua.restart

local Restart = {}
Restart.__index = Restart

local CALM_LIFE = 1 -- seconds: a first death after such a life is no sign of a crash loop

--- @tparam table options `max` deaths in `window` seconds before giving up, first `delay` and `delay_max` in seconds
function Restart.new(options)
  return setmetatable({
    max = options.max, window = options.window, delay = options.delay, delay_max = options.delay_max, deaths = {},
  }, Restart)
end

--- Counts a death.
-- @tparam number now seconds of a clock that never goes back
-- @tparam number lived seconds that the worker had lived
-- @treturn number seconds to wait before the next start
-- @treturn boolean true when this death is the one that gives up: from now on it is tried at the slowest pace
function Restart:died(now, lived)
  -- At the slowest pace deaths are further apart because we wait: that alone must not look like recovery.
  local window = self.given_up and self.window + self.delay_max or self.window
  local kept = {}
  for _, at in ipairs(self.deaths) do
    if now - at < window then kept[#kept + 1] = at end
  end
  kept[#kept + 1] = now
  self.deaths = kept
  local count = #kept
  if count == 1 then self.given_up = false end
  local gives_up = count > self.max and not self.given_up
  if gives_up then self.given_up = true end
  if self.given_up then return self.delay_max, gives_up end
  if count == 1 and lived >= CALM_LIFE then return 0, false end
  return math.min(self.delay * 2 ^ (count - 1), self.delay_max), false
end

return Restart
