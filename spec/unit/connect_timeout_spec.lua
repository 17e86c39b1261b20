-- connect.timeout: what the client gets, what the handler is told.

local ask = require "spec.support.ask"
local async = require "clua.async"
local connect = require "clua.connect"
local fakes = require "spec.unit.connect_fakes"
local http = require "clua.http"
local json = require "cjson"
local loop = require "spec.support.loop"
local peer = require "spec.support.http_peer"

describe("connect.timeout", function()
  local log, restore

  before_each(function() log, restore = fakes.capture_log() end)
  after_each(function() restore() end)

  it("answers 503 as the client reads it, and tells the handler", function()
    local told, seen
    local app = connect(connect.timeout(0.02), function(req, res)
      req:on("timeout", function() told = true end)
      async.sleep(0.1)
      res.statusCode = 201
      seen = { req.timedOut, select("#", res:setHeader("X", "y")), select(3, res:finish("late")) }
    end)
    local response = ask(app, "GET /slow", { Accept = "application/json" })
    assert.equal(503, response.status)
    assert.equal(503, json.decode(response.body).status)
    loop.wait(function() return seen end, 10, "the handler to end")
    assert.is_true(told)
    assert.same({ true, 3, "ECLOSED" }, seen)
    assert.equal(1, #log)
    assert.truthy(log[1].text:find("cannot answer GET /slow: no answer after 0.02 s", 1, true), log[1].text)
  end)

  it("wakes a handler that waits for the body", function()
    local seen
    local app = connect(connect.timeout(0.02), function(req) seen = { req:body() } end)
    local client = peer.connect(http.createServer(app))
    client:send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
    assert.equal(503, client:response().status)
    loop.wait(function() return seen end, 10, "the handler to be woken")
    assert.is_nil(seen[1])
    assert.equal("string", type(seen[3]))
    client:close()
  end)

  it("leaves alone what is answered in time, and what has begun", function()
    local app = connect(connect.timeout(0.05), function(req, res)
      if req.url == "/fast" then return res:finish("fast") end
      res:write("be")
      async.sleep(0.15)
      res:finish("gun")
    end)
    assert.equal("begun", ask(app, "GET /begun").body)
    local client = peer.connect(http.createServer(app))
    assert.equal("fast", client:request("GET /fast HTTP/1.1\r\nHost: x\r\n\r\n").body)
    assert.equal("begun", client:request("GET /begun HTTP/1.1\r\nHost: x\r\n\r\n").body)
    client:close()
    assert.equal(0, #log)
  end)

  it("lets a listener answer, or `respond`", function()
    local app = connect(connect.timeout(0.02), function(req, res)
      req:on("timeout", function() res:finish("partial") end)
      async.sleep(0.05)
    end)
    assert.equal("partial", ask(app, "GET /").body)
    app = connect(connect.timeout(0.02, {
      respond = function(err, _, res) res.statusCode = err.status res:finish(err.code) end,
    }), function() async.sleep(0.05) end)
    local response = ask(app, "GET /")
    assert.same({ 503, "ETIMEDOUT" }, { response.status, response.body })
  end)

  it("stops its timer when the exchange is over", function()
    local timers = 0
    local app = connect(connect.timeout(60), function(_, res)
      res:on("close", function() timers = timers + 1 end)
      res:destroy()
    end)
    local client = peer.connect(http.createServer(app))
    client:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"):turn(3)
    client:close()
    loop.wait(function() return timers == 1 end, 10, "the end of the exchange")
    local running = 0
    require("luv").walk(function(handle)
      local is_timer = tostring(handle):find("uv_timer") and handle:is_active()
      if is_timer and handle:get_due_in() > 50000 then running = running + 1 end
    end)
    assert.equal(0, running)
  end)

  it("is wrong use without seconds", function()
    for _, seconds in ipairs { 0, -1, "5" } do
      assert.error_matches(function() connect.timeout(seconds) end, "timeout_spec.lua:%d+.*seconds")
    end
    assert.error_matches(function() connect.timeout(1, { response = print }) end, "respond")
  end)
end)
