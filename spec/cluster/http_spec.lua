-- HTTP through the whole cluster: what a client sees when its worker dies in each state of a request, parked
-- connections, and clients that we did not write.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"
local loop = require "spec.support.loop"
local uv = require "luv"

local GET = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"

local function up(options, env)
  return cluster.up { app = "http_methods", options = options or { cnum = 1 }, env = env,
    files = { ["digits.txt"] = "0123456789" } }
end

-- The worker has seen what was sent before: it answers others that came later.
local function settle(c)
  for _ = 1, 3 do assert.equal(200, (client.get(c:address(), "/hello"))) end
end

local function kill(c)
  local mark, victim = c:mark(), c:workers()[1]
  assert(uv.kill(victim.pid, "sigkill"))
  c:wait_log("exited, pid " .. victim.pid .. ", killed by SIGKILL", mark)
  return victim.pid
end

describe("kill -9 of a worker", function()
  local c, conn

  before_each(function()
    c = up()
    conn = assert(client.connect(c:address()))
  end)
  after_each(cluster.cleanup)

  -- What has been sent when the worker is killed; before: what has been answered by then.
  local LOST = {
    { "when half of a head has come", "GET /hello HTTP/1.1\r\nHos" },
    { "when half of a body has come", "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234" },
    { "when half of a chunk has come", "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0" },
    { "when half of a second request has come", GET .. "GET /hello HT", before = 1 },
    { "while the handler waits", "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n" },
    { "while the second handler of a batch waits", GET .. "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n" .. GET, before = 1 },
  }
  for _, case in ipairs(LOST) do
    it(case[1] .. " is answered by 502, and the connection closed", function()
      conn:send(case[2])
      for _ = 1, case.before or 0 do assert.equal(200, (conn:response("GET"))) end
      if case[2]:find("/wait") then c:wait_log("the handler waits") end
      settle(c)
      kill(c)
      assert.equal(502, (conn:response("GET")))
      assert.same({ "", "eof" }, { conn:read_all() })
      conn:close()
    end)
  end

  it("after a part of the answer closes the connection, and appends nothing", function()
    conn:send("GET /part HTTP/1.1\r\nHost: a\r\n\r\n")
    assert(conn:read_until("a part"))
    kill(c)
    assert.same({ "", "eof" }, { conn:read_all() })
    conn:close()
  end)

  it("between two requests is not seen", function()
    local _, _, before = conn:request("GET", "/pid")
    assert.equal(tostring(kill(c)), before)
    local status, _, after = conn:request("GET", "/pid")
    assert.equal(200, status)
    assert.not_equal(before, after)
    conn:close()
  end)

  it("before the first byte is not seen", function()
    settle(c)
    kill(c)
    assert.equal(200, (conn:request("GET", "/hello")))
    conn:close()
  end)
end)

describe("a connection of HTTP", function()
  after_each(cluster.cleanup)

  it("gets the answers to a pipelined batch in their order", function()
    local c = up()
    local conn = assert(client.connect(c:address()))
    local batch = {}
    for i = 1, 16 do
      batch[i] = i % 4 == 0 and ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"):format(i, ("x"):rep(i))
        or GET
    end
    for _ = 1, 20 do
      conn:send(table.concat(batch))
      for i = 1, 16 do
        local status, _, body = conn:response("GET")
        assert.equal(200, status)
        assert.equal(i % 4 == 0 and ("POST %d bytes\n"):format(i) or "hello\n", body)
      end
    end
    conn:close()
  end)

  it("is counted: remain is what is in execution, scores what has begun; not what is refused or half sent", function()
    local c = up()
    local conn, half, bad = client.connect(c:address()), client.connect(c:address()), client.connect(c:address())
    local waiting, mark = {}, c:mark()
    local function figures()
      local _, _, body = conn:request("GET", "/figures")
      return body
    end
    assert.equal("1 1", figures())
    for i = 1, 3 do
      waiting[i] = assert(client.connect(c:address()))
      waiting[i]:send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
      c:wait_log("the handler waits", mark, i)
      assert.equal(("%d %d"):format(i + 1, 2 * i + 1), figures())
    end
    half:send(GET:sub(1, 20))
    bad:send("GET / HTTP/1.1\r\n\r\n")
    assert.equal(400, (bad:response("GET")))
    assert.equal("4 8", figures())
    -- A client that goes is in execution until its handler has ended.
    waiting[1]:close()
    cluster.write(c.dir .. "/go", "")
    for i = 2, 3 do assert.equal(200, (waiting[i]:response("GET"))) end
    loop.wait(function() return figures():match("^1 ") end, 20, "the worker to have nothing in execution")
    for _, each in ipairs { conn, waiting[2], waiting[3], half, bad } do each:close() end
  end)

  -- The client has more to say than it is listened to: the answer must arrive all the same, then the end, no reset.
  local LIMITS = {
    { 431, "a head that is too large", function() return "GET / HTTP/1.1\r\nHost: a\r\nX: " .. ("x"):rep(4e6) end },
    { 414, "a target that is too long", function() return "GET /" .. ("x"):rep(4e6) end },
    { 413, "a body that is declared too large", function()
      return "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 12000000\r\n\r\n" .. ("x"):rep(12e6)
    end },
    { 413, "chunks that are too many", function()
      return "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        .. ("10000\r\n" .. ("x"):rep(65536) .. "\r\n"):rep(190)
    end },
    { 400, "a request without Host", function() return "GET / HTTP/1.1\r\n\r\n" .. ("x"):rep(4e6) end },
    { 417, "an expectation", function()
      return "PUT / HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 4000000\r\n\r\n" .. ("x"):rep(4e6)
    end },
  }
  it("is told of a limit and closed, also when its client goes on sending", function()
    local c = up()
    for _, case in ipairs(LIMITS) do
      local conn = assert(client.connect(c:address()))
      conn:send(case[3]())
      local status, headers = conn:response("GET")
      assert(status == case[1], ("%s: %s"):format(case[2], tostring(status)))
      assert.equal("close", headers.connection)
      local rest, how = conn:read_all()
      assert(rest == "" and how == "eof", ("%s: ended by %s"):format(case[2], tostring(how)))
      conn:close()
    end
    assert.equal(0, c:count(" exited"))
  end)

  -- Closed 2 s after the last answer: the time in the worker (1.5 s) and the time parked count together.
  it("is closed by keepAliveTimeout, of which the time parked is a part", function()
    local c = up({ cnum = 1, linger = 1.5 }, { KEEP_ALIVE = "2" })
    local conn = assert(client.connect(c:address()))
    assert.equal(200, (conn:request("GET", "/hello")))
    assert.same({ nil, "timeout" }, { conn:read(1, 1) })
    local answered = loop.now()
    assert.equal(200, (conn:request("GET", "/hello")))
    assert.same({ "", "eof" }, { conn:read_all() })
    local idle = conn.closed_at - answered
    assert(idle >= 1.9 and idle < 3.3, ("closed after %.2f s"):format(idle))
  end)

  it("finishes a request that is half sent when its worker is told to end", function()
    local c = up()
    local half, waiting = assert(client.connect(c:address())), assert(client.connect(c:address()))
    half:send(GET:sub(1, 20))
    waiting:send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    c:wait_log("the handler waits")
    settle(c)
    local old = c:workers()[1].pid
    local mark = c:mark()
    c:signal("sigusr1")
    c:wait_log("worker 1 of .* ready, pid", mark)
    half:send(GET:sub(21))
    assert.equal(200, (half:response("GET")))
    cluster.write(c.dir .. "/go", "")
    assert.equal(200, (waiting:response("GET")))
    c:wait_log(("exited, pid %d, status 0"):format(old), mark)
    -- Both go on in the new worker.
    for _, conn in ipairs { half, waiting } do
      local status, _, body = conn:request("GET", "/pid")
      assert.equal(200, status)
      assert.not_equal(tostring(old), body)
      conn:close()
    end
  end)
end)

describe("a client that we did not write:", function()
  local c, url

  setup(function()
    c = up { cnum = 2 }
    url = "http://" .. c:address()
    cluster.write(c.dir .. "/large.bin", ("0123456789abcdef"):rep(200000))
  end)
  teardown(cluster.cleanup)

  -- Output of curl; what it says of the protocol, too.
  local function curl(...)
    local text, said, code = command.run("curl", { "-sv", "--max-time", "30", ... })
    assert(code == 0, said)
    return text, said
  end

  it("curl, HTTP/1.1 on one connection", function()
    local text, said = curl(url .. "/hello", url .. "/hello", url .. "/hello")
    assert.equal("hello\nhello\nhello\n", text)
    assert.truthy(said:find("Re-using existing connection", 1, true))
    assert.equal(1, select(2, said:gsub("Connected to ", "")))
  end)

  it("curl, HTTP/1.0", function()
    assert.equal("hello\n", (curl("-0", url .. "/hello")))
    assert.equal("3200000", (curl("-0", "-o", "/dev/null", "-w", "%{size_download}", url .. "/file/large.bin")))
  end)

  it("curl, HEAD", function()
    local text = curl("-I", url .. "/file/digits.txt", url .. "/file/digits.txt")
    assert.equal(2, select(2, text:gsub("Content%-Length: 10\r\n", "")))
  end)

  it("curl, an upload of known and of unknown length", function()
    local large = c.dir .. "/large.bin"
    assert.equal("PUT 3200000 bytes\n", (curl("-T", large, url .. "/up")))
    local script = ('curl -s --max-time 30 -T - "%s/up" < "%s"'):format(url, large)
    assert.equal("PUT 3200000 bytes\n", (command.run("sh", { "-c", script })))
  end)

  it("curl, Expect: 100-continue", function()
    local text, said = curl("-H", "Expect: 100-continue", "--data-binary", "@" .. c.dir .. "/large.bin", url .. "/up")
    assert.equal("POST 3200000 bytes\n", text)
    assert.truthy(said:find("HTTP/1.1 100 Continue", 1, true))
    assert.falsy(said:find("Done waiting for 100", 1, true))
  end)

  it("curl, ranges and conditions", function()
    assert.equal("234", (curl("--range", "2-4", url .. "/file/digits.txt")))
    assert.equal("89", (curl("--range", "-2", url .. "/file/digits.txt")))
    local text, said = curl("--range", "0-1,8-", url .. "/file/digits.txt")
    assert.truthy(said:find("206 Partial Content", 1, true))
    assert.truthy(text:find("\r\n\r\n01\r\n", 1, true) and text:find("\r\n\r\n89\r\n", 1, true))
    local tag = c.dir .. "/tag"
    curl("--etag-save", tag, url .. "/file/digits.txt")
    text = curl("--etag-compare", tag, "-o", "/dev/null", "-w", "%{http_code}", url .. "/file/digits.txt")
    assert.equal("304", text)
  end)

  it("ab, with keep-alive and without", function()
    if not command.exists("ab") then return pending("ab is not installed (apache2-utils)") end
    for _, args in ipairs { { "-q", "-k", "-c8", "-n2000" }, { "-q", "-c8", "-n500" } } do
      args[#args + 1] = url .. "/hello"
      local text = command.run("ab", args)
      assert.truthy(text:find("Failed requests:%s+0\n"), text)
      assert.falsy(text:find("Non-2xx responses", 1, true), text)
      assert.equal(args[2] == "-k" and "2000" or nil, text:match("Keep%-Alive requests:%s+(%d+)\n"))
    end
  end)

  it("wrk", function()
    if not command.exists("wrk") then return pending("wrk is not installed") end
    local text = command.run("wrk", { "-t1", "-c16", "-d1", url .. "/hello" })
    assert(tonumber(text:match("(%d+) requests in")) > 0, text)
    assert.falsy(text:find("Socket errors", 1, true), text)
    assert.falsy(text:find("Non%-2xx"), text)
  end)

  it("Node's http client with a keep-alive agent", function()
    if not command.exists("node") then return pending("node is not installed") end
    local script = [[
const http = require('http'), url = process.argv[1]
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 })
let left = 400, connections = 0, good = 0
function one(i) {
  const body = i % 3 ? null : 'x'.repeat(i * 100)
  const options = { agent, method: body === null ? 'GET' : 'POST' }
  if (i % 2) options.headers = { 'Transfer-Encoding': 'chunked' }
  if (body === null) delete options.headers
  const request = http.request(url + '/hello', options, (response) => {
    let text = ''
    response.on('data', (bytes) => { text += bytes })
    response.on('end', () => {
      if (text === (body === null ? 'hello\n' : `POST ${body.length} bytes\n`)) good++
      if (--left === 0) { console.log(`good ${good} connections ${connections}`); agent.destroy() }
    })
  })
  request.on('socket', (socket) => { if (!socket.seen) { socket.seen = true; connections++ } })
  request.on('error', (error) => { console.log(error.stack); process.exit(1) })
  request.end(body === null ? undefined : body)
}
for (let i = 0; i < 400; i++) one(i)
]]
    local text = command.run("node", { "-e", script, url })
    assert.equal("good 400 connections 4\n", text)
  end)
end)

describe("a worker that was held up", function()
  after_each(cluster.cleanup)

  it("reads what its clients have sent meanwhile before it finds them late", function()
    local c = cluster.up { app = "app.lua", options = { cnum = 1 }, files = { ["app.lua"] = [[
      local server = require("clua.http").createServer({ headersTimeout = 1 }, function(req, res)
        if req.url == "/block" then
          print "blocks"
          require("luv").sleep(2500)
        end
        res:finish "ok"
      end)
      require("clua").ready(function(socket) server:emit("connection", socket) end)
    ]] } }
    local slow, other = assert(client.connect(c:address())), assert(client.connect(c:address()))
    slow:send(GET:sub(1, 20))
    assert.equal(200, (client.get(c:address(), "/"))) -- by then the first part has been read
    other:send("GET /block HTTP/1.1\r\nHost: a\r\n\r\n")
    c:wait_log("blocks$")
    slow:send(GET:sub(21))
    assert.equal(200, (slow:response("GET")))
    assert.equal(200, (other:response("GET")))
    slow:close()
    other:close()
    c:stop()
  end)
end)
