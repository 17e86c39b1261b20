-- What a script counts by itself, and the end that does not wait.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"

local COUNTS = [[
local worker = require("clua").Worker()
worker:ready(function(socket)
  for _ = 1, 3 do worker:transact() end
  socket:write(worker.remain .. " " .. worker.scores .. "\n")
  worker:release()
  socket:write(worker.remain .. "\n")
  worker:release(0)
  socket:write(worker.remain .. " " .. worker.scores .. "\n")
  if socket:readLine() then socket:finish() end
end)
]]

local STOPS = [[
local master = require("clua").Master()
master:register("127.0.0.1:0", "app.lua", { cnum = 1, term_timeout = 1000 })
master:on("message", function() master:stop_now() end)
master:dispatch()
]]

local STAYS = [[
local worker = require("clua").Worker()
worker:ready(function(socket)
  socket:write("served\n")
  worker:broadcast("master", "end it")
  socket:read()
end)
]]

describe("a worker that counts by itself", function()
  after_each(cluster.cleanup)

  it("moves remain and scores by transact() and release()", function()
    local c = cluster.up { app = "app.lua", files = { ["app.lua"] = COUNTS }, options = { cnum = 1 } }
    local conn = client.connect(c:port())
    assert.equal("3 3\n2\n0 3\n", conn:read_until("0 3\n"))
    conn:send("bye\n")
    conn:close()
  end)
end)

describe("master:stop_now", function()
  after_each(cluster.cleanup)

  it("ends a cluster that is serving, without waiting for it", function()
    local c = cluster.start { dispatch = STOPS, files = { ["app.lua"] = STAYS } }
    c:wait_log("all workers ready")
    local conn = client.connect(c:port())
    assert.equal("served\n", conn:read_until("served\n"))
    c:wait_exit()
    assert.same({}, c:left())
    conn:close()
  end)
end)
