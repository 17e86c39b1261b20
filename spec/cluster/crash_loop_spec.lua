-- Workers that die again and again while they boot.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"

-- Seconds of each announced restart, in order.
local function delays(c)
  local list = {}
  for _, entry in ipairs(c:events("^restart of worker %d+ of .* in ")) do
    list[#list + 1] = tonumber(entry.text:match(" in ([%d.]+) ?s"))
  end
  return list
end

describe("a worker that crashes on boot", function()
  after_each(cluster.cleanup)

  for _, case in ipairs { { "error", "status %d+" }, { "exit 3", "status 3" }, { "sigabrt", "killed by SIGABRT" } } do
    local how, told = unpack(case)
    it(("(%s) backs off, is given up, and recovers when it is mended"):format(how), function()
      local c = cluster.start {
        app = "crash_on_boot", options = { cnum = 1 }, events = { "giveup" },
        master = { max_fatal_restart = 3, restart_delay_max = 60 }, files = { crash = how .. "\n" },
      }
      local conn = assert(client.connect(c:address()))
      conn:send(client.format("GET", "/"))
      c:wait_log("gave up on ")
      c:wait_log("^event giveup")
      assert.is_true(c:count("exited, pid %d+, " .. told) >= 3, c:text())
      c:wait_log("restart of worker 1 of .* in 60 s")
      local list = delays(c)
      assert.is_true(#list >= 3, c:text())
      for i = 2, #list do assert.is_true(list[i] > list[i - 1], c:text()) end
      assert.is_true(list[1] <= 0.2)

      -- It goes on trying; a reload is the way not to wait for it.
      os.remove(c.dir .. "/crash")
      c:signal("sigusr1")
      c:wait_log("all workers ready", nil, 1, 60)
      assert.equal(200, (conn:response("GET")))
      conn:close()
      c:stop()
    end)
  end

  it("goes on being tried after it was given up", function()
    local c = cluster.start {
      app = "crash_on_boot", options = { cnum = 1 },
      master = { max_fatal_restart = 2, restart_delay_max = 0.5 }, files = { crash = "error\n" },
    }
    c:wait_log("gave up on ")
    c:wait_log("exited, pid", nil, 6)
    assert.equal(1, c:count("gave up on "))
    os.remove(c.dir .. "/crash")
    c:wait_log("all workers ready")
    c:stop()
  end)

  it("does not disturb the workers of another registration", function()
    local c = cluster.start { files = { crash = "error\n" }, dispatch = ([[
      local master = require("clua").Master { max_fatal_restart = 2 }
      master:register("127.0.0.1:0", %q, { cnum = 1 }):register("bad", %q, { cnum = 2 })
      master:dispatch()
    ]]):format(cluster.fixture("hello"), cluster.fixture("crash_on_boot")) }
    c:wait_log("gave up on ")
    for _ = 1, 10 do assert.equal(200, (client.get(c:address(), "/"))) end
    c:stop()
  end)
end)
