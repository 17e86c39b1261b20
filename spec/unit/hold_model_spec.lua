-- All interleavings of the claims of slow requests, within small bounds; and proof that the search finds what it looks
-- for.

local explore = require("spec.support.explore").explore
local new_model = require "spec.support.hold_model"

local function holds(bounds)
  local result = explore(new_model(bounds))
  assert(not result.violation, result.violation and ("%s:\n  %s"):format(result.violation,
    table.concat(result.way or {}, "\n  ")))
  assert.is_true(result.ends > 0 and result.states > 100)
end

describe("the bulkhead", function()
  it("leaves one of two, three, four workers free, and holds no request for ever", function()
    holds { workers = 2, requests = 3, kills = 0 }
    holds { workers = 3, requests = 2, kills = 0 }
    holds { workers = 4, requests = 1, kills = 0 }
  end)

  it("holds no request for ever, and leaves no mark, when workers are killed", function()
    holds { workers = 2, requests = 2, kills = 2 }
    holds { workers = 3, requests = 1, kills = 2 }
  end)
end)

describe("the search notices when", function()
  local mutations = {
    { "marks_without_swap", "two workers take the last two places at once", "slow code runs in all workers", 0 },
    { "looks_once", "nobody looks again at a held request", "a request is held for ever", 0 },
    { "keeps_mark_of_dead", "the mark of a dead worker stays", "a request is held for ever", 1 },
    { "stays_marked", "a worker keeps its mark", "a request is held for ever", 0 },
  }
  for _, mutation in ipairs(mutations) do
    local name, text, expected, kills = unpack(mutation)
    it(text, function()
      local result = explore(new_model({ workers = 2, requests = 2, kills = kills }, { [name] = true }))
      assert.equal(expected, result.violation)
    end)
  end
end)
