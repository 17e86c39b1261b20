-- A web site: files and a handler, in a middleware chain.
--
--     clua scripts/demo/connect/dispatch.lua [OFFSET]
--
-- http://localhost:19841/ shows index.html, any other path is answered by app.lua. OFFSET is added to the port.
local cluster = require "clua"

local port = 19841 + assert(tonumber(arg[1] or 0), "usage: dispatch.lua [OFFSET], a number")
local master = cluster.Master()

master:register(port, __dirname .. "/app.lua")

io.stdout:setvbuf "line" -- at once, also into a file
print(("try:  curl http://localhost:%d/  and  curl http://localhost:%d/any/path    Ctrl-C ends it."):format(port, port))
master:dispatch()
