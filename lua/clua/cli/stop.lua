--- `clua stop [--now] [--wait]`
-- @module clua.cli.stop

local target = require "clua.control.target"

local stop = { summary = "stop a cluster: requests in execution finish" }

function stop.configure(parser)
  target.configure(parser)
  parser:flag("--now", "requests in execution are lost")
  parser:flag("--wait", "until the master is gone")
end

function stop.run(args)
  local client = target.open(args)
  local done, message = client:request("stop", { now = args.now })
  if not done then return target.fail("stop", message) end
  if args.wait then client:wait_end() end
  client:close()
  return 0
end

return stop
