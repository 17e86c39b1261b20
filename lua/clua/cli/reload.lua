--- `clua reload [NAME] [--wait]`
-- @module clua.cli.reload

local target = require "clua.control.target"

local reload = { summary = "replace the workers with new ones, one at a time" }

function reload.configure(parser)
  parser:argument("registration", "only the workers of this one (default: all)"):args "?"
  target.configure(parser)
  parser:flag("--wait", "until the last old worker is gone; status 1 and the reason when a new one does not get ready")
end

function reload.run(args)
  local client = target.open(args)
  local done, message, code = client:request("reload", { name = args.registration, wait = args.wait })
  client:close()
  if done then return 0 end
  if code == "EOF" or code == "ECONNRESET" then
    message = "the master was stopped or upgraded meanwhile, and how the reload ended is in its log"
  end
  return target.fail("reload", message)
end

return reload
