local ask = require "spec.support.ask"
local connect = require "clua.connect"

describe("connect.securityHeaders", function()
  local function headers(options)
    return ask(connect(connect.securityHeaders(options), function(_, res) res:finish("x") end), "GET /").headers
  end

  it("sets the defaults of helmet", function()
    local got = headers()
    for name, value in pairs {
      ["cross-origin-opener-policy"] = "same-origin", ["cross-origin-resource-policy"] = "same-origin",
      ["origin-agent-cluster"] = "?1", ["referrer-policy"] = "no-referrer", ["x-xss-protection"] = "0",
      ["strict-transport-security"] = "max-age=31536000; includeSubDomains", ["x-content-type-options"] = "nosniff",
      ["x-dns-prefetch-control"] = "off", ["x-download-options"] = "noopen", ["x-frame-options"] = "SAMEORIGIN",
      ["x-permitted-cross-domain-policies"] = "none",
    } do
      assert.equal(value, got[name], name)
    end
    assert.truthy(got["content-security-policy"]:find("default-src 'self'; base-uri 'self'", 1, true))
    assert.is_nil(got["cross-origin-embedder-policy"])
  end)

  it("takes values, and false for none", function()
    local got = headers {
      contentSecurityPolicy = "default-src 'none'", strictTransportSecurity = false,
      crossOriginEmbedderPolicy = "require-corp", xFrameOptions = true,
    }
    assert.equal("default-src 'none'", got["content-security-policy"])
    assert.is_nil(got["strict-transport-security"])
    assert.equal("require-corp", got["cross-origin-embedder-policy"])
    assert.equal("SAMEORIGIN", got["x-frame-options"])
    assert.equal("require-corp", headers { crossOriginEmbedderPolicy = true }["cross-origin-embedder-policy"])
    assert.error_matches(function() connect.securityHeaders { xFrameOption = false } end, "xFrameOptions")
    assert.error_matches(function() connect.securityHeaders { xFrameOptions = "a\nb" } end,
      "security_headers_spec.lua:%d+: securityHeaders%(options%): option 'xFrameOptions' must not contain CR")
  end)
end)
