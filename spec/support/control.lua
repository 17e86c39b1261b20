-- The control socket of a cluster (cluster.lua): its path, the commands for it, and raw clients.

local cjson = require "cjson"
local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"
local uv = require "luv"

local control = {}

--- Where the cluster's socket is; nil when it has none.
function control.path(c)
  local request = uv.fs_scandir(c.dir)
  for name in function() return request and uv.fs_scandir_next(request) end do
    if name:find("%-%d+%.control$") then return c.dir .. "/" .. name end
  end
end

--- Runs `clua ...` as the only user of that cluster's folder: output, error output, status.
function control.run(c, ...)
  return command.run("/usr/bin/env", { "CLUA_RUNTIME_DIR=" .. c.dir, cluster.binary, ... })
end

--- A client that has been greeted.
function control.connect(c)
  local conn = assert(client.connect("unix:" .. control.path(c)))
  local hello = cjson.decode((assert(conn:read_until("\n"))))
  assert(hello.hello == "clua" and hello.pid == c.pid and hello.protocol == 1, "no greeting")
  return conn
end

--- The next line, decoded; nil and why.
function control.line(conn)
  local line, why = conn:read_until("\n")
  if not line then return nil, why end
  return cjson.decode(line)
end

--- Asks, and waits for the next line.
function control.ask(conn, request)
  conn:send(cjson.encode(request) .. "\n")
  return control.line(conn)
end

return control
