-- TCP_DEFER_ACCEPT: the kernel keeps a client that has connected and says nothing, where clients speak first.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local loop = require "spec.support.loop"

local GREETS = [[
require("clua").Worker():ready(function(socket) socket:write("hello") end)
]]

-- The states (proc(5), tcp) of the server's end of a connection: "SYN_RECV" while the kernel has not told anybody.
local NAMES = { ["01"] = "ESTABLISHED", ["03"] = "SYN_RECV" }

local function state(server_port, client_port)
  for line in io.lines "/proc/net/tcp" do
    local here, there, code = line:match "^ *%d+: %x+:(%x+) %x+:(%x+) (%x+)"
    if here and tonumber(here, 16) == server_port and tonumber(there, 16) == client_port then return NAMES[code] end
  end
end

describe("a client that connects and says nothing", function()
  after_each(cluster.cleanup)

  local function silent(c)
    local conn = assert(client.connect(c:address()))
    return conn, state(c:port(), conn.handle:getsockname().port)
  end

  it("is left to the kernel, once a worker has served HTTP, until it speaks", function()
    local c = cluster.up { app = "hello", options = { cnum = 1 } }
    -- The first connection of all comes as it is: nobody knows yet what the worker serves.
    local first = assert(client.connect(c:address()))
    assert.equal(200, (first:request("GET", "/")))
    local conn, at
    loop.wait(function()
      if conn then conn:close() end
      conn, at = silent(c)
      return at == "SYN_RECV"
    end, 20, "the listener to be told")
    assert.equal(200, (conn:request("GET", "/")))
    assert.equal("ESTABLISHED", state(c:port(), conn.handle:getsockname().port))
    conn:close()
    first:close()
  end)

  it("is accepted at once where the option says so", function()
    local c = cluster.up { app = "hello", options = { cnum = 1, defer_accept = false } }
    for _ = 1, 3 do assert.equal(200, (client.get(c:address(), "/"))) end
    local conn, at = silent(c)
    assert.equal("ESTABLISHED", at)
    conn:close()
  end)

  it("is accepted at once, and greeted, by a protocol that greets", function()
    local c = cluster.up { app = "greets.lua", options = { cnum = 1 }, files = { ["greets.lua"] = GREETS } }
    for _ = 1, 3 do
      local conn, at = silent(c)
      assert.equal("ESTABLISHED", at)
      assert.equal("hello", conn:read(5))
      conn:close()
    end
  end)
end)
