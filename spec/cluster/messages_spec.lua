-- Messages between workers.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"

-- Two pools of gossips named "one" and "two" besides an address each.
local function start()
  local app = cluster.fixture("gossips")
  local c = cluster.start { dispatch = ([[
    local master = require("clua").Master()
    master:register("127.0.0.1:0", %q, { cnum = 3 }):register("other", %q, { cnum = 2 })
    master:dispatch()
  ]]):format(app, app) }
  c:wait_log("all workers ready")
  return c
end

local function tell(c, path)
  local _, _, body = client.get(c:address(), "/tell/" .. path)
  assert.equal("told", body)
end

describe("a broadcast", function()
  after_each(cluster.cleanup)

  it("reaches every worker of the registration but the sender once, and no other", function()
    local c = start()
    tell(c, "other/news")
    c:wait_log("out: %d+ heard news$", nil, 2)
    for _, member in ipairs(c:workers("other")) do
      assert.equal(1, c:count(("out: %d heard news$"):format(member.pid)))
    end
    -- What was sent later has come, so what was sent before has not gone elsewhere.
    tell(c, "127.0.0.1:0/later")
    c:wait_log("out: %d+ heard later$", nil, 2)
    assert.equal(2, c:count("heard news"))
    assert.equal(2, c:count("heard later"))
  end)

  it("reaches a single worker by its pid", function()
    local c = start()
    local target = c:workers("other")[2].pid
    tell(c, "other/secret/" .. target)
    c:wait_log(("out: %d heard secret$"):format(target))
    tell(c, "other/later")
    c:wait_log("out: %d+ heard later$", nil, 2)
    assert.equal(1, c:count("heard secret"))
  end)

  it("keeps the order of one sender", function()
    local c = start()
    for i = 1, 50 do tell(c, "other/" .. i .. "/" .. c:workers("other")[1].pid) end
    c:wait_log("heard 50$")
    local last = 0
    for _, entry in ipairs(c:events("heard %d+$")) do
      local number = tonumber(entry.text:match("(%d+)$"))
      assert.equal(last + 1, number)
      last = number
    end
  end)

  it("that is too long is refused, by a worker and by the master", function()
    local c = cluster.up { dispatch = [[
      io.stdout:setvbuf "line"
      local master = require("clua").Master()
      master:register("job", "job.lua", { cnum = 1 })
      master:on("ready", function()
        print("master", master:broadcast("job", ("x"):rep(70000)))
        print("fits", master:broadcast("job", ("x"):rep(64000)))
      end)
      master:dispatch()
    ]], files = { ["job.lua"] = [[
      local worker = require("clua").Worker():ready(function() end)
      worker:on("message", function(message) print("got", #message, worker:broadcast("job", message .. message)) end)
    ]] } }
    c:wait_log("out: got\t64000\tnil\tthe message has 128%d%d%d bytes, at most 65000 can be sent\tEMSGSIZE")
    c:wait(function() return #c.out >= 2 end, "what the master says")
    assert.truthy(c.out[1]:find("^master\tnil\tthe message has 70%d%d%d bytes, at most 65000 can be sent\tEMSGSIZE$"))
    assert.equal("fits\ttrue", c.out[2])
    assert.equal(0, c:count("dropped"))
    c:stop()
  end)

  it("to a name that nobody has registered does no harm", function()
    local c = start()
    client.get(c:address(), "/tell/nobody/hello")
    tell(c, "other/later")
    c:wait_log("out: %d+ heard later$", nil, 2)
    assert.equal(0, c:count("exited"))
  end)
end)
