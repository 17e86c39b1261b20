-- The shared token buckets, called through the FFI: taking, filling, cells that change hands.

local core = require "spec.support.core"
local ffi = require "ffi"
local uv = require "luv"

ffi.cdef "uint64_t siphash_for_specs(const uint64_t *key, const void *bytes, size_t len);"

local S = 1000000000ULL

describe("buckets", function()
  local shared, buckets, fd

  before_each(function()
    local out, fd_out = ffi.new "struct shared *[1]", ffi.new "int[1]"
    assert.equal(0, core.shared_create(fd_out))
    fd = fd_out[0]
    assert.equal(0, core.shared_map(fd, out))
    shared, buckets = out[0], out[0].buckets
  end)
  after_each(function()
    core.shared_unmap(shared)
    ffi.C.close(fd)
  end)

  -- times in seconds
  local function take(name, now, capacity, cost)
    local result = core.buckets_take(buckets, name, #name, (1000 + now) * S, capacity * S, (cost or 1) * S)
    return result.allowed, tonumber(result.missing_ns) / 1e9
  end

  it("hashes as the paper says", function()
    local key = ffi.new("uint64_t[2]", 0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL)
    local text = ffi.new("uint8_t[15]")
    for i = 0, 14 do text[i] = i end
    assert.equal(0xa129ca6149be45e5ULL, core.siphash_for_specs(key, text, 15))
    assert.equal(0x726fdb47dd0e0e31ULL, core.siphash_for_specs(key, text, 0))
  end)

  it("gives what the bucket holds, and then what flows in", function()
    for i = 1, 5 do assert.same({ true, i }, { take("a", 0, 5) }) end
    assert.same({ false, 5 }, { take("a", 0, 5) })
    assert.same({ true, 5 }, { take("a", 1, 5) })
    assert.same({ false, 5 }, { take("a", 1, 5) })
    assert.same({ true, 4 }, { take("a", 3, 5) })
    assert.same({ true, 1 }, { take("a", 1000, 5) })
    assert.same({ true, 1 }, { take("b", 0, 5) })
  end)

  it("is not emptied by those that are refused, nor by nonsense in the table", function()
    for _ = 1, 100 do take("a", 0, 2) end
    assert.same({ true, 2 }, { take("a", 1, 2) })
    ffi.fill(buckets.cells, ffi.sizeof(buckets.cells), 0xff)
    assert.same({ true, 1 }, { take("c", 1, 2) })
    for i = 0, core.BUCKETS_SETS - 1 do
      for k = 0, core.BUCKETS_WAYS - 1 do
        if buckets.cells[i][k].name ~= 0xffffffffffffffffULL then buckets.cells[i][k].full_at_ns = 2 ^ 62 end
      end
    end
    assert.same({ false, 2 }, { take("c", 1, 2) }) -- no longer than an empty one
  end)

  it("has room for many, and forgets none that is in use before it is full", function()
    local count = 40000
    for i = 1, count do assert.is_true((take("name " .. i, 0, 3, 3))) end
    local forgotten = 0
    for i = 1, count do
      if take("name " .. i, 1, 3, 3) then forgotten = forgotten + 1 end
    end
    -- A set of 8 gets 4.9 on the average: a few are too full.
    assert.is_true(forgotten < count * 0.06, forgotten .. " forgotten")
  end)

  it("gives away full buckets first, then the one that is nearest to full", function()
    ffi.fill(buckets.cells, ffi.sizeof(buckets.cells))
    local names, set = {}, nil
    for i = 1, 1e6 do -- ten names of one set
      local name = "n" .. i
      local hash = core.siphash_for_specs(buckets.key, name, #name)
      set = set or hash % 8192
      if hash % 8192 == set then names[#names + 1] = name end
      if #names == 10 then break end
    end
    for i = 1, 8 do take(names[i], 0, 100, 10 * i) end
    take(names[9], 15, 100, 90) -- names[1] is full by now
    assert.same({ true, 6 }, { take(names[2], 15, 100, 1) })
    take(names[10], 15, 100, 90) -- the place of names[2], which misses the least
    assert.same({ true, 90 + 1 }, { take(names[9], 15, 100, 1) })
    assert.same({ true, 65 + 1 }, { take(names[8], 15, 100, 1) })
  end)

  it("is sealed, closed on exec, and refused when it is something else", function()
    assert.equal(-1, ffi.C.ftruncate(fd, 0))
    assert.equal(1, ffi.C.fcntl(fd, 1))
    assert.is_true(uv.fs_fstat(fd).size < 1.1e6)
    local out, other = ffi.new "struct shared *[1]", ffi.C.memfd_create("clua-spec", 1)
    assert.equal(0, ffi.C.ftruncate(other, ffi.sizeof "struct shared" - 1))
    assert.equal(-71, core.shared_map(other, out))
    ffi.C.close(other)
  end)
end)
