-- Who gets which connection.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local loop = require "spec.support.loop"

local function get(address, path)
  local status, headers, body = client.get(address, path or "/")
  assert(status == 200, ("status %s, %s"):format(tostring(status), tostring(headers)))
  return tonumber(body)
end

local function count_by_worker(c, pids)
  local counts = {}
  for _, member in ipairs(c:workers()) do counts[member.pid] = 0 end
  for _, pid in ipairs(pids) do
    assert(counts[pid], "answered by a process that is no worker")
    counts[pid] = counts[pid] + 1
  end
  return counts
end

local function assert_spread(c, pids, least)
  for pid, count in pairs(count_by_worker(c, pids)) do
    assert.is_true(count >= least, ("worker %d was given %d of %d"):format(pid, count, #pids))
  end
end

describe("connections", function()
  after_each(cluster.cleanup)

  it("spread: of 1,000 none of four workers gets under 20 %", function()
    local c = cluster.up { app = "hello", options = { cnum = 4 } }
    local address = c:address()
    -- A few at a time: a worker that the machine lets wait for its turn is behind, and rightly gets less of a burst.
    local pids = loop.all(1000, function() return get(address) end, 60, 8)
    assert_spread(c, pids, 200)
  end)

  it("spread one after another", function()
    local c = cluster.up { app = "hello", options = { cnum = 4 } }
    local pids = {}
    for i = 1, 200 do pids[i] = get(c:address()) end
    assert_spread(c, pids, 40)
  end)

  it("spread when they stay open and belong to no known protocol", function()
    local c = cluster.up { app = "echo_raw", options = { cnum = 4 } }
    local address, conns = c:address(), {}
    local pids = loop.all(200, function(i)
      conns[i] = assert(client.connect(address))
      return tonumber(assert(conns[i]:send("pid\n"):read_until("\n")))
    end, 60, 1)
    assert_spread(c, pids, 40)
    for _, conn in ipairs(conns) do conn:close() end
  end)
end)

describe("a worker that is blocked for 2 s", function()
  after_each(cluster.cleanup)

  -- Blocks one worker and returns the connection that has asked for it.
  local function block(c)
    local mark = c:mark()
    local blocked = assert(client.connect(c:address()))
    blocked:send(client.format("GET", "/block/2000"))
    c:wait_log("block begins", mark)
    return blocked
  end

  it("does not delay new connections", function()
    local c = cluster.up { app = "blocks_loop", options = { cnum = 4 } }
    local address = c:address()
    local blocked = block(c)
    local pids = loop.all(200, function() return get(address) end, 60, 20)
    assert.equal("", blocked.buffer, "the blocked worker has answered before the others were through")
    local status, _, body = blocked:response("GET")
    assert.equal(200, status)
    assert.equal(0, count_by_worker(c, pids)[tonumber(body)])
    blocked:close()
  end)

  it("does not delay connections that it holds between two requests", function()
    local c = cluster.up { app = "blocks_loop", options = { cnum = 4, linger = 60 } }
    local address, conns = c:address(), {}
    local before = loop.all(40, function(i)
      conns[i] = assert(client.connect(address))
      local status, _, body = conns[i]:request("GET", "/")
      assert(status == 200)
      return tonumber(body)
    end)
    local blocked = block(c)
    loop.all(40, function(i)
      local status, reason = conns[i]:request("GET", "/")
      assert(status == 200, tostring(reason))
    end)
    assert.equal("", blocked.buffer, "the blocked worker has answered before the others were through")
    local status, _, body = blocked:response("GET")
    assert.equal(200, status)
    assert.is_true(count_by_worker(c, before)[tonumber(body)] > 0, "the blocked worker held none of them")
    for _, conn in ipairs(conns) do
      assert.is_nil(conn.closed)
      conn:close()
    end
    blocked:close()
  end)

  it("does not delay them either when the others were busy as their requests came", function()
    local c = cluster.up { app = "blocks_loop", options = { cnum = 2, linger = 60 } }
    local address, conns = c:address(), {}
    for i = 1, 20 do
      conns[i] = assert(client.connect(address))
      assert.equal(200, (conns[i]:request("GET", "/")))
    end
    local blocked = block(c)
    local mark = c:mark()
    local busy = assert(client.connect(address))
    busy:send(client.format("GET", "/block/500"))
    c:wait_log("block begins", mark)
    for _, conn in ipairs(conns) do conn:send(client.format("GET", "/")) end
    for _, conn in ipairs(conns) do
      assert.equal(200, (conn:response("GET")))
      conn:close()
    end
    assert.equal("", blocked.buffer, "the blocked worker has answered before the others were through")
    assert.equal(200, (busy:response("GET")))
    assert.equal(200, (blocked:response("GET")))
    busy:close()
    blocked:close()
  end)

  it("does not delay connections that it was given and has not touched", function()
    local c = cluster.up { app = "echo_raw", options = { cnum = 2 } }
    local address, conns = c:address(), {}
    for i = 1, 20 do conns[i] = assert(client.connect(address)) end
    -- A stopped process is as blocked as can be.
    local victim = c:workers()[1].pid
    assert(require("luv").kill(victim, "sigstop"))
    loop.all(20, function(i)
      local pid = tonumber(assert(conns[i]:send("pid\n"):read_until("\n")))
      assert(pid ~= victim)
    end)
    assert(require("luv").kill(victim, "sigcont"))
    for _, conn in ipairs(conns) do conn:close() end
  end)
end)
