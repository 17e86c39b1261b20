-- Many clients that send a head byte by byte, and others beside them that want an answer. With 2,000, and a p99 that
-- must stay below 10 ms, when nothing else runs: CLUA_LORIS=2000 make test SPEC=spec/cluster/slow_loris_spec.lua

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local loop = require "spec.support.loop"
local uv = require "luv"

local CONNECTIONS = tonumber(os.getenv("CLUA_LORIS")) or 500
local REQUESTS = 1500
-- Longer than headersTimeout: all slow ones are answered 408 and come again.
local SECONDS = os.getenv("CLUA_LORIS") and 15 or 0
local P99_S = os.getenv("CLUA_LORIS") and 0.010 or 1 -- others may be using the machine

describe("slow loris", function()
  after_each(cluster.cleanup)

  local function dribble(host, port)
    local pipe, ready = uv.new_pipe(false), false
    local handle = assert(uv.spawn(cluster.binary, {
      args = { "spec/support/dribble.lua", host, tostring(port), tostring(CONNECTIONS) }, stdio = { nil, pipe, 2 },
    }, function() end))
    pipe:read_start(function(_, bytes) ready = ready or bytes == "ready\n" end)
    finally(function()
      handle:kill("sigkill")
      handle:close()
      pipe:close()
    end)
    loop.wait(function() return ready end, 60, "the slow clients to connect")
  end

  it(("of %d connections does not keep others waiting"):format(CONNECTIONS), function()
    local c = cluster.up { app = "hello", options = { cnum = 2 } }
    dribble("127.0.0.1", c:port())
    local times, conn, i = {}, nil, 0
    local till = loop.now() + SECONDS
    while i < REQUESTS or loop.now() < till do
      i = i + 1
      local begin = uv.hrtime()
      -- Every fifth on a connection of its own.
      if i % 5 == 0 then
        assert.equal(200, (client.get(c:address(), "/")))
      else
        conn = conn or assert(client.connect(c:address()))
        assert.equal(200, (conn:request("GET", "/")))
      end
      times[i] = (uv.hrtime() - begin) / 1e9
    end
    conn:close()
    table.sort(times)
    local p99 = times[math.ceil(#times * 0.99)]
    print(("slow loris: %d connections, %d requests beside them: p50 %.2f ms, p99 %.2f ms, max %.2f ms"):format(
      CONNECTIONS, #times, times[math.ceil(#times / 2)] * 1000, p99 * 1000, times[#times] * 1000))
    assert(p99 < P99_S, ("p99 %.1f ms"):format(p99 * 1000))
    assert.equal(0, c:count(" exited"))
  end)

  it("is ended by headersTimeout with 408, however regularly the bytes come", function()
    local c = cluster.up { app = "app.lua", options = { cnum = 1 }, files = { ["app.lua"] = [[
local server = require("clua.http").createServer({ headersTimeout = 0.5 }, function(_, res) res:finish("hello") end)
require("clua").Worker():ready(function(socket) server:emit("connection", socket) end)
]] } }
    local conn = assert(client.connect(c:address()))
    local head = "GET / HTTP/1.1\r\nX: "
    local timer, sent = uv.new_timer(), 0
    finally(function() timer:close() end)
    timer:start(0, 20, function()
      sent = sent + 1
      conn:send(sent <= #head and head:sub(sent, sent) or "x")
    end)
    assert.equal(408, (conn:response("GET")))
    timer:stop()
    assert.same({ "", "eof" }, { conn:read_all() })
    conn:close()
  end)
end)
