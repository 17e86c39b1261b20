local core = require "spec.support.core"
local ffi = require "ffi"

describe("balance", function()
  -- Candidates as { behind, load, handed }; the index of the one chosen, from 1.
  local function choose(...)
    local rows = { ... }
    local candidates = ffi.new("struct candidate[?]", math.max(1, #rows))
    for i, row in ipairs(rows) do
      candidates[i - 1].behind, candidates[i - 1].load, candidates[i - 1].handed = row[1], row[2], row[3]
    end
    return core.balance_choose(candidates, #rows) + 1
  end

  local B, T = true, false -- behind, or has taken all

  for name, case in pairs {
    ["nobody"] = { 0 },
    ["the only one, whatever it does"] = { 1, { B, 1000, 1000 } },
    ["the first of equals"] = { 1, { T, 3, 7 }, { T, 3, 7 }, { T, 3, 7 } },
    ["the smallest load"] = { 2, { T, 3, 0 }, { T, 1, 99 }, { T, 2, 0 } },
    ["the fewest handed among equal loads"] = { 3, { T, 1, 9 }, { T, 1, 8 }, { T, 1, 7 }, { T, 2, 0 } },
    ["one that has taken all, however loaded"] = { 2, { B, 0, 0 }, { T, 500, 500 } },
    ["the smallest load when all are behind"] = { 3, { B, 3, 0 }, { B, 2, 0 }, { B, 1, 9 } },
    ["a load that no signed number holds"] = { 2, { T, 0xffffffff, 0 }, { T, 0x7fffffff, 0 } },
    ["fewer handed beyond 32 bits"] = { 2, { T, 0, 2 ^ 40 + 1 }, { T, 0, 2 ^ 40 } },
  } do
    it("chooses " .. name, function()
      assert.equal(case[1], choose(unpack(case, 2)))
    end)
  end

  it("goes round among equals when each choice is counted", function()
    local handed, order = { 0, 0, 0 }, {}
    for i = 1, 9 do
      local chosen = choose({ T, 0, handed[1] }, { T, 0, handed[2] }, { T, 0, handed[3] })
      handed[chosen] = handed[chosen] + 1
      order[i] = chosen
    end
    assert.same({ 1, 2, 3, 1, 2, 3, 1, 2, 3 }, order)
  end)

  it("is the least of a sort by its three criteria, for any candidates", function()
    for _ = 1, 2000 do
      local rows, best = {}, 1
      for i = 1, math.random(8) do
        rows[i] = { math.random(2) == 1, math.random(0, 3), math.random(0, 3) }
        local a, b = rows[i], rows[best]
        local key_a = (a[1] and 100 or 0) + a[2] * 10 + a[3]
        local key_b = (b[1] and 100 or 0) + b[2] * 10 + b[3]
        if key_a < key_b then best = i end
      end
      assert.equal(best, choose(unpack(rows)))
    end
  end)
end)
