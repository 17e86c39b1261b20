-- All interleavings of the loan protocol, within small bounds; and proof that the search can find what it looks for.

local explore = require("spec.support.explore").explore
local new_model = require "spec.support.loan_model"
local core = require "spec.support.core"
local ffi = require "ffi"
local WORD_NAMES = require("spec.support.loan.layout").WORD_NAMES

-- By the master: from free, to taken, to free. To free: read from the ring, or its worker is dead.
local TRANSITIONS = {
  free = "untouched",
  untouched = "reading back taken free",
  reading = "answered responding returned free",
  responding = "returned free",
  answered = "idle returned free",
  idle = "reading parked taken free",
  taken = "returned back free",
  parked = "free", back = "free", returned = "free",
}

local ONE_OF_EACH = { connections = 1, requests = 2, loans = 2, kills = 1, steals = 1, drains = 1, truncations = 1 }

local function describe_way(result)
  return ("%s after %d states:\n  %s"):format(result.violation, result.states, table.concat(result.way, "\n  "))
end

local function holds(bounds)
  local result = explore(new_model(bounds))
  assert(not result.violation, result.violation and describe_way(result))
  assert.is_true(result.ends > 0)
  print(("loan protocol: %d states, %d steps, %d ends"):format(result.states, result.steps, result.ends))
  return result
end

describe("the loan protocol", function()
  it("keeps its promises with a kill, a steal, a drain and a truncated message", function()
    assert.is_true(holds(ONE_OF_EACH).states > 100000)
  end)

  it("is walked through along every transition of a word, in every state that a word has but held", function()
    local model, seen, states = new_model(ONE_OF_EACH), {}, {}
    local successors = model.successors
    function model.successors(s, emit)
      successors(s, function(name, n, violation)
        model.each_change(s, n, function(before, after)
          seen[WORD_NAMES[before] .. " -> " .. WORD_NAMES[after]] = true
        end)
        emit(name, n, violation)
      end)
    end
    explore(model)
    local expected = {}
    for from, targets in pairs(TRANSITIONS) do
      states[from] = true
      for to in targets:gmatch("%a+") do expected[from .. " -> " .. to] = true end
    end
    assert.same(expected, seen)
    for state = 0, tonumber(core.LOAN_STATE_COUNT) - 1 do
      local name = ffi.string(core.loan_state_name(state))
      assert.is_true(name == "held" or states[name], name .. " is no state of the model") -- held never changes
    end
  end)

  it("keeps them with two kills and two steals", function()
    holds { connections = 1, requests = 2, loans = 2, kills = 2, steals = 2 }
  end)

  it("keeps them with two connections that share the loan indices", function()
    holds { connections = 2, requests = 1, loans = 1, kills = 1, steals = 1 }
  end)
end)

describe("the search notices when", function()
  local lost, waits = "a connection is lost", "a client waits for ever"
  local endless = "a loan is never completed"
  local twice = "a connection is read by two workers"
  local reused = "a loan index is used again before its completion"
  local mutations = {
    { "reads_without_winning", "a worker reads without winning the swap", twice },
    { "steals_without_swap", "the master takes a loan back with a plain store", twice },
    { "reuses_before_drop", "the master uses a taken index again before DROP", reused },
    { "pushes_before_storing", "a worker touches the word after its completion", reused },
    { "does_not_own", "the master closes its descriptor when it lends", lost },
    { "closes_untouched", "the death of a worker ends its untouched loans", lost },
    { "given_back_means_done", "the death of a worker ends loans given back without an entry", lost },
    { "shuts_what_is_taken", "a worker shuts down a connection that was taken from it", lost },
    { "relends_reading", "a request that was read is lent to another worker", waits },
    { "ignores_truncation", "a worker ignores a message that came without its descriptor", waits },
    { "looks_only_when_readable", "a worker drops what was taken only when bytes come", endless },
    { "sweeps_before_ring", "a death is treated before the ring is drained", reused },
    { "announces_no_answer", "a worker says only after its write that it has answered", lost },
    { "believes_announcement", "the master believes in an answer that was never written", waits },
    { "keeps_descriptor", "the master does not close at DONE", "a descriptor is left in the master" },
  }
  for _, mutation in ipairs(mutations) do
    local name, text, expected = unpack(mutation)
    it(text, function()
      local result = explore(new_model(ONE_OF_EACH, { [name] = true }))
      assert.equal(expected, result.violation)
    end)
  end
end)
