-- TCP_DEFER_ACCEPT: the kernel keeps a client that has connected and says nothing, where clients speak first.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local control = require "spec.support.control"
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

  -- A client whom the kernel keeps: another one is served first, as often as it takes for the listener to be told.
  local function kept(c)
    local conn, at
    loop.wait(function()
      if conn then conn:close() end
      assert.equal(200, (client.get(c:address(), "/")))
      conn, at = silent(c)
      return at == "SYN_RECV"
    end, 20, "the listener to be told")
    return conn
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

  it("is served when it speaks just after the cluster was told to stop; then new ones are refused", function()
    local conn, c
    for attempt = 1, 5 do
      c = cluster.up { app = "hello", options = { cnum = 1 }, master = { log_level = "debug" } }
      conn = kept(c)
      local from = loop.now()
      c:signal "sigterm"
      c:wait(function()
        if c:count "debug: stopping when the clients that have connected have spoken$" == 1 then return true end
        local other, why = client.connect(c:address())
        if other then other:close() end
        return why == "ECONNREFUSED"
      end, "the master to wait, or to have closed")
      conn:send(client.format("GET", "/"))
      local is_early = loop.now() - from < 0.5 -- after a second the kernel tells the master of it
      local status, why = conn:response("GET")
      if is_early then assert.equal(200, status, tostring(why)) end
      assert.same({ 0, 0 }, { c:wait_exit() })
      if is_early then break end
      assert.is_true(attempt < 5, "the machine is too slow")
    end
    assert.same({ nil, "ECONNREFUSED" }, { client.connect(c:address()) })
    conn:close()
  end)

  it("and never speaks does not keep a cluster from its stop, which does not reset it", function()
    local c = cluster.up { app = "hello", options = { cnum = 1 } }
    local conn = kept(c)
    c:stop()
    local text = conn:read_all()
    assert.is_true(text == "" or text:find("^HTTP/1.1 503 ") == 1, text)
    assert.equal("eof", conn.closed)
    conn:close()
  end)

  it("is accepted at once where the option says so", function()
    local c = cluster.up { app = "hello", options = { cnum = 1, defer_accept = false } }
    for _ = 1, 3 do assert.equal(200, (client.get(c:address(), "/"))) end
    local conn, at = silent(c)
    assert.equal("ESTABLISHED", at)
    conn:close()
  end)

  -- `linger`: the worker itself parks nobody.
  for name, given in pairs {
    ["a port that is not deferred"] = { options = { cnum = 1, linger = 600, defer_accept = false } },
    ["a unix socket"] = { name = "./http.sock", options = { cnum = 1, linger = 600 } },
  } do
    local function up()
      local c = cluster.up { name = given.name, app = "hello", options = given.options }
      local operator = control.connect(c)
      local function parked()
        return control.ask(operator, { op = "status" }).result.registrations[1].counters.parked
      end
      -- Until the master has heard that its clients speak first, connections are lent as they come.
      local conn
      loop.wait(function()
        if conn then conn:close() end
        assert.equal(200, (client.get(c:address(), "/")))
        conn = assert(client.connect(c:address()))
        return parked() == 1
      end, 20, "the master to keep a client")
      return conn, parked
    end

    it("at " .. name .. " stays with the master until it speaks", function()
      local conn, parked = up()
      assert.equal(200, (conn:request("GET", "/")))
      assert.equal(0, parked())
      conn:close()
    end)

    it("at " .. name .. " is the worker's after a second, which has time-outs of its own", function()
      local conn, parked = up()
      loop.wait(function() return parked() == 0 end, 20, "the client to be lent")
      assert.is_nil(conn.closed)
      assert.equal(200, (conn:request("GET", "/")))
      conn:close()
    end)
  end

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
