-- A body of 1 GiB passes through a worker whose memory does not notice: back-pressure both ways.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"

local GIB = 2 ^ 30
local GROWTH_MAX_KIB = 32 * 1024

-- The most memory that the only worker has ever had, in KiB (proc(5), VmHWM).
local function peak_kib(c)
  local pid = c:workers()[1].pid
  return tonumber(io.open(("/proc/%d/status"):format(pid)):read("*a"):match("VmHWM:%s+(%d+)"))
end

describe("a body of 1 GiB", function()
  local sanitized = cluster.is_sanitized

  after_each(cluster.cleanup)

  local function up()
    local c = cluster.up { app = "big_bodies", options = { cnum = 1 } }
    assert.equal(200, (client.get(c:address(), "/0"))) -- what a first request costs is not a body's
    return c, ("http://%s/"):format(c:address())
  end

  local function assert_no_growth(c, before)
    if sanitized then return end -- freed memory stays with the sanitizer for a while
    local growth = peak_kib(c) - before
    assert.is_true(growth < GROWTH_MAX_KIB, growth .. " KiB more")
  end

  local function curl(...)
    return (command.run("sh", { "-c", ("head -c %d /dev/zero | curl -sS --max-time 110 %s"):format(GIB,
      table.concat({ ... }, " ")) }, 120))
  end

  it("is uploaded in chunks", function()
    local c, url = up()
    local before = peak_kib(c)
    assert.equal(("%d"):format(GIB), curl("-T - -H Expect:", url))
    assert_no_growth(c, before)
  end)

  it("is downloaded", function()
    local c, url = up()
    local before = peak_kib(c)
    assert.equal(("%d"):format(GIB), curl("-o /dev/null -w '%{size_download}'", url .. 16384))
    assert_no_growth(c, before)
  end)

  it("waits for a client that does not read", function()
    local c = up()
    local before = peak_kib(c)
    local conn = assert(client.connect(c:address()))
    conn:send(client.format("GET", "/16384"))
    assert(conn:read_until("\r\n\r\n"))
    conn:pause()
    -- The worker goes on serving others, which shows that it does not sit and write.
    for _ = 1, 50 do assert.equal(200, (client.get(c:address(), "/1"))) end
    assert_no_growth(c, before)
    conn:close()
  end)
end)
