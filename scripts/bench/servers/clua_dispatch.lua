-- clua under test: one worker unless told otherwise. arg: port, number of workers.
local cluster = require "clua"
cluster.Master { log_level = "warn" }
  :register("127.0.0.1:" .. arg[1], __dirname .. "/clua_app.lua", { cnum = tonumber(arg[2] or 1) })
  :dispatch()
