-- What a worker, and whatever it starts, gets from the master: nothing that is not its own.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local proc = require "spec.support.proc"
local uv = require "luv"

local LOG_FD = 5 -- the log, which is a socket of the harness

describe("a child of a worker", function()
  after_each(cluster.cleanup)

  it("holds no descriptor but the standard ones", function()
    local c = cluster.up { app = "forks_child", options = { cnum = 2 } }
    -- Connections are held by the worker at the same time, and by the master.
    local idle = {}
    for i = 1, 4 do
      idle[i] = assert(client.connect(c:address()))
      assert.equal(200, (idle[i]:request("GET", "/")))
    end
    local status, _, body = client.get(c:address(), "/fds")
    assert.equal(200, status)
    local count = 0
    for number, target in body:gmatch("(%d+) %-> ([^\n]*)\n") do
      count = count + 1
      -- The one beyond is what ls reads the list with.
      assert.is_true(tonumber(number) <= 2 or target:find("^/proc/%d+/fd$") ~= nil, body)
    end
    assert.is_true(count >= 3, body)
    for _, conn in ipairs(idle) do conn:close() end
  end)

  it("does not keep a connection, a channel or the cluster alive", function()
    local c = cluster.up { app = "forks_child", options = { cnum = 1 } }
    local conn = assert(client.connect(c:address()))
    local _, _, body = conn:request("GET", "/orphan", { Connection = "close" })
    local orphan = tonumber(body)
    assert.equal("", (conn:read_all()))
    assert.equal("eof", conn.closed)
    conn:close()
    -- While it starts it reads files of its own.
    c:wait(function()
      for fd in pairs(proc.fds(orphan)) do
        if fd > 2 then return false end
      end
      return true
    end, "the child to hold the standard descriptors only")
    c:stop()
    assert.is_true(proc.alive(orphan))
    assert.same({ orphan }, c:left())
    uv.kill(orphan, "sigkill")
  end)
end)

describe("a worker", function()
  after_each(cluster.cleanup)

  it("holds neither listeners nor the channel of another", function()
    local c = cluster.up { app = "hello", options = { cnum = 3 } }
    local channels = {}
    for _, member in ipairs(c:workers()) do
      local sockets, memfds = 0, 0
      for fd, target in pairs(proc.fds(member.pid)) do
        if fd > 2 and fd ~= LOG_FD and target:find("^socket:") then
          sockets = sockets + 1
          assert.is_nil(channels[target], "two workers share a socket")
          channels[target] = fd
        end
        if target:find("memfd", 1, true) then memfds = memfds + 1 end
      end
      assert.equal(1, sockets, "an idle worker has a channel and no other socket")
      assert.is_true(memfds <= 1, "more than its own segment")
    end
  end)

  it("is started with default signal dispositions and no blocked signal", function()
    local c = cluster.up { app = "forks_child", options = { cnum = 1 } }
    local _, _, body = client.get(c:address(), "/orphan")
    local orphan = tonumber(body)
    local status = proc.status(orphan)
    uv.kill(orphan, "sigkill")
    -- Of what a worker ignores for itself its children must know nothing. (32 and 33 are the C library's own.)
    local function signals(field) return bit.band(tonumber(field:sub(-8), 16), 0x7fffffff) end
    assert.equal(0, signals(status.SigBlk))
    assert.equal(0, signals(status.SigIgn))
  end)
end)
