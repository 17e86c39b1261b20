--- `clua upgrade [--wait]`
-- @module clua.cli.upgrade

local Client = require "clua.control.client"
local async = require "clua.async"
local target = require "clua.control.target"

local upgrade = { summary = "take a new binary and dispatch script, in place: same pid, same connections" }

local DEADLINE_S = 60 -- for the upgraded master to answer
local PAUSE_S = 0.05

function upgrade.configure(parser)
  target.configure(parser)
  parser:flag("--wait", "until the new master serves; status 1, with the reason, when its check has failed")
end

-- The socket is the same: who connects while the master is executed anew waits for it.
local function reconnect(path, pid)
  local tries = math.ceil(DEADLINE_S / PAUSE_S)
  for _ = 1, tries do
    local client, message, code = Client.open(path)
    if client then return client end
    if code == "ENOENT" or code == "ECONNREFUSED" then
      if not require("luv").kill(pid, 0) then return nil, "the master has ended: see its log" end
      return nil, "it has no control socket any more, and how the upgrade ended is in its log"
    end
    if code ~= "EOF" and code ~= "ECONNRESET" then return nil, message end
    async.sleep(PAUSE_S)
  end
  return nil, ("the master has not answered for %d s"):format(DEADLINE_S)
end

function upgrade.run(args)
  local client = target.open(args)
  local done, message, code = client:request("upgrade", { wait = args.wait })
  client:close()
  if done then return 0 end
  if not args.wait or code ~= "EOF" and code ~= "ECONNRESET" then return target.fail("upgrade", message) end
  local after
  after, message = reconnect(client.path, client.pid)
  if not after then return target.fail("upgrade", message) end
  after:close()
  if after.generation > client.generation then return 0 end
  return target.fail("upgrade", "the connection was cut off, and the master is the one that it was")
end

return upgrade
