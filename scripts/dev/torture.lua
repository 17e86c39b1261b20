-- Random events under mixed load for a while; see spec/support/torture.lua. `make torture SECONDS=180 SEED=n`.
--
--     build/clua scripts/dev/torture.lua [seconds] [seed]
--
-- Prints the seed first, the counts at the end, and ends with 1 when anything was lost that must not be.

package.path = "./?.lua;" .. package.path

local cluster = require "spec.support.cluster"
local torture = require "spec.support.torture"

local seconds, seed = tonumber(arg[1]) or 60, tonumber(arg[2]) or os.time()
io.stdout:setvbuf("line")
print(("torture: %d s, seed %d"):format(seconds, seed))

local ok, result = xpcall(torture.run, debug.traceback, { seconds = seconds, seed = seed, print = print })
if not ok then
  print(result) -- with the whole log
elseif #result.violations > 0 then
  local path = os.tmpname()
  cluster.write(path, result.cluster:text())
  print("the log: " .. path)
end
local clean, complaint = pcall(cluster.cleanup)
if not clean then print(complaint) end
if ok then print(result:summary()) end
os.exit(ok and clean and #result.violations == 0 and 0 or 1)
