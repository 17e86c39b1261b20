-- clua for instruction counts; arg: port. Nothing that the clock decides, since valgrind slows everything down: no
-- worker is found stuck, and no connection is parked between two requests.
local cluster = require "clua"
cluster.Master()
  :register("127.0.0.1:" .. arg[1], __dirname .. "/clua_app.lua",
    { cnum = 1, hang_timeout = 0, steal_after = 0, linger = 60, ready_timeout = 120, sched_batch = false })
  :dispatch()
