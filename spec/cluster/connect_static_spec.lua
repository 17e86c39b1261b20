-- What only a real client can do to clua.connect.static: take its time, and go away.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local proc = require "spec.support.proc"
local uv = require "luv"

local APP = [[
local connect = require "clua.connect"
local http = require "clua.http"
local app = connect(connect.static(__dirname))
local server = http.createServer(app)
require("clua").Worker():ready(function(socket) server:emit("connection", socket) end)
]]
local BIG_BYTES = 100 * 1024 * 1024

describe("clua.connect.static in a worker", function()
  local c, port, worker

  before_each(function()
    c = cluster.up { app = "app.lua", files = { ["app.lua"] = APP, ["small.txt"] = "small" }, options = { cnum = 1 } }
    port, worker = c:port(), c:workers()[1].pid
    local fd = assert(uv.fs_open(c.dir .. "/big.bin", "w", tonumber("644", 8)))
    assert(uv.fs_ftruncate(fd, BIG_BYTES))
    uv.fs_close(fd)
  end)
  after_each(cluster.cleanup)

  local function open_files()
    local count = 0
    for _, target in pairs(proc.fds(worker)) do
      if target:find("big.bin", 1, true) then count = count + 1 end
    end
    return count
  end

  -- Asks for the big file, waits for its beginning, and reads no further.
  local function begin()
    local conn = assert(client.connect(port))
    conn:send(client.format("GET", "/big.bin"))
    assert(conn:read_until("\r\n\r\n"))
    conn.handle:read_stop()
    return conn
  end

  it("keeps little in memory for clients that do not read, and serves the others", function()
    local before = tonumber(proc.status(worker).VmHWM:match("%d+"))
    local slow = {}
    for i = 1, 10 do slow[i] = begin() end
    assert.equal(10, open_files())
    for _ = 1, 50 do assert.equal(200, (client.get(port, "/small.txt"))) end
    local grown = tonumber(proc.status(worker).VmHWM:match("%d+")) - before
    -- A few MB; under the address sanitizer some 50, since it keeps freed memory for a while.
    assert.is_true(grown < 200 * 1024, grown .. " kB more for ten files of 100 MB")
    for _, conn in ipairs(slow) do conn:close() end
    c:wait(function() return open_files() == 0 end, "the files to be closed")
  end)

  it("closes the file when the client goes away in the middle of it", function()
    for i = 1, 20 do
      local conn = begin()
      if i % 2 == 0 then conn:reset() else conn:close() end
    end
    c:wait(function() return open_files() == 0 end, "the files to be closed")
    assert.equal(200, (client.get(port, "/small.txt")))
    assert.equal(0, c:count(" error: "))
  end)
end)
