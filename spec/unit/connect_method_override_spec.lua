local ask = require "spec.support.ask"
local connect = require "clua.connect"

describe("connect.methodOverride", function()
  local function app_with(options)
    local app = connect(function(req, _, next)
      if req.headers["x-body"] then req.body = { _method = req.headers["x-body"] } end
      next()
    end, connect.methodOverride(options))
    app:get("/x", function(_, res) res:finish("get") end)
    app:post("/x", function(_, res) res:finish("post") end)
    app:delete("/x", function(req, res) res:finish("delete, sent as " .. req.originalMethod) end)
    app:put("/x", function(_, res) res:finish("put") end)
    return app
  end

  it("takes the method of the header, of POST only", function()
    local app = app_with()
    local response = ask(app, "POST /x", { ["X-HTTP-Method-Override"] = "delete" })
    assert.equal("delete, sent as POST", response.body)
    assert.equal("X-HTTP-Method-Override", response.headers.vary)
    assert.equal("get", ask(app, "GET /x", { ["X-HTTP-Method-Override"] = "DELETE" }).body)
    assert.equal("post", ask(app, "POST /x").body)
  end)

  it("refuses methods that are not listed", function()
    for _, method in ipairs { "GET", "TRACE", "CONNECT", "HEAD", "x y", "DELETE, PUT" } do
      assert.equal(400, ask(app_with(), "POST /x", { ["X-HTTP-Method-Override"] = method }).status, method)
    end
    local only_put = app_with { methods = { "put" } }
    assert.equal("put", ask(only_put, "POST /x", { ["X-HTTP-Method-Override"] = "PUT" }).body)
    assert.equal(400, ask(only_put, "POST /x", { ["X-HTTP-Method-Override"] = "DELETE" }).status)
  end)

  it("looks into query and body only when told", function()
    assert.equal("post", ask(app_with(), "POST /x?_method=PUT", { ["X-Body"] = "PUT" }).body)
    assert.equal("put", ask(app_with { query = "_method" }, "POST /x?a=1&_method=put").body)
    assert.equal("put", ask(app_with { body = "_method" }, "POST /x", { ["X-Body"] = "PUT" }).body)
    assert.equal("post", ask(app_with { header = false }, "POST /x", { ["X-HTTP-Method-Override"] = "PUT" }).body)
  end)

  it("refuses unknown options", function()
    assert.error_matches(function() connect.methodOverride { headers = "x" } end, "header")
    assert.error_matches(function() connect.methodOverride { header = "a b" } end, "must be the name of a header")
  end)
end)
