local core = require "spec.support.core"

local BUCKETS = tonumber(core.HISTOGRAM_BUCKETS)

describe("histogram", function()
  local function bound(bucket)
    return tonumber(core.histogram_bound_us(bucket))
  end

  it("has bounds that grow, by a quarter at most from 4 us on, up to 67 s", function()
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20 }, (function()
      local list = {}
      for bucket = 0, 12 do list[#list + 1] = bound(bucket) end
      return list
    end)())
    for bucket = 4, BUCKETS - 2 do
      local ratio = bound(bucket) / bound(bucket - 1)
      if not (ratio > 1 and ratio <= 1.25) then error(("bucket %d: ratio %g"):format(bucket, ratio)) end
    end
    assert.equal(2 ^ 26, bound(BUCKETS - 2))
    assert.equal(0, bound(BUCKETS - 1))
  end)

  it("has every power of two among its bounds: those are what metrics show", function()
    local found = {}
    for bucket = 0, BUCKETS - 2 do found[bound(bucket)] = true end
    for power = 0, 26 do assert.is_true(found[2 ^ power], "2^" .. power) end
  end)

  it("puts a duration into the first bucket whose bound is not below it", function()
    assert.equal(0, core.histogram_bucket(0))
    assert.equal(0, core.histogram_bucket(1))
    for bucket = 0, BUCKETS - 2 do
      local ns = bound(bucket) * 1000
      assert.equal(bucket, core.histogram_bucket(ns))
      assert.equal(bucket + 1, core.histogram_bucket(ns + 1))
    end
    assert.equal(BUCKETS - 1, core.histogram_bucket(0xffffffffffffffffULL))
  end)
end)
