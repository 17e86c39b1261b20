local core = require "spec.support.core"
local ffi = require "ffi"

local SLOTS = tonumber(core.SEGMENT_BLAMES)
local LINE = tonumber(core.SEGMENT_BLAME_BYTES)

describe("blame", function()
  local segment

  before_each(function()
    segment = ffi.new "struct segment"
    core.blame_open(segment)
  end)

  local function begin(line)
    -- As in a head: more follows behind the line.
    return core.core_blame_begin(line .. (" "):rep(64), #line, #line + 64)
  end

  -- Lines in execution, sorted.
  local function executing()
    local lines = {}
    for i = 0, SLOTS - 1 do
      local entry = segment.blames.entries[i]
      if entry.in_execution == 1 then
        lines[#lines + 1] = ffi.string(entry.line, math.min(LINE, entry.line_len))
      end
    end
    table.sort(lines)
    return lines
  end

  it("notes what is in execution, and no more when it is over", function()
    local a, b = begin "GET /a", begin "GET /b"
    assert.same({ "GET /a", "GET /b" }, executing())
    core.core_blame_end(a)
    assert.same({ "GET /b" }, executing())
    core.core_blame_end(b)
    assert.same({}, executing())
  end)

  it("notes the beginning of a long line, and its length", function()
    local line = "GET /" .. ("x"):rep(5000)
    local ticket = begin(line)
    assert.same({ line:sub(1, LINE) }, executing())
    local found
    for i = 0, SLOTS - 1 do
      if segment.blames.entries[i].ticket == ticket then found = segment.blames.entries[i].line_len end
    end
    assert.equal(#line, found)
    core.core_blame_end(ticket)
  end)

  it("has room for the newest when there are too many, and forgets the ends of those that had to go", function()
    local tickets = {}
    for i = 1, 3 * SLOTS do tickets[i] = begin(("GET /%03d"):format(i)) end
    local lines = executing()
    assert.equal(SLOTS, #lines)
    assert.equal(("GET /%03d"):format(2 * SLOTS + 1), lines[1])
    for i = 1, 2 * SLOTS do core.core_blame_end(tickets[i]) end
    assert.equal(SLOTS, #executing())
    for i = 2 * SLOTS + 1, 3 * SLOTS do core.core_blame_end(tickets[i]) end
    assert.same({}, executing())
  end)

  it("reads no byte that is not there", function()
    local ticket = core.core_blame_begin("GET /a", 6, 6)
    assert.same({ "GET /a" }, executing())
    core.core_blame_end(ticket)
  end)

  it("gives every request a ticket of its own", function()
    local seen = {}
    for _ = 1, 1000 do
      local ticket = begin "GET /"
      assert.is_nil(seen[ticket])
      seen[ticket] = true
      core.core_blame_end(ticket)
    end
  end)

  it("knows whose code runs, and gives back whose it was", function()
    local a, b = begin "GET /a", begin "GET /b"
    assert.equal(0, core.core_blame_switch(a))
    assert.equal(a, core.core_blame_switch(b))
    assert.equal(b, core.core_blame_running())
    assert.equal(b, segment.blames.running)
    core.core_blame_switch(0)
    assert.equal(0, core.core_blame_running())
    core.core_blame_end(a)
    core.core_blame_end(b)
  end)
end)

describe("quarantine", function()
  local length = ffi.new "size_t[1]"

  local function refuse(line, reply, till, kept)
    core.quarantine_add(line, kept or #line, #line, reply, #reply, till)
  end

  local function reply_to(line, now)
    local bytes = core.quarantine_reply(line, #line, now, length)
    return bytes ~= nil and ffi.string(bytes, length[0]) or nil
  end

  -- The list is the process's: each spec ends with time that has passed for all.
  after_each(function() reply_to("", 2 ^ 50) assert.equal(0, core.quarantine_count) end)

  it("gives the reply of a line until its time is over", function()
    refuse("GET /x", "sorry", 1000)
    assert.equal("sorry", reply_to("GET /x", 999))
    assert.is_nil(reply_to("GET /", 999))
    assert.is_nil(reply_to("GET /xx", 999))
    assert.is_nil(reply_to("GET /x", 1000))
    assert.equal(0, core.quarantine_count)
  end)

  it("knows a long line by its beginning and its length", function()
    local long = "GET /" .. ("x"):rep(1000)
    refuse(long, "sorry", 1000, 200)
    assert.equal("sorry", reply_to(long, 1))
    assert.equal("sorry", reply_to(long:sub(1, -2) .. "y", 1))
    assert.is_nil(reply_to(long .. "x", 1))
    assert.is_nil(reply_to(long:sub(1, 200), 1))
  end)

  it("keeps the last that is said of a line, and an empty reply", function()
    refuse("GET /x", "old", 1000)
    refuse("GET /x", "", 2000)
    assert.equal("", reply_to("GET /x", 1500))
    assert.equal(1, core.quarantine_count)
  end)

  it("lets the oldest go when there are too many", function()
    local most = tonumber(core.QUARANTINE_LINES_MAX)
    for i = 1, most + 10 do refuse("GET /" .. i, tostring(i), 1000) end
    assert.equal(most, core.quarantine_count)
    assert.is_nil(reply_to("GET /10", 1))
    for i = 11, most + 10 do assert.equal(tostring(i), reply_to("GET /" .. i, 1)) end
  end)
end)
