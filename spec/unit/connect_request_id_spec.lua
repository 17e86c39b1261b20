local ask = require "spec.support.ask"
local connect = require "clua.connect"

describe("connect.requestId", function()
  local function app_with(options)
    return connect(connect.requestId(options), function(req, res) res:finish(req.id) end)
  end

  local function id(options, sent)
    local response = ask(app_with(options), "GET /", { ["X-Request-Id"] = sent })
    assert.equal(response.body, response.headers["x-request-id"])
    return response.body
  end

  it("makes a new one each time, and does not believe the client", function()
    local one, two = id(nil, "mine"), id(nil, "mine")
    assert.truthy(one:find("^%x+$") and #one == 32, one)
    assert.not_equal(one, two)
  end)

  it("keeps a valid one when told so", function()
    for _, sent in ipairs { "a", "01AB-cd_ef.~:=+/9", ("x"):rep(128) } do
      assert.equal(sent, id({ trust = true }, sent))
    end
    for _, sent in ipairs { "a b", "a\"b", "<x>", ("x"):rep(129), "ü", "a,b", "a;b", "" } do
      assert.truthy(id({ trust = true }, sent):find("^%x+$"), sent)
    end
  end)

  it("has header and generator as options", function()
    local function generate(req) return req.method .. "-1" end
    local response = ask(app_with { header = "Request-Id", generate = generate }, "GET /")
    assert.equal("GET-1", response.headers["request-id"])
    assert.error_matches(function() connect.requestId { trusted = true } end, "trust")
    assert.error_matches(function() connect.requestId { header = "a b" } end, "must be the name of a header.*'a b'")
  end)
end)
