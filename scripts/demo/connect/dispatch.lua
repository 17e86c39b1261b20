-- A web site: files and a handler, in a middleware chain.
--
--     clua scripts/demo/connect/dispatch.lua [OFFSET]
--
-- http://localhost:19841/ shows index.html, any other path is answered by app.lua. OFFSET is added to the port.
local cluster = require "clua"

local port = 19841 + tonumber(arg[1] or 0)
local master = cluster.Master()

master:register(port, __dirname .. "/app.lua")

print(("try:  curl http://localhost:%d/  and  curl http://localhost:%d/any/path    Ctrl-C ends it."):format(port, port))
io.stdout:flush()
master:dispatch()
