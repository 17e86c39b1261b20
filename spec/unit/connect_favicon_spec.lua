local ask = require "spec.support.ask"
local connect = require "clua.connect"

describe("connect.favicon", function()
  local path, app

  setup(function()
    path = os.tmpname() .. ".ico"
    local file = assert(io.open(path, "wb"))
    file:write("\0\0icon")
    file:close()
    app = connect(connect.favicon(path, { max_age = 60 }), function(_, res) res:finish("next") end)
  end)
  teardown(function()
    os.remove(path)
    os.remove((path:gsub("%.ico$", "")))
  end)

  it("answers from memory, and knows when the client has it", function()
    local response = ask(app, "GET /favicon.ico?v=2")
    assert.same({ 200, "\0\0icon", "image/x-icon", "public, max-age=60" },
      { response.status, response.body, response.headers["content-type"], response.headers["cache-control"] })
    assert.equal(304, ask(app, "GET /favicon.ico", { ["If-None-Match"] = response.headers.etag }).status)
    assert.equal("6", ask(app, "HEAD /favicon.ico").headers["content-length"])
  end)

  it("refuses other methods, and leaves other paths alone", function()
    local response = ask(app, "POST /favicon.ico", nil, "x")
    assert.same({ 405, "GET, HEAD, OPTIONS" }, { response.status, response.headers.allow })
    assert.equal(204, ask(app, "OPTIONS /favicon.ico").status)
    assert.equal("next", ask(app, "GET /x/favicon.ico").body)
  end)

  it("is wrong use without a file", function()
    assert.error_matches(function() connect.favicon("/nowhere.ico") end, "favicon_spec.lua:%d+.*nowhere")
    assert.error_matches(function() connect.favicon(path, { maxage = 1 }) end, "max_age")
  end)
end)
