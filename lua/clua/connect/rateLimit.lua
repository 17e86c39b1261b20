--- So many requests in so much time, for each client, counted over all workers of the registration.
--
-- A token bucket for each key: it holds `burst` requests and fills by `limit` in `window` seconds. The buckets lie in a
-- table of fixed size that the workers share (src/buckets.h): a worker that dies, a reload and an upgrade change
-- nothing in it. When more than some 65,000 keys are limited at a time, those nearest to a full bucket are forgotten.
-- @module clua.connect.rateLimit

local core = require "clua.core.buckets"
local options = require "clua.options"
local usage = require "clua.usage"

local NAME = "rateLimit(options)"
local KNOWN = { limit = "integer", window = "number", burst = "integer", key = "function", name = "string" }

local instances = 0

-- The four first groups of an IPv6 address: what one customer has, who could use another address for each request.
local function network_of(address)
  local mapped = address:lower():match("^::ffff:(%d+%.%d+%.%d+%.%d+)$")
  if mapped then return mapped end
  local head, tail = address:match("^(.-)::(.*)$")
  local groups, rest = {}, {}
  for group in (head or address):gmatch("%x+") do groups[#groups + 1] = group:lower():gsub("^0+(%x)", "%1") end
  for group in (tail or ""):gmatch("%x+") do rest[#rest + 1] = group:lower():gsub("^0+(%x)", "%1") end
  while #groups + #rest < 8 do groups[#groups + 1] = "0" end
  for _, group in ipairs(rest) do groups[#groups + 1] = group end
  return table.concat(groups, ":", 1, 4) .. "::/64"
end

local function address_of(req)
  local address = req.remoteAddress or "unknown"
  return address:find(":", 1, true) and network_of(address) or address
end

local function settings_of(given)
  given = options.check(given, KNOWN, NAME, 3)
  local limit, window = given.limit, given.window or 60
  if not limit or limit < 1 then usage.fail(2, "%s: option 'limit' must be a number of requests, at least 1", NAME) end
  local burst = given.burst or limit
  if burst < 1 then usage.fail(2, "%s: option 'burst' must be at least 1", NAME) end
  local interval = window / limit
  if window <= 0 or interval * 1e9 < 1 or interval * burst > 366 * 24 * 3600 then
    usage.fail(2, "%s: %d requests (burst %d) in %g s cannot be counted: a year is the most, 1 ns a request the least",
      NAME, limit, burst, window)
  end
  instances = instances + 1
  -- Another limit is another bucket; the order in which a script makes them is the same in every worker.
  local name = ("%s %d %g %d"):format(given.name or "#" .. instances, limit, window, burst)
  return {
    limit = limit, interval = interval, burst = burst, capacity = interval * burst, key = given.key or address_of,
    name = name, policy = ("%d;w=%d;burst=%d"):format(limit, math.ceil(window), burst),
  }
end

--- Makes the middleware. Every answer has RateLimit-Limit, -Remaining, -Reset (seconds until the bucket is full) and
-- -Policy; who has used up his share gets next{ status = 429 } with Retry-After.
-- @tparam table given options:
-- @tparam number given.limit requests ...
-- @tparam[opt=60] number given.window ... in so many seconds
-- @tparam[opt] number given.burst how many may come at once; default: limit
-- @tparam[opt] function given.key fn(req) -> string: who is limited; nil: nobody. Default: the client's address (of
-- IPv6 the first 64 bits). Behind a proxy that is the proxy's: take the header that it sets
-- @tparam[opt] string given.name limiters of the same name (and figures) share their buckets; default: each its own
-- @treturn function(req, res, next)
-- @raise an unknown or missing option
return function(given)
  local self = settings_of(given)
  return function(req, res, next)
    local key = self.key(req)
    if key == nil then return next() end
    local allowed, missing = core.take(self.name .. "\0" .. tostring(key), self.capacity, self.interval)
    res:setHeader("RateLimit-Limit", self.burst)
    res:setHeader("RateLimit-Remaining", math.max(0, math.floor((self.capacity - missing) / self.interval + 1e-6)))
    res:setHeader("RateLimit-Reset", math.ceil(missing))
    res:setHeader("RateLimit-Policy", self.policy)
    if allowed then return next() end
    res:setHeader("Retry-After", math.max(1, math.ceil(missing + self.interval - self.capacity)))
    return next { status = 429, message = "too many requests" }
  end
end
