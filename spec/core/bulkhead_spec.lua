-- The bulkhead, called through the FFI: which lines are known to be slow, and who may run one.

local core = require "spec.support.core"
local bit = require "bit"
local ffi = require "ffi"

local MS = 1000
local LIMIT = 20 * MS

describe("the bulkhead", function()
  local bulkhead, shared

  before_each(function()
    local out, fd_out = ffi.new "struct shared *[1]", ffi.new "int[1]"
    assert.equal(0, core.shared_create(fd_out))
    assert.equal(0, core.shared_map(fd_out[0], out))
    ffi.C.close(fd_out[0])
    shared, bulkhead = out[0], out[0].bulkhead
  end)
  after_each(function() core.shared_unmap(shared) end)

  local function name(line) return core.bulkhead_name(bulkhead, line, #line) end
  local function mean(line, now) return core.bulkhead_mean_us(bulkhead, name(line), now or 100) end
  local function took(line, us, now) core.bulkhead_took(bulkhead, name(line), us, LIMIT, now or 100) end

  describe("knows a line", function()
    it("by method and path, as they were sent", function()
      local known = name "GET /a"
      for _, same in ipairs { "GET /a?q", "GET /a?", "GET /a HTTP/1.1\r\nHost: x\r\n", "GET /a\r\n" } do
        assert.equal(known, name(same), same)
      end
      for _, other in ipairs { "POST /a", "GET /b", "GET /a/", "GET /", "GET", "", "\r\nGET /a", "get /a" } do
        assert.are_not.equal(known, name(other), other)
      end
      local long = "GET /" .. ("x"):rep(1000)
      assert.equal(name(long), name(long:sub(1, core.BULKHEAD_LINE_BYTES)))
    end)

    it("that was slow, until it has been fast for some times", function()
      assert.equal(0, mean "GET /a")
      took("GET /a", LIMIT - 4)
      assert.equal(0, mean "GET /a")
      assert.equal(0, tonumber(bulkhead.known_until_s))
      took("GET /a", 100 * MS)
      assert.equal(25 * MS, mean "GET /a?x")
      assert.equal(0, mean "GET /b")
      took("GET /a", 60 * MS)
      assert.equal(33.75 * MS, mean "GET /a")
      local times = 0
      while mean "GET /a" > 0 and times < 100 do
        took("GET /a", 0)
        times = times + 1
      end
      assert.equal(7, times) -- 33.75 * 0.75 ^ 7 is below a quarter of 20
      took("GET /a", 50 * MS)
      assert.equal(12.5 * MS, mean "GET /a") -- nothing is left of what it was
    end)

    it("for a minute after it was last slow", function()
      took("GET /a", 100 * MS, 1000)
      assert.equal(25 * MS, mean("GET /a", 1059))
      assert.equal(0, mean("GET /a", 1060))
      core.bulkhead_age(bulkhead, 1059)
      assert.equal(1060, tonumber(bulkhead.known_until_s))
      core.bulkhead_age(bulkhead, 1060)
      assert.equal(0, tonumber(bulkhead.known_until_s))
      assert.equal(25 * MS, mean("GET /a", 990)) -- another worker's clock is ahead
      took("GET /a", 30 * MS, 1060)
      assert.equal(7.5 * MS, mean("GET /a", 1060)) -- what is old has no weight
    end)

    it("and nobody needs to look when the last was forgotten", function()
      took("GET /a", 100 * MS, 1000)
      took("GET /b", 100 * MS, 1000)
      took("GET /a", 0, 1001)
      core.bulkhead_age(bulkhead, 1001)
      assert.is_true(bulkhead.known_until_s ~= 0)
      for _ = 1, 10 do
        took("GET /a", 0, 1001)
        took("GET /b", 0, 1001)
      end
      core.bulkhead_age(bulkhead, 1001)
      assert.equal(0, tonumber(bulkhead.known_until_s))
    end)

    it("rather than one of the same set that ran longer ago", function()
      local lines, set = {}, nil
      for i = 1, 100000 do
        local line = "GET /" .. i
        local at = name(line) % core.BULKHEAD_SETS
        set = set or at
        if at == set then lines[#lines + 1] = line end
        if #lines == core.BULKHEAD_WAYS + 1 then break end
      end
      for i, line in ipairs(lines) do
        if i <= core.BULKHEAD_WAYS then took(line, 100 * MS, 100 + (i + 1) % core.BULKHEAD_WAYS) end
      end
      took(lines[#lines], 100 * MS, 105)
      for i, line in ipairs(lines) do
        assert.equal(i == core.BULKHEAD_WAYS - 1 and 0 or 25 * MS, mean(line, 105), line)
      end
    end)

    it("and survives what a hostile worker writes", function()
      for _, byte in ipairs { 0xff, 0x80, 0x01 } do
        ffi.fill(bulkhead.lines, ffi.sizeof(bulkhead.lines), byte)
        took("GET /a", 100 * MS)
        assert.equal(25 * MS, mean "GET /a")
      end
    end)
  end)

  describe("has a place", function()
    local function claim(place) return core.bulkhead_claim(bulkhead, place) end
    local function is_last(place) return core.bulkhead_is_last(bulkhead, place) end

    it("for slow code in all workers but one of those that are ready", function()
      bulkhead.ready = 7
      assert.is_false(is_last(2))
      assert.is_true(claim(0))
      assert.is_false(is_last(2))
      assert.is_true(claim(1))
      assert.is_true(is_last(2))
      assert.is_false(claim(2))
      assert.equal(3, tonumber(bulkhead.slow))
      assert.is_true(claim(1)) -- whoever has it keeps it
      core.bulkhead_leave(bulkhead, 0)
      assert.is_false(is_last(2))
      assert.is_true(claim(2))
      assert.is_true(is_last(0))
      assert.is_false(claim(0))
      core.bulkhead_force(bulkhead, 0)
      assert.equal(7, tonumber(bulkhead.slow))
    end)

    it("of those that are not ready takes no notice", function()
      bulkhead.ready, bulkhead.slow = 3, 0xfc
      assert.is_true(claim(0))
      assert.is_false(claim(1))
      core.bulkhead_leave(bulkhead, 0)
      assert.is_true(is_last(1) == false and claim(1))
    end)

    it("and says who is alone", function()
      assert.is_true(core.bulkhead_is_alone(bulkhead, 0))
      bulkhead.ready = 1
      assert.is_true(core.bulkhead_is_alone(bulkhead, 0))
      assert.is_false(core.bulkhead_is_alone(bulkhead, 1))
    end)

    it("for the only worker, and for one without a place, always", function()
      bulkhead.ready = 1
      assert.is_false(is_last(0))
      assert.is_true(claim(0))
      bulkhead.ready, bulkhead.slow = 3, 3
      assert.is_false(is_last(core.BULKHEAD_PLACES))
      assert.is_true(claim(core.BULKHEAD_PLACES))
      assert.equal(3, tonumber(bulkhead.slow))
    end)

    it("in the last bit, too", function()
      bulkhead.ready = bit.bor(bit.lshift(1ULL, 63), 1ULL)
      assert.is_true(claim(63))
      assert.is_false(claim(0))
      core.bulkhead_leave(bulkhead, 63)
      assert.equal(0, tonumber(bulkhead.slow))
      assert.is_true(claim(0))
    end)
  end)
end)
