local bit = require "bit"
local core = require "spec.support.core"
local ffi = require "ffi"

local ACTIONS = { "TELL_READY", "SEND_DRAIN", "KILL", "CLOSE", "WARN_READY", "WARN_DRAIN", "WARN_ALIVE", "BUG" }
local DEADLINES = { NO = core.SLOT_NO_DEADLINE, READY = core.SLOT_READY_DEADLINE, TERM = core.SLOT_TERM_DEADLINE,
  EXIT = core.SLOT_EXIT_DEADLINE, KILL = core.SLOT_KILL_DEADLINE }

-- What a slot in a state does on an event: next state, its deadline, actions. Every pair stands here.
local TABLE = {
  STARTING = {
    READY = "READY NO TELL_READY",
    LEAVE = "KILLED KILL KILL",
    RETIRE = "KILLED KILL KILL",
    KILL = "KILLED KILL KILL",
    EXPIRE = "KILLED KILL KILL+WARN_READY",
    HANGUP = "EXITING EXIT -",
    EXIT = "GONE NO CLOSE",
  },
  READY = {
    READY = "READY NO -",
    LEAVE = "DRAINING TERM -",
    RETIRE = "DRAINING TERM SEND_DRAIN",
    KILL = "KILLED KILL KILL",
    EXPIRE = "READY NO BUG",
    HANGUP = "EXITING EXIT -",
    EXIT = "GONE NO CLOSE",
  },
  DRAINING = {
    READY = "DRAINING TERM -",
    LEAVE = "DRAINING TERM -",
    RETIRE = "DRAINING TERM -",
    KILL = "KILLED KILL KILL",
    EXPIRE = "KILLED KILL KILL+WARN_DRAIN",
    HANGUP = "EXITING EXIT -",
    EXIT = "GONE NO CLOSE",
  },
  EXITING = {
    READY = "EXITING EXIT -",
    LEAVE = "EXITING EXIT -",
    RETIRE = "EXITING EXIT -",
    KILL = "KILLED KILL KILL",
    EXPIRE = "KILLED KILL KILL",
    HANGUP = "EXITING EXIT -",
    EXIT = "GONE NO CLOSE",
  },
  KILLED = {
    READY = "KILLED KILL -",
    LEAVE = "KILLED KILL -",
    RETIRE = "KILLED KILL -",
    KILL = "KILLED KILL KILL",
    EXPIRE = "KILLED KILL KILL+WARN_ALIVE",
    HANGUP = "KILLED KILL -",
    EXIT = "GONE NO CLOSE",
  },
  GONE = {
    READY = "GONE NO BUG",
    LEAVE = "GONE NO BUG",
    RETIRE = "GONE NO BUG",
    KILL = "GONE NO BUG",
    EXPIRE = "GONE NO BUG",
    HANGUP = "GONE NO BUG",
    EXIT = "GONE NO BUG",
  },
}

describe("slot_state", function()
  local states, events = {}, {}
  for state, row in pairs(TABLE) do
    states[state] = tonumber(core["SLOT_" .. state])
    for event in pairs(row) do events[event] = tonumber(core["SLOT_EVENT_" .. event]) end
  end

  local function name_of(all, number)
    for name, value in pairs(all) do
      if value == tonumber(number) then return name end
    end
    return "?" .. tostring(number)
  end

  local function decide(state, event)
    local verdict = core.slot_decide(state, event)
    local actions = {}
    for _, action in ipairs(ACTIONS) do
      if bit.band(verdict.actions, tonumber(core["SLOT_DO_" .. action])) ~= 0 then actions[#actions + 1] = action end
    end
    return ("%s %s %s"):format(name_of(states, verdict.state), name_of(DEADLINES, verdict.deadline),
      #actions > 0 and table.concat(actions, "+") or "-")
  end

  it("is tested in all states, with all events and all actions", function()
    local state_count, event_count = 0, 0
    for _ in pairs(states) do state_count = state_count + 1 end
    for _ in pairs(events) do event_count = event_count + 1 end
    assert.equal(tonumber(core.SLOT_STATE_COUNT), state_count)
    assert.equal(tonumber(core.SLOT_EVENT_COUNT), event_count)
    assert.equal(2 ^ (#ACTIONS - 1), tonumber(core.SLOT_DO_BUG))
    for state, row in pairs(TABLE) do
      for event in pairs(events) do assert.truthy(row[event], state .. " has no row for " .. event) end
    end
  end)

  for state, row in pairs(TABLE) do
    it(state:lower() .. " knows what each event means", function()
      for event, expected in pairs(row) do
        assert.equal(expected, decide(states[state], events[event]), state .. " on " .. event)
      end
    end)
  end

  it("calls an event that is none a bug, and stays", function()
    for state, number in pairs(states) do
      assert.truthy(decide(number, core.SLOT_EVENT_COUNT):find("^" .. state .. " %u+ BUG$"), state)
    end
    assert.truthy(decide(core.SLOT_STATE_COUNT, core.SLOT_EVENT_EXIT):find("BUG$"))
  end)

  it("comes to its end from everywhere, and kills on the way only where somebody must", function()
    for state, number in pairs(states) do
      if state ~= "GONE" then
        assert.equal("GONE", decide(number, events.EXIT):match("^%u+"))
        assert.equal("KILLED", decide(number, events.KILL):match("^%u+"))
      end
    end
  end)

  it("has names for logs", function()
    for state, number in pairs(states) do
      assert.equal(state:lower(), ffi.string(core.slot_state_name(number)))
    end
  end)
end)
