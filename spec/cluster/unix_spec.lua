-- Listening on unix sockets.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local uv = require "luv"

local function mode(path)
  return assert(uv.fs_stat(path)).mode % 512
end

describe("a unix socket", function()
  after_each(cluster.cleanup)

  it("is served by all workers, with keep-alive, and removed at the end", function()
    local c = cluster.up { app = "hello", name = "./hello.sock", options = { cnum = 2 } }
    local path, pids = c.dir .. "/hello.sock", {}
    assert.truthy(c:find("listening on unix:%S*hello.sock for "))
    for _ = 1, 20 do
      local _, _, body = client.get(path, "/")
      pids[tonumber(body)] = true
    end
    for _, member in ipairs(c:workers()) do assert.is_true(pids[member.pid]) end
    local conn = assert(client.connect(path))
    for _ = 1, 3 do assert.equal(200, (conn:request("GET", "/"))) end
    conn:close()
    c:stop()
    assert.is_nil(uv.fs_stat(path))
  end)

  it("can be written as unix:PATH and be given a mode", function()
    local c = cluster.up { app = "hello", name = "unix:here.sock", options = { cnum = 1, mode = 432 } }
    assert.equal(tonumber("660", 8), mode(c.dir .. "/here.sock"))
    assert.equal(200, (client.get(c.dir .. "/here.sock", "/")))
  end)

  it("of a cluster that was killed does not stop a start", function()
    local first = cluster.up { app = "hello", name = "./hello.sock", options = { cnum = 1 } }
    first:signal("sigkill")
    first:wait_exit()
    assert.truthy(uv.fs_stat(first.dir .. "/hello.sock"))
    local second = cluster.up { dir = first.dir, app = "hello", name = "./hello.sock", options = { cnum = 1 } }
    assert.equal(200, (client.get(first.dir .. "/hello.sock", "/")))
    second:stop()
  end)

  it("of a live cluster is refused and goes on to be served", function()
    local first = cluster.up { app = "hello", name = "./hello.sock", options = { cnum = 1 } }
    local second = cluster.start { dir = first.dir, app = "hello", name = "./hello.sock", options = { cnum = 1 } }
    assert.not_equal(0, (second:wait_exit()))
    assert.is_true(second:count("hello.sock") > 0, second:text())
    local _, _, body = client.get(first.dir .. "/hello.sock", "/")
    assert.equal(first:workers()[1].pid, tonumber(body))
    first:stop()
  end)

  it("is not put in the place of a file that is no socket", function()
    local c = cluster.start { app = "hello", name = "./precious", files = { precious = "data" } }
    assert.not_equal(0, (c:wait_exit()))
    assert.is_true(c:count("precious") > 0, c:text())
    assert.equal("file", uv.fs_stat(c.dir .. "/precious").type)
  end)
end)
