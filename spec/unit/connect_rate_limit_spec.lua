local ask = require "spec.support.ask"
local connect = require "clua.connect"
local fakes = require "spec.unit.connect_fakes"
local uv = require "luv"

describe("connect.rateLimit", function()
  local unique = ("spec %d %d"):format(uv.os_getpid(), tonumber(uv.hrtime() % 2 ^ 31))

  local function app_with(options)
    return connect(connect.rateLimit(options), function(_, res) res:finish("ok") end)
  end

  local function from(app, address)
    local req, res = fakes.request("/"), fakes.response()
    req.remoteAddress = address
    fakes.run(function() app(req, res) end)
    return res.statusCode, res.headers
  end

  it("answers 429 with Retry-After when the share is used up, and says how much is left", function()
    local app = app_with { limit = 3, window = 3000 }
    for left = 2, 0, -1 do
      local response = ask(app, "GET /")
      assert.equal(200, response.status)
      assert.equal(tostring(left), response.headers["ratelimit-remaining"])
    end
    local response = ask(app, "GET /")
    assert.equal(429, response.status)
    assert.equal("3", response.headers["ratelimit-limit"])
    assert.equal("0", response.headers["ratelimit-remaining"])
    assert.equal("3;w=3000;burst=3", response.headers["ratelimit-policy"])
    local retry, reset = tonumber(response.headers["retry-after"]), tonumber(response.headers["ratelimit-reset"])
    assert.is_true(retry >= 900 and retry <= 1000, "Retry-After: " .. retry)
    assert.is_true(reset >= 2900 and reset <= 3000, "RateLimit-Reset: " .. reset)
  end)

  it("counts each address by itself, of IPv6 each network", function()
    local app = app_with { limit = 1, window = 1000 }
    for _, pair in ipairs {
      { "10.0.0.1", 200 }, { "10.0.0.2", 200 }, { "10.0.0.1", 429 }, { "::ffff:10.0.0.2", 429 },
      { "2001:db8:1:2::1", 200 }, { "2001:db8:1:2:ffff::9", 429 }, { "2001:DB8:0001:2:0:0:0:5", 429 },
      { "2001:db8:1:3::1", 200 }, { "::1", 200 }, { "0:0:0:0:8::", 429 }, { "2001:db8:1:2:3:4:5:6", 429 },
      { "1::", 200 }, { "1:0:0:0:2::", 429 },
    } do
      assert.equal(pair[2], (from(app, pair[1])), pair[1])
    end
  end)

  it("takes another key, and none for who is not limited", function()
    local app = app_with { limit = 1, window = 1000, key = function(req) return req.headers["x-key"] end }
    assert.equal(200, ask(app, "GET /", { ["X-Key"] = "a" }).status)
    assert.equal(429, ask(app, "GET /", { ["X-Key"] = "a" }).status)
    assert.equal(200, ask(app, "GET /", { ["X-Key"] = "b" }).status)
    for _ = 1, 3 do
      local response = ask(app, "GET /")
      assert.equal(200, response.status)
      assert.is_nil(response.headers["ratelimit-limit"])
    end
  end)

  it("lets a burst through, and shares buckets by name", function()
    local one = app_with { limit = 1, window = 1000, burst = 2, name = unique }
    local same = app_with { limit = 1, window = 1000, burst = 2, name = unique }
    local other = app_with { limit = 1, window = 1000, burst = 2 }
    assert.equal(200, ask(one, "GET /").status)
    assert.equal(200, ask(same, "GET /").status)
    assert.equal(429, ask(one, "GET /").status)
    assert.equal(200, ask(other, "GET /").status)
  end)

  it("refuses what cannot be counted", function()
    for _, options in ipairs { {}, { limit = 0 }, { limit = 1.5 }, { limit = 1, window = 0 }, { limit = 1, burst = 0 },
      { limit = 1, window = 1e12 }, { limit = 1, widow = 5 }, { limit = 1, key = "ip" } } do
      local ok, err = pcall(connect.rateLimit, options)
      assert.is_false(ok)
      assert.truthy(tostring(err):find("rateLimit(options): ", 1, true), tostring(err))
    end
    assert.error_matches(function() connect.rateLimit {} end, "rate_limit_spec.lua:%d+")
    assert.error_matches(function() connect.rateLimit { lmit = 1 } end, "rate_limit_spec.lua:%d+.*limit")
  end)
end)
