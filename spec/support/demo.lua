-- Starts the scripts of scripts/demo on ports of their own, from a copy: the repository may be where only root can
-- read, and some of their workers are not root.

local cluster = require "spec.support.cluster"
local uv = require "luv"

local demo = {}

local DEMO = uv.cwd() .. "/scripts/demo"

math.randomseed(uv.hrtime() % 2 ^ 31)

local function is_free(port)
  local tcp = uv.new_tcp()
  local free = tcp:bind("0.0.0.0", port) and tcp:listen(1, function() end)
  tcp:close()
  return free
end

-- A number that the demo can add to all its ports: below the range from which clients get theirs.
local function free_offset(ports)
  for _ = 1, 100 do
    local offset = -math.random(1100, 7000)
    local free = true
    for _, port in ipairs(ports) do free = free and is_free(port + offset) end
    if free then return offset end
  end
  error("no free ports for the demo")
end

--- Starts a demo and waits until its workers are ready; its temporary files go into the cluster's own directory.
-- command: what the shell runs before it becomes clua. Returns the cluster and what was added to the ports.
function demo.start(script, ports, command)
  local offset = free_offset(ports)
  local copy = ("cp -R '%s' demo && chmod -R a+rX demo || exit"):format(DEMO)
  local shell = ('export TMPDIR="$PWD"\n%s\nset -- demo/%s %d'):format(copy, script, offset)
  local self = cluster.start { shell = command and shell .. "; " .. command or shell }
  self:wait_log("all workers ready")
  return self, offset
end

return demo
