--- `clua log-level [LEVEL]`
-- @module clua.cli.log-level

local target = require "clua.control.target"

local log_level = { summary = "show or set which lines are logged, of the master and all workers" }

function log_level.configure(parser)
  parser:argument("level", "debug, info, warn or error"):args("?"):choices { "debug", "info", "warn", "error" }
  target.configure(parser)
end

function log_level.run(args)
  local client = target.open(args)
  local done, message = client:request("log-level", { level = args.level })
  client:close()
  if not done then return target.fail("log-level", message) end
  if not args.level then print(done.level) end
  return 0
end

return log_level
