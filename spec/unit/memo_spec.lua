local memo = require "clua.memo"

describe("clua.memo", function()
  local calls, double

  before_each(function()
    calls = 0
    double = memo(function(value)
      calls = calls + 1
      return value .. value
    end)
  end)

  it("calls the function once for a value", function()
    for _ = 1, 3 do assert.equal("abab", double "ab") end
    assert.equal("cc", double "c")
    assert.equal("11", double(1))
    assert.equal(3, calls)
  end)

  it("keeps a bounded number of results", function()
    for i = 1, 1000 do double(i) end
    double(1000)
    assert.equal(1000, calls)
    double(1)
    assert.equal(1001, calls)
  end)

  it("keeps nothing for long strings, which clients may send", function()
    local long = ("x"):rep(257)
    assert.equal(long .. long, double(long))
    assert.equal(long .. long, double(long))
    assert.equal(2, calls)
  end)
end)
