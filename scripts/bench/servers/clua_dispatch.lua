-- clua under test. arg: port, number of workers, defer_accept, linger, sched_batch.
local cluster = require "clua"
cluster.Master { log_level = os.getenv "BENCH_LOG" or "warn" }
  :register("127.0.0.1:" .. arg[1], __dirname .. "/clua_app.lua", { cnum = tonumber(arg[2] or 1),
    defer_accept = arg[3] ~= "false", linger = tonumber(arg[4] or 0.2), sched_batch = arg[5] ~= "false" })
  :dispatch()
