-- connect.rateLimit counts over all workers, whatever happens to them.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local loop = require "spec.support.loop"
local uv = require "luv"

local APP = [[
local connect, http = require "clua.connect", require "clua.http"
local app = connect(connect.rateLimit { limit = 40, window = 4000, name = "spec" })
app:use(function(req, res) res:finish(tostring(require("luv").os_getpid())) end)
local server = http.createServer(app)
require("clua").ready(function(socket) server:emit("connection", socket) end)
]]

describe("connect.rateLimit in a cluster", function()
  local c, port

  before_each(function()
    c = cluster.up { app = "app.lua", files = { ["app.lua"] = APP }, options = { cnum = 3 }, own_binary = true }
    port = c:port()
  end)
  after_each(cluster.cleanup)

  -- Sends so many requests at a time, each on its own connection; returns how many were allowed, and by whom.
  local function send(count)
    local allowed, pids = 0, {}
    loop.all(count, function()
      local status, headers, body = client.get(port, "/")
      assert.is_true(status == 200 or status == 429, tostring(status))
      if status == 200 then
        allowed = allowed + 1
        pids[tonumber(body)] = true
      else
        assert.is_true(tonumber(headers["retry-after"]) > 0)
      end
    end)
    return allowed, pids
  end

  it("gives a client its share once, not once for each worker", function()
    local allowed, pids = send(60)
    assert.equal(40, allowed)
    local seen = 0
    for _ in pairs(pids) do seen = seen + 1 end
    assert.is_true(seen > 1, seen .. " worker") -- a busy machine may leave one of three out
  end)

  it("forgets nothing by kill -9, reload and upgrade", function()
    assert.equal(10, (send(10)))
    for _, member in ipairs(c:workers()) do
      local mark = c:mark()
      assert(uv.kill(member.pid, "sigkill"))
      c:wait_log("ready, pid", mark)
    end
    c:wait_workers(3)
    assert.equal(10, (send(10)))
    local mark = c:mark()
    c:signal("sigusr1")
    c:wait_log("reload of .* done", mark)
    assert.equal(10, (send(10)))
    mark = c:mark()
    c:signal("sigusr2")
    c:wait_log("upgrade", mark)
    c:wait_log("upgraded", mark)
    mark = c:mark()
    c:signal("sigusr1")
    c:wait_log("reload of .* done", mark)
    assert.equal(10, (send(30)))
  end)
end)
