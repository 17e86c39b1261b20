local ask = require "spec.support.ask"
local connect = require "clua.connect"
local fakes = require "spec.unit.connect_fakes"

local A, EVIL = "https://a.example", "https://evil.example"

describe("connect.cors", function()
  local function app_with(options)
    return connect(connect.cors(options), function(req, res)
      if req.url == "/fail" then error("no", 0) end
      res:finish("body")
    end)
  end

  local function get(options, origin, path)
    return ask(app_with(options), "GET " .. (path or "/"), { Origin = origin }).headers
  end

  local function preflight(options, origin, extra)
    local headers = { Origin = origin, ["Access-Control-Request-Method"] = "PUT" }
    for name, value in pairs(extra or {}) do headers[name] = value end
    local response = ask(app_with(options), "OPTIONS /x", headers)
    assert.equal(204, response.status)
    assert.equal("", response.body)
    return response.headers
  end

  it("lets anybody read by default, without credentials", function()
    local headers = get(nil, A)
    assert.equal("*", headers["access-control-allow-origin"])
    assert.is_nil(headers["access-control-allow-credentials"])
    assert.is_nil(headers.vary)
  end)

  it("knows a list, an origin, and nothing that only looks like one", function()
    for _, origin in ipairs { A, { EVIL .. ".org", A } } do
      assert.equal(A, get({ origin = origin }, A)["access-control-allow-origin"])
      assert.equal("Origin", get({ origin = origin }, A).vary)
      for _, other in ipairs {
        EVIL, A .. ".evil", "http://a.example", A .. ":444", "null", "https://xa.example", A .. "/", "a.example", "",
        "https://a.example https://evil.example",
      } do
        local headers = get({ origin = origin }, other)
        assert.is_nil(headers["access-control-allow-origin"], other)
        assert.equal("Origin", headers.vary)
      end
    end
    assert.is_nil(get({ origin = A })["access-control-allow-origin"])
    assert.equal("null", get({ origin = { "null" } }, "null")["access-control-allow-origin"])
  end)

  it("asks a function", function()
    local function judge(origin, req)
      if req.url == "/other" then return "https://other.example" end
      return origin:find("%.example$") ~= nil
    end
    assert.equal(A, get({ origin = judge }, A)["access-control-allow-origin"])
    assert.is_nil(get({ origin = judge }, A .. ".evil")["access-control-allow-origin"])
    assert.equal("https://other.example", get({ origin = judge }, A, "/other")["access-control-allow-origin"])
  end)

  it("never allows credentials to everybody", function()
    for _, options in ipairs { { credentials = true }, { credentials = true, origin = "*" } } do
      assert.error_matches(function() connect.cors(options) end, "cors_spec.lua:%d+.*which in 'origin'")
    end
    local headers = get({ credentials = true, origin = A }, A)
    assert.equal("true", headers["access-control-allow-credentials"])
    assert.is_nil(get({ credentials = true, origin = A }, EVIL)["access-control-allow-credentials"])
    local _, restore = fakes.capture_log()
    local response = ask(app_with { credentials = true, origin = function() return "*" end }, "GET /", { Origin = A })
    restore()
    assert.equal(500, response.status)
    assert.is_nil(response.headers["access-control-allow-credentials"])
  end)

  it("answers a preflight", function()
    local names = { ["Access-Control-Request-Headers"] = "x-a, Content-Type" }
    local headers = preflight({ origin = A, max_age = 60 }, A, names)
    assert.equal(A, headers["access-control-allow-origin"])
    assert.equal("GET, HEAD, PUT, PATCH, POST, DELETE", headers["access-control-allow-methods"])
    assert.equal("x-a, Content-Type", headers["access-control-allow-headers"])
    assert.equal("60", headers["access-control-max-age"])
    assert.equal("Origin, Access-Control-Request-Method, Access-Control-Request-Headers", headers.vary)
    headers = preflight({ methods = { "GET" }, allowedHeaders = { "X-B" } }, A, names)
    assert.equal("GET", headers["access-control-allow-methods"])
    assert.equal("X-B", headers["access-control-allow-headers"])
  end)

  it("tells a stranger nothing", function()
    for name in pairs(preflight({ origin = A, credentials = true, max_age = 5 }, EVIL)) do
      assert.is_nil(name:find("access-control", 1, true), name)
    end
    local headers = preflight(nil, A, { ["Access-Control-Request-Headers"] = "x: y<script>" })
    assert.is_nil(headers["access-control-allow-headers"])
  end)

  it("leaves other OPTIONS alone, and stays on the answers of errors", function()
    assert.equal("body", ask(app_with(), "OPTIONS /", { Origin = A }).body)
    assert.equal("body", ask(app_with(), "OPTIONS /", { ["Access-Control-Request-Method"] = "PUT" }).body)
    local _, restore = fakes.capture_log()
    local headers = get({ origin = A, exposedHeaders = { "X-C" } }, A, "/fail")
    restore()
    assert.equal(A, headers["access-control-allow-origin"])
    assert.equal("X-C", headers["access-control-expose-headers"])
  end)

  it("refuses origins that are none", function()
    for _, origin in ipairs { "a.example", "https://a.example/", "https://*.example", { "*" }, { 5 } } do
      assert.error_matches(function() connect.cors { origin = origin } end, "an origin is like")
    end
  end)
end)
