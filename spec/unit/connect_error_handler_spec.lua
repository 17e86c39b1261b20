-- connect.errorHandler: three forms, and what each may tell.

local ask = require "spec.support.ask"
local connect = require "clua.connect"
local fakes = require "spec.unit.connect_fakes"
local json = require "cjson"

local function app_with(options)
  local app = connect()
  app:get("/raise", function() error("it broke <here> & \"there\"") end) -- the line that is shown
  app:get("/refuse", function(_, _, next) next { status = 403, message = "secret reason" } end)
  app:get("/expose", function(_, _, next) next { status = 422, message = "name is missing", expose = true } end)
  app:get("/odd", function(_, _, next) next { status = 200 } end)
  app:get("/bare", function(_, _, next) next { status = 409 } end)
  app:get("/late", function(_, res) res:write("begun") error "too late" end)
  app:get("/headers", function(_, res, next)
    res:setHeader("ETag", '"x"')
    res:setHeader("Content-Length", "999")
    res:setHeader("WWW-Authenticate", "Basic")
    next { status = 401 }
  end)
  app:use(function(_, _, next) next { status = 404 } end)
  app:use(connect.errorHandler(options))
  return app
end

describe("connect.errorHandler", function()
  local log, restore

  before_each(function() log, restore = fakes.capture_log() end)
  after_each(function() restore() end)

  it("chooses HTML, JSON or text by Accept", function()
    local app = app_with { show = true }
    local forms = {
      ["text/html,application/xhtml+xml,*/*;q=0.8"] = "text/html; charset=utf-8",
      ["application/json"] = "application/json", ["*/*"] = "text/html; charset=utf-8",
      ["text/plain"] = "text/plain; charset=utf-8", ["image/png"] = "text/plain; charset=utf-8",
      ["text/html;q=0.1, application/json;q=0.5"] = "application/json",
    }
    for header, wanted in pairs(forms) do
      local response = ask(app, "GET /nothing", { Accept = header })
      assert.equal(404, response.status)
      assert.equal(wanted, response.headers["content-type"], header)
      assert.equal("Accept", response.headers.vary)
      assert.equal("nosniff", response.headers["x-content-type-options"])
    end
    local body = json.decode(ask(app, "GET /nothing", { Accept = "application/json" }).body)
    assert.same({ status = 404, error = "Not Found" }, body)
  end)

  it("shows message, source line and the application's own frames while developing", function()
    local app = app_with { show = true }
    local response = ask(app, "GET /raise", { Accept = "text/html" })
    assert.equal(500, response.status)
    assert.truthy(response.body:find("it broke &lt;here&gt; &amp; &quot;there&quot;", 1, true), response.body)
    assert.truthy(response.body:find("<b> +%d+ .-%-%- the line that is shown</b>"), response.body)
    assert.truthy(response.body:find("connect_error_handler_spec.lua:10", 1, true), response.body)
    assert.is_nil(response.body:find("clua/connect", 1, true), response.body)
    assert.is_nil(response.body:find("[C]", 1, true))
    local trace = json.decode(ask(app, "GET /raise", { Accept = "application/json" }).body).trace
    assert.truthy(trace[1]:find("connect_error_handler_spec.lua:10"), trace[1])
    assert.truthy(log[1].text:find("GET /raise", 1, true))
    assert.truthy(log[1].text:find("stack traceback", 1, true))
  end)

  it("shows nothing in production, but what is meant to be seen", function()
    local app = app_with { show = false }
    for _, form in ipairs { "text/html", "application/json", "text/plain" } do
      local response = ask(app, "GET /raise", { Accept = form })
      assert.equal(500, response.status)
      for _, word in ipairs { "broke", "spec", ".lua", "trace" } do
        assert.is_nil(response.body:find(word, 1, true), response.body)
      end
      assert.is_nil(ask(app, "GET /refuse", { Accept = form }).body:find("secret"))
      assert.truthy(ask(app, "GET /expose", { Accept = form }).body:find("name is missing"))
    end
    assert.equal(3, #log)
  end)

  it("answers 500 for what is no status, and takes off what was meant for another answer", function()
    local app = app_with { show = false }
    assert.equal(500, ask(app, "GET /odd").status)
    assert.equal(409, ask(app, "GET /bare").status)
    local response = ask(app, "GET /headers")
    assert.equal(401, response.status)
    assert.equal("Basic", response.headers["www-authenticate"])
    assert.is_nil(response.headers.etag)
    assert.equal(#response.body, tonumber(response.headers["content-length"]))
  end)

  it("cuts off an answer that is under way", function()
    local peer = require "spec.support.http_peer"
    local connection = peer.connect(require("clua.http").createServer(app_with { show = true }))
    connection:send("GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
    connection:wait_closed()
    assert.is_nil(connection.text:find("0\r\n\r\n", 1, true))
    assert.is_nil(connection.text:find("too late", 1, true))
  end)

  it("refuses unknown options", function()
    assert.error_matches(function() connect.errorHandler { sho = true } end, "show")
  end)
end)
