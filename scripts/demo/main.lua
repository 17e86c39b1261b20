-- The demo: three registrations in one cluster.
--
--     clua scripts/demo/main.lua [OFFSET]
--
-- OFFSET is added to every port, for a machine on which they are taken: 1000 makes it 34749, 9080, 34750 and 34751.
local cluster = require "clua"
local uv = require "luv"

local offset = assert(tonumber(arg[1] or 0), "usage: main.lua [OFFSET], a number")

-- A worker that drops its rights must still be able to read its script.
local function others_can_read(path)
  local stat = uv.fs_stat(path)
  local bit = stat.type == "directory" and 1 or 4 -- search a directory, read a file
  return math.floor(stat.mode / bit) % 2 == 1 and (path == "/" or others_can_read(path:match("^(.+)/") or "/"))
end
local drop = uv.getuid() == 0 and others_can_read(uv.fs_realpath(__dirname .. "/worker/echo.lua"))

local master = cluster.Master {
  max_fatal_restart = 5,    -- more than so many deaths ...
  restart_time_window = 60, -- ... within so many seconds are an event for `giveup`, below
}

-- HTTP: a JSON answer to every request. `cnum` is the number of workers; default: as many as there are CPUs.
master:register(33749 + offset, __dirname .. "/worker/http.lua", {
  cnum = 2,
  maxc = 10000, -- a worker is replaced after about so many requests; nobody notices
})

-- Any other protocol works the same way.
master:register(8080 + offset, __dirname .. "/worker/echo.lua", {
  cnum = 2,
  -- What a client is told, byte for byte, when it has waited too long for a worker. Default: an HTTP 503.
  gone = "Sorry, we are full. Try again later.\r\n",
  -- Workers give up root before they run a line of Lua. Only root can change its user.
  user = drop and "nobody" or nil,
  group = drop and "nogroup" or nil,
})

-- One pool of workers on two ports.
master:register({ 33750 + offset, 33751 + offset }, __dirname .. "/worker/multi_port_http.lua", { cnum = 2 })

master:on("giveup", function(name, message)
  print(("workers of %s keep dying: %s"):format(name, message))
end)

local function show(command, meaning)
  print(("  %-46s %s"):format(command, meaning))
end

io.stdout:setvbuf "line" -- at once, also into a file
print("try, in another terminal:")
show(("curl -d hello http://localhost:%d/some/path"):format(33749 + offset), "JSON: method, url and body")
show(("nc localhost %d"):format(8080 + offset), "echo; say bye, or fatal")
show(("curl http://localhost:%d/"):format(33750 + offset), "one pool of workers ...")
show(("curl http://localhost:%d/"):format(33751 + offset), "... on two ports")
show(("kill -USR1 %d"):format(uv.os_getpid()), "replaces all workers, loses no connection")
print("Ctrl-C ends it.\n")

master:dispatch()
