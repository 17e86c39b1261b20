-- TTIN and TTOU: one worker more, one fewer.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local load = require "spec.support.load"

describe("the number of workers", function()
  after_each(cluster.cleanup)

  it("goes up with TTIN and down with TTOU, and no client notices", function()
    local c = cluster.up { app = "hello", options = { cnum = 2 } }
    local clients = load.start(c:address(), { clients = 20, think = 0.05 })
    clients:wait(100)
    c:signal("sigttin")
    c:wait_workers(3)
    c:signal("sigttin")
    c:wait_workers(4)
    clients:wait(200)
    for left = 3, 1, -1 do
      local mark = c:mark()
      c:signal("sigttou")
      c:wait_log("exited, pid %d+, status 0", mark)
      assert.equal(left, #c:wait_workers(left))
      clients:wait(100)
    end
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    assert.equal(1, #c:left())
    c:stop()
  end)

  it("gives the first free position to the new one", function()
    local c = cluster.up { app = "hello", options = { cnum = 2 } }
    c:signal("sigttin")
    assert.equal(3, c:wait_workers(3)[3].id)
  end)

  it("may be none for a while: a client starts a worker, and more may follow", function()
    local c = cluster.up { app = "hello", options = { cnum = 1 } }
    c:signal("sigttou")
    c:wait_log("exited, pid %d+, status 0")
    local conn = assert(client.connect(c:address()))
    conn:send(client.format("GET", "/"))
    c:signal("sigttin")
    assert.equal(200, (conn:response("GET")))
    conn:close()
  end)
end)
