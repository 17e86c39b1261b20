local fakes = require "spec.unit.connect_fakes"

local connect = require "clua.connect"

describe("clua.connect without a library", function()
  -- As if the module were not installed, while fn runs.
  local function without(name, fn)
    local loaded, searcher = package.loaded[name], package.preload[name]
    package.loaded[name] = nil
    package.preload[name] = function() error("not installed here", 0) end
    local ok, message = pcall(fn)
    package.loaded[name], package.preload[name] = loaded, searcher
    return ok, message
  end

  local CASES = {
    { "zlib", "lua%-zlib", function() connect.compress() end },
    { "openssl.hmac", "lua%-luaossl", function() connect.cookieParser(("k"):rep(32)) end },
    { "openssl.cipher", "lua%-luaossl", function() connect.cookieSession { keys = ("k"):rep(32) } end },
  }
  for _, case in ipairs(CASES) do
    it("says at the start to install what has " .. case[1], function()
      local ok, message = without(case[1], case[3])
      assert.is_false(ok)
      assert.equal(111, message.exit_status)
      assert.truthy(tostring(message):find("needs the Lua module '" .. case[1] .. "': install " .. case[2]))
    end)
  end

  it("refuses compressed bodies by 415", function()
    local status
    local ok, message = without("zlib", function()
      local req = fakes.request("/", {
        headers = { ["content-type"] = "application/json", ["content-encoding"] = "gzip" }, body = "x",
      })
      connect.json()(req, fakes.response(), function(err) status = err.status end)
    end)
    assert(ok, message)
    assert.equal(415, status)
  end)

  it("does all that needs none", function()
    assert.is_function(without("zlib", function() connect.json() end) and connect.json())
    assert.is_function(without("openssl.hmac", function() connect.cookieParser() end) and connect.cookieParser())
  end)
end)
