local fakes = require "spec.unit.connect_fakes"

local connect = require "clua.connect"

describe("clua.connect.bodyLimit", function()
  local function send(limit, headers)
    local refusal, set
    local req = fakes.request("/", { headers = headers })
    function req.setMaxBodySize(self, bytes)
      set = bytes
      if bytes < 5 then return nil, "more has come", "ETOOBIG" end
      return self
    end
    connect.bodyLimit(limit)(req, fakes.response(), function(err) refusal = err end)
    return refusal and refusal.status, set
  end

  it("refuses by the declared length", function()
    assert.is_nil(send(10, { ["content-length"] = "10" }))
    assert.equal(413, send(10, { ["content-length"] = "11" }))
    assert.equal(413, send(0, { ["content-length"] = "1" }))
    assert.is_nil(send(10, {}))
    assert.is_nil(send(function(req) return req.url == "/" and 20 or 0 end, { ["content-length"] = "20" }))
    assert.equal(413, send(function() return 19 end, { ["content-length"] = "20" }))
  end)

  it("has the server count what comes in chunks", function()
    local status, set = send(10, { ["transfer-encoding"] = "chunked" })
    assert.is_nil(status)
    assert.equal(10, set)
    assert.equal(413, (send(4, { ["transfer-encoding"] = "chunked" })))
  end)

  it("refuses what is no limit", function()
    for _, limit in ipairs { "1mb", -1, 0 / 0, math.huge, {} } do
      local ok, message = pcall(function() connect.bodyLimit(limit) end)
      assert.is_false(ok)
      assert.truthy(tostring(message):find("connect_bodyLimit_spec.lua:%d+: bodyLimit"), tostring(message))
    end
  end)
end)
