local ask = require "spec.support.ask"
local connect = require "clua.connect"

describe("connect.vhost", function()
  local app

  before_each(function()
    app = connect()
    app:use(connect.vhost("example.com", function(req, res) res:finish("plain " .. req.vhost.hostname) end))
    app:use(connect.vhost("*.api-*.example.com", function(req, res)
      res:finish(req.vhost[1] .. "+" .. req.vhost[2])
    end))
    app:use(connect.vhost("[::1]", function(_, res) res:finish("v6") end))
    app:use(connect.vhost("pass.example.com", function(_, _, next) next() end))
    app:use(function(req, res) res:finish("other " .. tostring(req.vhost)) end)
  end)

  local function host(name)
    return ask(app, "GET /", { Host = name }).body
  end

  it("chooses by name; case, port and a dot at the end do not count", function()
    for _, name in ipairs { "example.com", "EXAMPLE.com", "example.com:8080", "example.com.", "Example.COM.:80" } do
      assert.equal("plain example.com", host(name))
    end
    assert.equal("a+2", host("a.API-2.example.com"))
    assert.equal("v6", host("[::1]:80"))
  end)

  it("takes no other name for it", function()
    for _, name in ipairs {
      "examplescom", "example.com.evil", "a.example.com", "a.b.api-2.example.com", ".api-2.example.com",
      "pass.example.com", "spec",
    } do
      assert.equal("other nil", host(name), name)
    end
  end)

  it("is wrong use without a name and an app", function()
    assert.error_matches(function() connect.vhost("a b", app) end, "vhost_spec.lua:%d+.*host name")
    assert.error_matches(function() connect.vhost("a", 5) end, "an app is expected")
  end)
end)
