local ask = require "spec.support.ask"
local async = require "clua.async"
local connect = require "clua.connect"
local fakes = require "spec.unit.connect_fakes"
local http = require "clua.http"
local loop = require "spec.support.loop"
local peer = require "spec.support.http_peer"

describe("connect.logger", function()
  local lines

  before_each(function() lines = {} end)

  local function app_with(options)
    options.stream = options.stream or function(line) lines[#lines + 1] = line end
    return connect(connect.logger(options), function(req, res)
      if req.url == "/fail" then error("no", 0) end
      if req.url == "/user" then req.user = { name = 'eve" "x' } end
      res:setHeader("X-Sent", { "a", "b" })
      res:finish("12345")
    end)
  end

  local function line(options, request, headers)
    ask(app_with(options), request or "GET /x?y=1", headers)
    return lines[#lines]
  end

  it("writes the formats that have a name", function()
    local headers = { ["User-Agent"] = "spec/1", Referer = "http://r/" }
    local common = '^%S+ %- %- %[%d%d/%a%a%a/%d%d%d%d:%d%d:%d%d:%d%d [+-]%d%d%d%d%] "GET /x%?y=1 HTTP/1.1" 200 5'
    assert.truthy(line({ format = "common" }, nil, headers):find(common .. "$"), lines[1])
    assert.truthy(line({}, nil, headers):find(common .. ' "http://r/" "spec/1"$'), lines[2])
    assert.truthy(line({ format = "short" }, nil, headers):find("^%S+ GET /x%?y=1 200 5 %d+%.%d%d%d ms$"), lines[3])
  end)

  it("fills in what a format asks for", function()
    assert.equal("GET|spec|a, b|-|-|-|$|t", line { format = "$request_method|$host|$sent_http_x_sent|$http_none|"
      .. "$request_id|$sent_http_y|$|t" })
    assert.equal("HEAD 200 0", line({ format = "$request_method $status $body_bytes_sent" }, "HEAD /"))
    assert.truthy(line { format = "$request_time $pid $time_iso8601 $msec" }:find(
      "^%d+%.%d%d%d%d%d%d %d+ %d+%-%d+%-%d+T[%d:]+%.%d%d%dZ %d+%.%d%d%d$"))
    assert.equal("GETGET/x$200 OK-", line {
      format = "$request_method${request_method}/x$$$status $request_completion$name",
    })
  end)

  it("lets no client write a line or a field of its own", function()
    local hostile = { ["User-Agent"] = 'a" 200 "b\\\tü', Referer = '"-"' }
    local text = line({ format = "combined" }, "GET /%0aGET%20/", hostile)
    assert.truthy(text:find([["GET /%0aGET%20/ HTTP/1.1" 200 5 "\x22-\x22" "a\x22 200 \x22b\x5C]], 1, true), text)
    assert.is_nil(text:find("[\1-\31\127-\255]"))
    assert.equal([[eve\x22 \x22x]], line({ format = "$remote_user" }, "GET /user"))
  end)

  it("logs errors, and clients that have gone", function()
    local log, restore = fakes.capture_log()
    assert.equal("/fail 500", line({ format = "$request_uri $status" }, "GET /fail"))
    local logger = connect.logger { format = "$status $body_bytes_sent", stream = function(text) lines[9] = text end }
    local app = connect(logger, function(_, res) async.sleep(0.01) res:destroy() end)
    local one = peer.connect(http.createServer(app))
    one:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    loop.wait(function() return lines[9] end, 10, "the line")
    one:close()
    restore()
    assert.equal("499 0", lines[9])
    assert.equal(1, #log)
  end)

  it("writes to the log, a file, an object; calls a function; skips", function()
    local log, restore = fakes.capture_log()
    line { format = "$status", stream = "log" }
    restore()
    assert.same({ { level = "info", text = "200" } }, log)
    local path = os.tmpname()
    line { format = "$status", stream = path }
    local file = io.open(path)
    assert.equal("200\n", file:read("*a"))
    file:close()
    os.remove(path)
    local written = {}
    line { format = "$status", stream = { write = function(_, text) written[#written + 1] = text end } }
    assert.same({ "200\n" }, written)
    assert.equal("GET /x?y=1 200 5 true", line { format = function(record)
      return ("%s %s %d %d %s"):format(record.method, record.url, record.status, record.bytes, record.complete)
    end })
    lines = {}
    line { skip = function(record) return record.status < 400 end }
    assert.equal(0, #lines)
  end)

  it("says what was meant", function()
    assert.error_matches(function() connect.logger { format = "comon" } end, "logger_spec.lua:%d+.*common")
    assert.error_matches(function() connect.logger { format = "$statu" } end, "logger_spec.lua:%d+.*%$status")
    assert.error_matches(function() connect.logger { stream = "/nowhere/x" } end, "nowhere")
    assert.error_matches(function() connect.logger { stram = "log" } end, "stream")
  end)
end)
