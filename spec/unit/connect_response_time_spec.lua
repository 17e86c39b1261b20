local ask = require "spec.support.ask"
local async = require "clua.async"
local connect = require "clua.connect"

describe("connect.responseTime", function()
  local function header(options, fn)
    local app = connect(connect.responseTime(options), fn or function(_, res) res:finish("x") end)
    local headers = ask(app, "GET /").headers
    return headers[(options or {}).header and options.header:lower() or "x-response-time"]
  end

  it("measures to the head, not to the end", function()
    local before = tonumber(header(nil, function(_, res)
      async.sleep(0.02)
      res:finish("x")
    end):match("^(%d+%.%d%d%d)ms$"))
    -- The clock of timers is that of the turn of the loop: up to a turn behind.
    assert.is_true(before > 10 and before < 5000, before)
    local after = tonumber(header(nil, function(_, res)
      res:write("x")
      async.sleep(0.3)
      res:finish()
    end):match("^[%d.]+"))
    assert.is_true(after < 300, after)
  end)

  it("has name, digits and suffix as options, and leaves a header that is set", function()
    assert.truthy(header { header = "X-Took", digits = 0, suffix = false }:find("^%d+$"))
    assert.equal("mine", header(nil, function(_, res) res:setHeader("X-Response-Time", "mine") res:finish("x") end))
    assert.error_matches(function() connect.responseTime { digit = 1 } end, "response_time_spec.lua:%d+.*digits")
    assert.error_matches(function() connect.responseTime { digits = 7 } end, "at most 6")
    assert.error_matches(function() connect.responseTime { header = "" } end, "must be the name of a header")
  end)
end)
