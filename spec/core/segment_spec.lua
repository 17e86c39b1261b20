local bit = require "bit"
local core = require "spec.support.core"
local ffi = require "ffi"
local proc = require "spec.support.proc"
local uv = require "luv"

local EPROTO = -71
local ENTRIES = tonumber(core.SEGMENT_RING_ENTRIES)
local FD_CLOEXEC, F_GETFD = 1, 1

describe("segment", function()
  local segment, fd

  before_each(function()
    local out, fd_out = ffi.new "struct segment *[1]", ffi.new "int[1]"
    assert.equal(0, core.segment_create(out, fd_out))
    segment, fd = out[0], fd_out[0]
  end)

  after_each(function()
    core.segment_unmap(segment)
    ffi.C.close(fd)
  end)

  local function map(number)
    local out = ffi.new "struct segment *[1]"
    local err = core.segment_map(number, out)
    return err, out[0]
  end

  describe("memory", function()
    it("is seen through every mapping of it", function()
      local err, other = map(fd)
      assert.equal(0, err)
      segment.boot.worker_id = 7
      other.loans[32767] = core.LOAN_HELD
      assert.equal(7, other.boot.worker_id)
      assert.equal(tonumber(core.LOAN_HELD), segment.loans[32767])
      core.segment_unmap(other)
    end)

    it("begins as zeros: every loan is free, nothing is wanted, the ring is empty", function()
      assert.equal(0, segment.want)
      assert.equal(0, segment.ring_head)
      for i = 0, tonumber(core.SEGMENT_LOANS) - 1 do
        if segment.loans[i] ~= core.LOAN_FREE then error("loan " .. i .. " is not free") end
      end
    end)

    it("is closed on exec, and can neither shrink nor grow", function()
      assert.equal(FD_CLOEXEC, bit.band(ffi.C.fcntl(fd, F_GETFD), FD_CLOEXEC))
      local size = uv.fs_fstat(fd).size
      assert.equal(tonumber(ffi.sizeof "struct segment"), size)
      assert.equal(-1, ffi.C.ftruncate(fd, 0))
      assert.equal(-1, ffi.C.ftruncate(fd, size * 2))
      assert.equal(size, uv.fs_fstat(fd).size)
    end)

    it("is refused with another magic or layout", function()
      segment.magic = segment.magic + 1
      assert.equal(EPROTO, (map(fd)))
      segment.magic = segment.magic - 1
      segment.layout = segment.layout + 1
      assert.equal(EPROTO, (map(fd)))
      segment.layout = segment.layout - 1
      local err, other = map(fd)
      assert.equal(0, err)
      core.segment_unmap(other)
    end)

    it("is refused with another size, and when it is no file", function()
      local small = ffi.C.memfd_create("small", 0)
      assert.equal(EPROTO, (map(small)))
      ffi.C.ftruncate(small, ffi.sizeof "struct segment" - 1)
      assert.equal(EPROTO, (map(small)))
      ffi.C.close(small)
      assert.equal(-9, (map(small))) -- EBADF
    end)

    it("leaves no descriptor and no mapping behind", function()
      local function mappings()
        local count = 0
        for line in io.lines "/proc/self/maps" do
          if line:find("clua-segment", 1, true) then count = count + 1 end
        end
        return count
      end
      local fds, maps = proc.count_fds(uv.os_getpid()), mappings()
      for _ = 1, 20 do
        local _, other = map(fd)
        core.segment_unmap(other)
        segment.magic = 0
        map(fd)
        segment.magic = core.SEGMENT_MAGIC
      end
      assert.equal(fds, proc.count_fds(uv.os_getpid()))
      assert.equal(maps, mappings())
    end)
  end)

  describe("ring", function()
    local tail, entry, out

    before_each(function()
      tail, entry, out = ffi.new "uint32_t[1]", ffi.new "struct completion", ffi.new "struct completion"
    end)

    local function push(loan, kind, aux)
      entry.loan, entry.kind, entry.aux = loan, kind or 1, aux or 0
      return core.segment_push(segment, entry)
    end

    -- The loan of the next entry, nil when there is none, or the error.
    local function pop()
      local n = core.segment_pop(segment, tail, out)
      if n == 1 then return out.loan end
      if n == 0 then return nil end
      return "error " .. n
    end

    -- As after this many entries.
    local function start_at(position)
      segment.ring_head, segment.ring_tail, tail[0] = position, position, position
    end

    it("gives the entries in order, with all their fields", function()
      assert.is_nil(pop())
      assert.is_true(push(5, core.COMPLETION_PARK, 1500))
      assert.is_true(push(6, core.COMPLETION_DROP, 0xffffffff))
      assert.equal(5, pop())
      assert.same({ 2, 1500 }, { out.kind, out.aux })
      assert.equal(6, pop())
      assert.same({ 4, 0xffffffff }, { out.kind, out.aux })
      assert.is_nil(pop())
    end)

    for _, start in ipairs { 0, 1, 1000, 2 ^ 31 - 3, 2 ^ 32 - 1, 2 ^ 32 - 1000 } do
      it(("is full after %d entries, from position %d on"):format(ENTRIES, start), function()
        start_at(start)
        for i = 1, ENTRIES do assert.is_true(push(i)) end
        assert.is_false(push(0))
        assert.equal(1, pop())
        assert.is_true(push(ENTRIES + 1))
        assert.is_false(push(0))
        for i = 2, ENTRIES + 1 do assert.equal(i, pop()) end
        assert.is_nil(pop())
      end)
    end

    it("is a queue in any interleaving, across the end of the positions", function()
      start_at(2 ^ 32 - 5000)
      local pushed, popped = 0, 0
      for _ = 1, 20000 do
        if math.random(2) == 1 then
          local fits = pushed - popped < ENTRIES
          assert.equal(fits, push(pushed + 1))
          if fits then pushed = pushed + 1 end
        else
          local expected = popped < pushed and popped + 1 or nil
          assert.equal(expected, pop())
          if expected then popped = popped + 1 end
        end
        if math.random(400) == 1 then -- runs of one kind, so that it is full and empty at times
          for _ = 1, ENTRIES do
            if pushed - popped < ENTRIES then assert.is_true(push(pushed + 1)); pushed = pushed + 1 end
          end
        end
      end
    end)

    it("that a hostile worker has written to is an error or an entry, never a loop", function()
      for _, head in ipairs { ENTRIES + 1, 2 ^ 31, 2 ^ 32 - 1 } do
        segment.ring_head, tail[0] = head, 0
        assert.equal("error " .. EPROTO, pop())
        assert.equal(0, tail[0])
      end
      segment.ring_head, tail[0] = ENTRIES, 0
      for _ = 1, ENTRIES do assert.equal(0, pop()) end
      assert.is_nil(pop())
      segment.ring_head, tail[0] = 99, 100 -- back by one: 2^32 - 1 entries
      assert.equal("error " .. EPROTO, pop())
    end)

    it("keeps the master's position out of the worker's reach", function()
      for i = 1, 10 do push(i) end
      for i = 1, 10 do
        segment.ring_tail = math.random(0, 2 ^ 31)
        assert.equal(i, pop())
        assert.equal(i, segment.ring_tail) -- published again
      end
      assert.is_nil(pop())
    end)
  end)

  describe("doorbell", function()
    local ENTRY, TAKEN, BUSY = tonumber(core.WANT_ENTRY), tonumber(core.WANT_TAKEN), tonumber(core.WANT_BUSY)

    it("is rung once for each time that the master asks", function()
      assert.is_false(core.segment_wanted(segment, ENTRY))
      segment.want = ENTRY
      assert.is_true(core.segment_wanted(segment, ENTRY))
      assert.is_false(core.segment_wanted(segment, ENTRY))
      segment.want = ENTRY
      assert.is_true(core.segment_wanted(segment, ENTRY))
    end)

    it("leaves what was asked for otherwise", function()
      segment.want = bit.bor(ENTRY, BUSY)
      assert.is_false(core.segment_wanted(segment, TAKEN))
      assert.is_true(core.segment_wanted(segment, bit.bor(ENTRY, TAKEN)))
      assert.equal(BUSY, segment.want)
      assert.is_true(core.segment_wanted(segment, BUSY))
      assert.equal(0, segment.want)
    end)

    -- The two steps of either side before the master sleeps, in every order. `looks_first` is the mistake.
    local function an_entry_waits(order, looks_first)
      segment.want, segment.ring_head, segment.ring_tail = 0, 0, 0
      local tail, out = ffi.new "uint32_t[1]", ffi.new "struct completion"
      local seen, rung = false, false
      local function ask() segment.want = ENTRY end
      local function look() seen = core.segment_pop(segment, tail, out) == 1 end
      local steps = {
        m = looks_first and { look, ask } or { ask, look },
        w = {
          function() core.segment_push(segment, ffi.new("struct completion", 1, 1)) end,
          function() rung = core.segment_wanted(segment, ENTRY) end,
        },
      }
      for side in order:gmatch "%a" do table.remove(steps[side], 1)() end
      return not seen and not rung
    end

    local ORDERS = { "mmww", "mwmw", "mwwm", "wmmw", "wmwm", "wwmm" }

    it("never leaves an entry behind a sleeping master, in any interleaving", function()
      for _, order in ipairs(ORDERS) do assert.is_false(an_entry_waits(order), order) end
    end)

    it("would, if the master looked before it asks", function()
      local lost = 0
      for _, order in ipairs(ORDERS) do
        if an_entry_waits(order, true) then lost = lost + 1 end
      end
      assert.equal(1, lost)
    end)
  end)

  describe("loan words", function()
    it("change only from what was expected", function()
      local word = segment.loans + 3
      word[0] = core.LOAN_IDLE
      assert.is_false(core.core_loan_swap(word, core.LOAN_UNTOUCHED, core.LOAN_TAKEN))
      assert.equal(tonumber(core.LOAN_IDLE), word[0])
      assert.is_true(core.core_loan_swap(word, core.LOAN_IDLE, core.LOAN_TAKEN))
      assert.is_false(core.core_loan_swap(word, core.LOAN_IDLE, core.LOAN_READING))
      assert.equal(tonumber(core.LOAN_TAKEN), word[0])
    end)

    it("have names, and any number has one", function()
      local found = {}
      for state = 0, tonumber(core.LOAN_STATE_COUNT) - 1 do
        found[#found + 1] = ffi.string(core.loan_state_name(state))
      end
      local names = "free untouched idle reading responding held taken parked back returned answered"
    assert.equal(names, table.concat(found, " "))
      assert.equal("?", ffi.string(core.loan_state_name(core.LOAN_STATE_COUNT)))
      assert.equal("?", ffi.string(core.loan_state_name(0xffffffff)))
    end)

    it("times are cut to 32 bits and never 0", function()
      assert.equal(1, core.core_segment_stamp(0))
      assert.equal(5, core.core_segment_stamp(5))
      assert.equal(1, core.core_segment_stamp(2 ^ 32))
      assert.equal(7, core.core_segment_stamp(2 ^ 32 + 7))
    end)
  end)
end)
