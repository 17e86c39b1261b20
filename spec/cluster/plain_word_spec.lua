-- Workers that listen on nothing and are supervised like the others.

local cluster = require "spec.support.cluster"
local uv = require "luv"

-- Prints a line when it starts and when it ends; one write each, for two may be torn apart by another process.
local JOB = [[
  local worker = require("clua").Worker()
  local uv = require "luv"
  io.stderr:write("job runs in " .. uv.os_getpid() .. "\n")
  worker:on("exit", function() io.stderr:write("job ends\n") end)
  worker:ready(function() error("there is nothing to connect to") end)
]]

local function start(options)
  return cluster.up { app = "app.lua", name = "job", options = options, files = { ["app.lua"] = JOB } }
end

describe("a worker registered by a plain word", function()
  after_each(cluster.cleanup)

  it("runs, listens on nothing, and ends with the cluster", function()
    local c = start { cnum = 2 }
    assert.equal(2, #c:workers("job"))
    assert.equal(2, c:count("out: job runs in "))
    assert.equal(0, c:count("listening on"))
    c:stop()
    assert.equal(2, c:count("out: job ends$"))
  end)

  it("is replaced when it dies", function()
    local c = start { cnum = 1 }
    local pid = c:workers()[1].pid
    assert(uv.kill(pid, "sigkill"))
    c:wait_log("out: job runs in ", nil, 2)
    assert.not_equal(pid, c:wait_workers(1)[1].pid)
  end)

  it("is reloaded", function()
    local c = start { cnum = 1 }
    c:signal("sigusr1")
    c:wait_log("reload of job done")
    assert.equal(2, c:count("out: job runs in "))
    c:wait_log("out: job ends$")
  end)
end)
