-- A worker that is a client of another registration of the same cluster.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"

local function start()
  local dispatch = ([[
    local master = require("clua").Master()
    master:register("./back.sock", %q, { cnum = 2 })
    master:register("127.0.0.1:0", %q, { cnum = 1, args = { "back.sock" } })
    master:dispatch()
  ]]):format(cluster.fixture("proxy"), cluster.fixture("proxy"))
  local c = cluster.start { dispatch = dispatch }
  c:wait_workers(3)
  return c
end

describe("a worker that proxies to another registration", function()
  after_each(cluster.cleanup)

  local function address(c)
    return c:find("listening on (127%S+) for ")
  end

  it("passes requests and bodies on", function()
    local c = start()
    local back = {}
    for _, member in ipairs(c:workers("./back.sock")) do back[member.pid] = true end
    local conn = assert(client.connect(address(c)))
    for i = 1, 20 do
      local status, headers, body = conn:request("GET", "/" .. i)
      assert.same({ 200, "GET /" .. i }, { status, body })
      assert.is_true(back[tonumber(headers["x-pid"])])
    end
    local big = ("0123456789"):rep(100000)
    local status, _, body = conn:request("POST", "/big", nil, big)
    assert.equal(200, status)
    assert.is_true(body == big .. "POST /big")
    c:stop()
  end)

  it("goes on while the other one is reloaded, and stops at once with idle connections in its pool", function()
    local c = start()
    local conn = assert(client.connect(address(c)))
    assert.equal(200, (conn:request("GET", "/before")))
    c:signal("sigusr1")
    c:wait_log("reload of %./back%.sock done")
    for i = 1, 20 do assert.equal(200, (conn:request("GET", "/" .. i))) end
    conn:close()
    c:stop()
    assert.equal(0, c:count("did not finish"))
  end)
end)
