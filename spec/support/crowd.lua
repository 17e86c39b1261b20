-- A process of its own that comes as many clients at once, since one process may not have descriptors for all of them:
--
--     clua spec/support/crowd.lua ADDRESS PATH COUNT SECONDS
--
-- Prints one line: how many were served, how many were told to come later (503 with Retry-After), and what else
-- happened.

local uv = require "luv"
local root = assert(uv.fs_realpath(arg[0]):match("^(.*)/spec/support/[^/]+$"))
package.path = root .. "/?.lua;" .. package.path

local client = require "spec.support.client"
local loop = require "spec.support.loop"

local address, path, count, seconds = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4])
local served, turned_away, other, why = 0, 0, 0, "nothing else"

loop.all(count, function()
  local status, headers = client.get(address, path, nil, seconds)
  if status == 200 then
    served = served + 1
  elseif status == 503 and headers["retry-after"] then
    turned_away = turned_away + 1
  else
    other, why = other + 1, ("%s %s"):format(tostring(status), tostring(headers))
  end
end, seconds + 60)
print(("%d %d %d %s"):format(served, turned_away, other, why))
os.exit(0)
