local Quarantine = require "clua.quarantine"

local function running(line, len)
  return { { line = line, len = len or #line, running = true } }
end

describe("clua.quarantine", function()
  describe("the culprit", function()
    local a, b = { line = "a", len = 1, running = false }, { line = "b", len = 1, running = false }

    it("is the one whose code ran, or the only one", function()
      local ran = { line = "c", len = 1, running = true }
      assert.equal(ran, Quarantine.culprit { ran, a, b })
      assert.equal(a, Quarantine.culprit { a })
    end)

    it("is nobody when there are several, and none ran", function()
      assert.is_nil(Quarantine.culprit { a, b })
      assert.is_nil(Quarantine.culprit {})
    end)
  end)

  it("refuses a line after three deaths within a minute, for its time", function()
    local q = Quarantine.new(30)
    assert.is_nil(q:died(0, running "GET /x"))
    assert.is_nil(q:died(30, running "GET /x"))
    local entry = q:died(59, running "GET /x")
    assert.same({ line = "GET /x", len = 6, till = 89 }, entry)
    assert.same({ entry }, q:active(88.9))
    assert.same({}, q:active(89))
  end)

  it("forgets deaths that are older than a minute", function()
    local q = Quarantine.new(30)
    for at = 0, 1000, 31 do assert.is_nil(q:died(at, running "GET /x")) end
  end)

  it("counts each line for itself, and two long ones that begin alike by their length", function()
    local q = Quarantine.new(30)
    for i = 1, 10 do assert.is_nil(q:died(1, running("GET /" .. i))) end
    for len = 1000, 1010 do assert.is_nil(q:died(2, running("GET /long", len))) end
    q:died(2, running("GET /long", 1000))
    assert.is_table(q:died(2, running("GET /long", 1000)))
  end)

  it("begins to count again when a line was refused, and refuses it again", function()
    local q = Quarantine.new(10)
    for _ = 1, 2 do q:died(0, running "GET /x") end
    assert.is_table(q:died(0, running "GET /x"))
    assert.is_nil(q:died(11, running "GET /x"))
    assert.is_nil(q:died(12, running "GET /x"))
    assert.equal(23, q:died(13, running "GET /x").till)
    assert.equal(1, #q:active(13))
  end)

  it("does nothing when it is off, and remembers no more than it may", function()
    local off = Quarantine.new(0)
    for _ = 1, 10 do assert.is_nil(off:died(0, running "GET /x")) end
    assert.equal(0, #off.deaths)
    local q = Quarantine.new(10)
    for i = 1, 5000 do q:died(0, running("GET /" .. i)) end
    assert.equal(1000, #q.deaths)
  end)

  it("shows a line as one of printable bytes", function()
    assert.equal('"GET /a?b=c%20d"', Quarantine.show("GET /a?b=c%20d"))
    assert.equal('"\\x22\\x5c\\x0a\\x00\\x1b[2J\\xff"', Quarantine.show('"\\\n\0\27[2J\255'))
    assert.equal('"GET /a"', Quarantine.show("GET /a", 6))
    assert.equal('"GET /a..."', Quarantine.show("GET /a", 7))
  end)
end)
