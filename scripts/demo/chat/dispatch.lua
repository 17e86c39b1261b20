-- A chat over server-sent events, by several workers that may die or be replaced at any time.
--
--     clua scripts/demo/chat/dispatch.lua [OFFSET]
--
-- http://localhost:19851/ is the page. app.lua serves browsers; hub.lua, a registration that listens on nothing, gives
-- each message its number, keeps it in a file and tells all workers. OFFSET is added to the port.
local cluster = require "clua"
local uv = require "luv"

local port = 19851 + assert(tonumber(arg[1] or 0), "usage: dispatch.lua [OFFSET], a number")
local history = ("%s/clua-chat-%d.jsonl"):format(uv.os_tmpdir(), port)

local master = cluster.Master()
master:register("hub", __dirname .. "/hub.lua", { cnum = 1, args = { history, tostring(port) } })
master:register(port, __dirname .. "/app.lua", { cnum = 3, term_timeout = 5 })

io.stdout:setvbuf "line" -- at once, also into a file
print(("try:  http://localhost:%d/ in two windows, and `kill -9` of any worker.    Ctrl-C ends it."):format(port))
print("messages are kept in " .. history)
master:dispatch()
