--- `clua scale REGISTRATION COUNT`
-- @module clua.cli.scale

local target = require "clua.control.target"

local scale = { summary = "set the number of workers" }

local function count(word)
  if word:find "^%d+$" then return tonumber(word) end
  return nil, ("the number of workers must be a whole number, got '%s'"):format(word)
end

function scale.configure(parser)
  parser:argument("registration", "whose workers: as clua status names it")
  parser:argument("count", "how many"):convert(count)
  target.configure(parser)
end

function scale.run(args)
  local client = target.open(args)
  local done, message = client:request("scale", { name = args.registration, count = args.count })
  client:close()
  if not done then return target.fail("scale", message) end
  return 0
end

return scale
