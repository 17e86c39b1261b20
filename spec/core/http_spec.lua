local async = require "clua.async"
local uv = require "luv"
local http = require "clua.http"
local host = require "clua.core.host"
local peer = require "spec.support.http_peer"

local GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

local function post(body, path, more)
  return ("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%s\r\n%s"):format(path or "/", #body, more or "", body)
end

describe("http server", function()
  local peers, server, handler

  local function connect(given)
    server = http.createServer(given or {}, function(req, res) return handler(req, res) end)
    local client = peer.connect(server)
    peers[#peers + 1] = client
    return client
  end

  before_each(function()
    peers = {}
    handler = function(_, res) res:finish("hello") end
  end)

  after_each(function()
    for _, client in ipairs(peers) do client:close() end
  end)

  -- What the log says while fn runs: standard error is a file meanwhile.
  local function logged_while(fn)
    local ffi = require "ffi"
    pcall(ffi.cdef, "int dup(int); int dup2(int, int); int close(int);")
    local path = os.tmpname()
    local file, kept = assert(uv.fs_open(path, "w+", 384)), ffi.C.dup(2)
    ffi.C.dup2(file, 2)
    local ok, message = pcall(fn)
    ffi.C.dup2(kept, 2)
    ffi.C.close(kept)
    local text = uv.fs_read(file, 1e6, 0)
    uv.fs_close(file)
    os.remove(path)
    assert(ok, message)
    return text
  end

  -- Resumes the coroutine that calls it on a later turn of the loop.
  local function pause()
    local co, timer = coroutine.running(), uv.new_timer()
    timer:start(1, 0, function()
      timer:close()
      host.resume(co)
    end)
    coroutine.yield()
  end

  describe("answers", function()
    it("with a length, a date and the body", function()
      local response = connect():request(GET)
      assert.equal(200, response.status)
      assert.equal("OK", response.reason)
      assert.equal("5", response.headers["content-length"])
      assert.truthy(response.headers.date:match("^%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT$"))
      assert.is_nil(response.headers.connection)
      assert.equal("hello", response.body)
    end)

    it("one request after the other on a connection", function()
      local client = connect()
      for i = 1, 5 do
        handler = function(_, res) res:finish("n" .. i) end
        assert.equal("n" .. i, client:request(GET).body)
      end
    end)

    it("pipelined requests in their order, in one write", function()
      local client = connect()
      handler = function(req, res) res:finish(req.url) end
      local writes = 0
      client.handle:read_stop()
      client.handle:read_start(function(_, bytes)
        if not bytes then return end
        writes = writes + 1
        client.text = client.text .. bytes
      end)
      local all = {}
      for i = 1, 20 do all[i] = ("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"):format(i) end
      client:send(table.concat(all))
      for i = 1, 20 do assert.equal("/" .. i, client:response().body) end
      assert.equal(1, writes)
    end)

    it("pipelined requests in their order when handlers wait", function()
      local client = connect()
      local running = 0
      handler = function(req, res)
        running = running + 1
        assert(running == 1, "the next request has begun before this one was answered")
        if req.url ~= "/2" then pause() end
        running = running - 1
        res:finish(req.url)
      end
      for i = 1, 4 do client:send(("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"):format(i)) end
      for i = 1, 4 do assert.equal("/" .. i, client:response().body) end
    end)

    it("HEAD with the head of GET", function()
      local client = connect()
      local response = client:request("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.equal("5", response.headers["content-length"])
      assert.equal("", client.text)
      assert.equal("hello", client:request(GET).body)
    end)

    it("204 and 304 without body and length", function()
      local client = connect()
      for _, status in ipairs { 204, 304 } do
        handler = function(_, res)
          res.statusCode = status
          res:finish("not sent")
        end
        local response = client:request(GET)
        assert.equal(status, response.status)
        if status == 204 then assert.is_nil(response.headers["content-length"]) end
        assert.equal("", client.text)
      end
      handler = function(_, res) res:finish("x") end
      assert.equal("x", client:request(GET).body)
    end)

    it("HTTP/1.0 and closes, or keeps the connection when asked", function()
      local client = connect()
      local response = client:request("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
      assert.equal("keep-alive", response.headers.connection)
      response = client:request("GET / HTTP/1.0\r\n\r\n")
      assert.equal("close", response.headers.connection)
      assert.equal("eof", client:wait_closed())
    end)

    it("and closes when the client or the handler says so", function()
      local client = connect()
      assert.equal("close", client:request("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").headers.connection)
      assert.equal("eof", client:wait_closed())
      handler = function(_, res)
        res:setHeader("Connection", "close")
        res:finish("bye")
      end
      client = connect()
      assert.equal("close", client:request(GET).headers.connection)
      assert.equal("eof", client:wait_closed())
    end)

    it("a client that has closed its side after the request", function()
      local client = connect()
      handler = function(_, res)
        pause()
        res:finish("late")
      end
      client:send(GET):shutdown()
      assert.equal("late", client:response().body)
      assert.equal("eof", client:wait_closed())
    end)
  end)

  it("takes no socket of which bytes have been read already: they would be lost", function()
    local Socket = require "clua.socket"
    local ends = uv.socketpair("stream", nil, { nonblock = true }, { nonblock = true })
    local socket, other = Socket.from_fd(ends[1]), Socket.from_fd(ends[2])
    socket:unshift("GET / HTT")
    local ok, message, code = http.createServer(function() end):emit("connection", socket)
    assert.is_nil(ok)
    assert.truthy(message:find("read already", 1, true))
    assert.equal("EBUSY", code)
    socket:destroy()
    other:destroy()
  end)

  describe("the request", function()
    it("has its fields", function()
      local seen = {}
      handler = function(req, res)
        local headers = req.headers
        seen = { req.method, req.url, req.httpVersion, headers.host, headers["x-a"], headers.cookie, req.port }
        seen.raw, seen.all = req.rawHeaders, req.headers
        res:finish()
      end
      connect():request("PUT /a?b=c HTTP/1.1\r\nHost: h:80\r\nX-A: 1 \r\nCookie: a=1\r\nx-a:2\r\n"
        .. "cookie: b=2\r\nEmpty:\r\n\r\n")
      assert.same({ "PUT", "/a?b=c", "1.1", "h:80", "1, 2", "a=1; b=2", 0 }, { unpack(seen, 1, 7) })
      assert.same({ "Host", "h:80", "X-A", "1", "Cookie", "a=1", "x-a", "2", "cookie", "b=2", "Empty", "" }, seen.raw)
      local names = {}
      for name in pairs(seen.all) do names[#names + 1] = name end
      table.sort(names)
      assert.same({ "cookie", "empty", "host", "x-a" }, names)
    end)

    it("keeps its fields while the handler waits, however the bytes came", function()
      local bytes = "PUT /a?b=c HTTP/1.1\r\nHost: h\r\nX-Long: " .. ("x"):rep(300) .. "\r\n\r\n"
      for cut = 1, #bytes - 1, 7 do
        local client = connect()
        handler = function(req, res)
          pause()
          res:finish(req.method .. req.url .. req.headers.host .. #req.headers["x-long"])
        end
        client:send(bytes:sub(1, cut)):turn(2):send(bytes:sub(cut + 1))
        assert.equal("PUT/a?b=ch300", client:response().body)
        client:close()
      end
    end)

    it("takes fields and wrapped methods of the script", function()
      handler = function(req, res)
        req.params = { id = 7 }
        local finish = res.finish
        res.finish = function(self, body) return finish(self, "<" .. body .. req.params.id .. ">") end
        res:finish("x")
      end
      assert.equal("<x7>", connect():request(GET).body)
    end)

    it("in absolute-form has the path and the host of the target", function()
      handler = function(req, res) res:finish(req.url .. " " .. req.headers.host .. " " .. req.target) end
      local client = connect()
      assert.equal("/p?q b:8 http://b:8/p?q", client:request("GET http://b:8/p?q HTTP/1.1\r\nHost: a\r\n\r\n").body)
      assert.equal("/ b http://b", client:request("GET http://b HTTP/1.1\r\nHost: a\r\n\r\n").body)
      assert.equal("/?q b http://b?q", client:request("GET http://b?q HTTP/1.1\r\nHost: a\r\n\r\n").body)
      assert.equal("* b http://b", client:request("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n").body)
      assert.equal("* a *", client:request("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").body)
    end)

    it("is over when its answer has ended", function()
      local kept
      handler = function(req, res)
        kept = { req = req, res = res }
        res:finish("x")
      end
      local client = connect()
      client:request(GET)
      assert.is_nil(kept.req.url)
      assert.same({ nil, "the exchange is over", "ECLOSED" }, { kept.req:body() })
      assert.same({ nil, "the exchange is over", "ECLOSED" }, { kept.res:finish("again") })
      assert.equal("x", client:request(GET).body)
    end)
  end)

  describe("a request body", function()
    local function echo(req, res)
      local body, message, code = req:body()
      if body then
        res:finish(body)
      else
        res:finish(message .. code)
      end
    end

    it("is a string, empty when there is none", function()
      handler = echo
      local client = connect()
      assert.equal("abc", client:request(post("abc")).body)
      assert.equal("", client:request(GET).body)
      assert.equal("", client:request(post("")).body)
    end)

    it("comes in chunks, with trailers", function()
      local trailers
      handler = function(req, res)
        local body = req:body()
        trailers = req.trailers
        res:finish(body)
      end
      local bytes = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n"
        .. "A\r\n0123456789\r\n0\r\nX-Sum: 1 \r\nY:2\r\n\r\n"
      local client = connect()
      assert.equal("abc0123456789", client:request(bytes).body)
      assert.same({ ["x-sum"] = "1", y = "2" }, trailers)
      for cut = 1, #bytes - 1 do
        client:send(bytes:sub(1, cut)):turn(2):send(bytes:sub(cut + 1))
        assert.equal("abc0123456789", client:response().body)
        assert.same({ ["x-sum"] = "1", y = "2" }, trailers)
      end
    end)

    it("shows trailers that have come whole, and nothing of another's", function()
      local trailers
      handler = function(req, res)
        req:body()
        trailers = req.trailers
        res:finish("x")
      end
      local head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      connect():request(head .. "0\r\nX-Secret: of-another-client-4711\r\n\r\n")
      assert.same({ ["x-secret"] = "of-another-client-4711" }, trailers)
      -- Refused in the middle of a trailer: what stands behind it in the buffer is the one above.
      for _, refused in ipairs { "Host: h", "A: b\r\nHost: h", "A: b\r\nTransfer-Encoding", "A: b\r\nX y: 1" } do
        trailers = nil
        local client = connect()
        client:send(head):turn(2):send("0\r\n" .. refused .. "\r\n\r\n"):wait_closed()
        assert.same(refused:find("A: b") and { a = "b" } or {}, trailers, refused)
      end
      -- Asked for while one is on its way.
      local client, request = connect(), nil
      handler = function(req, res)
        request = req
        req:body()
        res:finish("x")
      end
      client:send(head):turn(2)
      for _, part in ipairs { "0\r\nX-Pa", "rt: va", "lue" } do
        client:send(part):turn(2)
        assert.same({}, request.trailers)
      end
      assert.equal("x", client:request("\r\n\r\n").body)
    end)

    it("larger than any buffer arrives whole", function()
      handler = echo
      local body = ("0123456789abcdef"):rep(65536 * 3)
      assert.equal(body, connect():request(post(body)).body)
    end)

    it("is read piece by piece", function()
      local sizes = 0
      handler = function(req, res)
        for chunk in req.read, req do sizes = sizes + #chunk end
        res:finish(tostring(sizes))
      end
      local body = ("x"):rep(1e6)
      assert.equal("1000000", connect():request(post(body)).body)
    end)

    it("is announced by events", function()
      handler = function(req, res)
        local parts = {}
        req:on("data", function(chunk)
          pause()
          parts[#parts + 1] = chunk
        end)
        req:on("end", function() res:finish(table.concat(parts)) end)
      end
      local client = connect()
      local body = ("y"):rep(300000)
      assert.equal(body, client:request(post(body)).body)
      assert.equal("", client:request(GET).body)
    end)

    it("stays with the client while the data handler waits", function()
      local go, received = false, 0
      handler = function(req, res)
        req:on("data", function(chunk)
          received = received + #chunk
          repeat pause() until go
        end)
        req:on("end", function() res:finish(tostring(received)) end)
      end
      local client = connect()
      client:send(post(("y"):rep(4e6))):turn(50)
      local kept = client.handle:get_write_queue_size()
      assert(received > 0 and received < 1e6, received .. " bytes came to the handler that waits")
      assert(kept > 2e6, "the client could send all but " .. kept .. " bytes")
      go = true
      assert.equal("4000000", client:response().body)
    end)

    it("in chunks may not have size lines without end", function()
      local head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      handler = function(req, res)
        local body = req:body()
        if body then res:finish(tostring(#body)) end
      end
      assert.equal(400, connect():request(head .. ("0"):rep(20000)).status)
      assert.equal(400, connect():request(head .. ("1;" .. ("x"):rep(100) .. "\r\na\r\n"):rep(200)).status)
      -- What brings data may have extensions, however often.
      local chunk = "40;name=value\r\n" .. ("a"):rep(64) .. "\r\n"
      assert.equal("128000", connect():request(head .. chunk:rep(2000) .. "0\r\n\r\n").body)
      assert.equal("50000", connect():request(head .. ("1\r\na\r\n"):rep(50000) .. "0\r\n\r\n").body)
    end)

    it("that nobody reads is skipped, and the connection goes on", function()
      local client = connect()
      client:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
      assert.equal("hello", client:response().body)
      client:send("def" .. GET)
      assert.equal("hello", client:response().body)
    end)

    it("that is too large to skip ends the connection", function()
      local client = connect()
      client:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc")
      assert.equal("hello", client:response().body)
      client:send(("x"):rep(500000))
      client:wait_closed()
    end)

    it("larger than allowed is refused before the handler runs", function()
      local called
      handler = function() called = true end
      local client = connect { maxBodySize = 10 }
      local head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n"
      local response = client:request(head)
      assert.equal(413, response.status)
      assert.equal("close", response.headers.connection)
      assert.is_nil(called)
      client:shutdown():wait_closed()
    end)

    it("in chunks larger than allowed is refused when it is", function()
      local got
      handler = function(req, res)
        got = { req:body() }
        res:finish("unused")
      end
      local client = connect { maxBodySize = 10 }
      client:send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n"):turn(2)
      assert.equal(413, client:request("3\r\nabc\r\n").status)
      assert.same({ nil, "the request body is larger than allowed", "ETOOBIG" }, got)
      assert.equal("", client.text)
    end)

    it("may be larger where the server's function says so", function()
      handler = echo
      local client = connect { maxBodySize = function(req) return req.url == "/large" and 100 or 1 end }
      assert.equal("0123456789", client:request(post("0123456789", "/large")).body)
      assert.equal(413, client:request(post("0123456789", "/small")).status)
    end)

    it("of which the client was asked to wait comes after 100", function()
      handler = echo
      local client = connect()
      client:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
      assert.equal(100, client:response().status)
      assert.equal("abc", client:request("abc").body)
      handler = function(_, res) res:finish("no") end
      client:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
      local response = client:response()
      assert.equal(200, response.status)
      assert.equal("close", response.headers.connection)
    end)

    it("ends with an error when it breaks the rules half-way", function()
      local got
      handler = function(req) got = { req:body() } end
      local client = connect()
      client:send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"):turn(2)
      assert.equal(400, client:request("zz\r\n").status)
      assert.equal("EPROTO", got[3])
      client:shutdown():wait_closed()
    end)
  end)

  describe("a response", function()
    it("takes status, reason and headers", function()
      handler = function(_, res)
        res:writeHead(201, "Made", { ["X-A"] = 1, ["Set-Cookie"] = { "a=1", "b=2" } })
        res:setHeader("X-B", "b"):removeHeader("x-a")
        assert(res:getHeader("x-b") == "b" and res.statusCode == 201 and not res.headersSent)
        res:finish("x")
        assert(res.headersSent and res.finished)
      end
      local response = connect():request(GET)
      assert.equal(201, response.status)
      assert.equal("Made", response.reason)
      assert.equal("a=1, b=2", response.headers["set-cookie"])
      assert.equal("b", response.headers["x-b"])
      assert.is_nil(response.headers["x-a"])
    end)

    it("is chunked when it is written in pieces", function()
      handler = function(_, res)
        res:write("a")
        res:write("")
        pause()
        res:addTrailer("X-T", "t")
        res:write("bc")
        res:finish("d")
      end
      local client = connect()
      local response = client:request(GET)
      assert.equal("chunked", response.headers["transfer-encoding"])
      assert.is_nil(response.headers["content-length"])
      assert.equal("abcd", response.body)
      assert.same({ ["x-t"] = "t" }, response.trailers)
      assert.equal("abcd", client:request(GET).body)
    end)

    it("ends with the connection for HTTP/1.0 when its length is not known", function()
      handler = function(_, res)
        res:write("ab")
        res:finish("c")
      end
      local client = connect()
      client:send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"):wait_closed()
      local response = client:take()
      assert.equal("abc", response.body)
      assert.is_nil(response.headers["transfer-encoding"])
      assert.equal("close", response.headers.connection)
    end)

    it("with a length of its own is held to it", function()
      local errors = {}
      handler = function(_, res)
        res:setHeader("Content-Length", 3)
        errors[1] = select(2, pcall(res.finish, res, "four"))
        res:write("ab")
        errors[2] = select(2, pcall(res.write, res, "cd"))
        res:finish("c")
      end
      assert.equal("abc", connect():request(GET).body)
      assert.truthy(errors[1]:match("not as long as its Content%-Length"))
      assert.truthy(errors[2]:match("longer than its Content%-Length"))
    end)

    it("shorter than its length ends the connection", function()
      handler = function(_, res)
        res:setHeader("Content-Length", 3)
        res:write("ab")
        res:finish()
      end
      local client = connect()
      client:send(GET):wait_closed()
      assert.truthy(client.text:match("\r\n\r\nab$") or client.text == "")
    end)

    it("says what is wrong with what it refuses", function()
      local said = {}
      handler = function(_, res)
        local function try(...)
          said[#said + 1] = tostring(select(2, pcall(...))):gsub("^.-:%d+: ", "")
        end
        try(res.writeHead, res, 999)
        try(res.writeHead, res, 200, "O\nK")
        try(function() res.statusCode = 9 end)
        try(function() res.statusMessage = "a\nb" end)
        try(res.addTrailer, res, "a b", "1")
        res:write("head")
        try(res.removeHeader, res, "X")
        try(res.writeHead, res, 200)
        res:finish()
      end
      connect():request(GET)
      local status = "status must be a number from 200 to 599"
      local reason = "reason must not contain CR, LF, NUL or another control character"
      local sent = "the head of the response has been sent already"
      assert.same({ "writeHead: " .. status, "writeHead: " .. reason, "statusCode: " .. status,
        "statusMessage: " .. reason, "addTrailer: header name must be a token: letters, digits and !#$%&'*+-.^_`|~",
        "removeHeader: " .. sent, "writeHead: " .. sent }, said)
    end)

    it("never carries what would break it", function()
      local refused = {}
      handler = function(_, res)
        local function try(...)
          refused[#refused + 1] = not pcall(...)
        end
        try(res.setHeader, res, "X", "a\r\nb: c")
        try(res.setHeader, res, "X", "a\nb")
        try(res.setHeader, res, "X", "a\0b")
        try(res.setHeader, res, "X\r\nY", "a")
        try(res.setHeader, res, "X Y", "a")
        try(res.setHeader, res, "", "a")
        try(res.setHeader, res, "X:", "a")
        try(res.writeHead, res, 200, "OK\r\nX: y")
        try(res.writeHead, res, 99)
        try(res.writeHead, res, 1000)
        try(res.writeHead, res, 101)
        try(res.setHeader, res, "Content-Length", "-1")
        try(res.setHeader, res, "Transfer-Encoding", "gzip")
        try(res.addTrailer, res, "Content-Length", "1")
        try(res.addTrailer, res, "X", "a\rb")
        try(res.setHeader, res, "X", {})
        try(res.setHeader, res, "X", true)
        try(function() res.statusCode = 42 end)
        try(function() res.statusMessage = "a\nb" end)
        res:finish("safe")
      end
      local response = connect():request(GET)
      assert.equal(200, response.status)
      refused[16] = true -- an empty list sets nothing
      for i, was_refused in ipairs(refused) do assert(was_refused, "case " .. i .. " was not refused") end
      assert.equal("safe", response.body)
    end)

    it("waits for a client that does not read", function()
      local written, ended = 0, false
      handler = function(_, res)
        local piece = ("x"):rep(65536)
        for _ = 1, 400 do
          if not res:write(piece) then break end
          written = written + #piece
        end
        ended = true
        res:finish()
      end
      local client = connect()
      client.handle:read_stop()
      client:send(GET):turn(20)
      assert.is_false(ended)
      assert(written < 4 * 1024 * 1024, "wrote " .. written .. " bytes to a client that does not read")
      local received = 0
      client.handle:read_start(function(_, bytes) received = received + (bytes and #bytes or 0) end)
      client:wait(function() return received > 400 * 65536 and ended end, "the whole answer")
    end)

    it("where no coroutine can wait is told to by false, and to go on by drain", function()
      local written, drains = 0, 0
      handler = function(_, res)
        local piece = ("x"):rep(65536)
        -- A function that C calls cannot wait.
        local function go_on()
          local ok
          repeat
            written = written + 1;
            ("x"):gsub("x", function() ok = res:write(piece) end)
          until ok ~= true or written == 100
          if ok then return res:finish() end
          assert(ok == false)
        end
        res:on("drain", function()
          drains = drains + 1
          go_on()
        end)
        go_on()
      end
      local client = connect()
      client.handle:read_stop()
      client:send(GET):turn(50)
      assert(written < 50, "wrote " .. written .. " pieces to a client that does not read")
      local received = 0
      client.handle:read_start(function(_, bytes) received = received + (bytes and #bytes or 0) end)
      client:wait(function() return received > 100 * 65536 end, "the whole answer")
      assert(drains > 0)
    end)

    it("is over once: what is written or answered after it is logged, and goes nowhere", function()
      local results = {}
      handler = function(_, res)
        res:finish("one")
        results = { { res:finish("two") }, { res:write("three") }, { res:setHeader("X", "y") }, { res:writeHead(500) } }
      end
      local client = connect()
      local logged = logged_while(function()
        assert.equal("one", client:request(GET).body)
        client:turn(5)
      end)
      assert.equal("", client.text)
      for _, result in ipairs(results) do
        assert.is_nil(result[1])
        assert.equal("ECLOSED", result[3])
      end
      for _, name in ipairs { "finish", "write", "setHeader", "writeHead" } do
        assert.truthy(logged:find("error: res:" .. name .. " was called after the response had ended", 1, true), logged)
      end
      assert.truthy(logged:find("http_spec.lua:", 1, true), logged)
    end)

    it("has a date that is that of the second", function()
      local client = connect()
      local before = os.time()
      local date = client:request(GET).headers.date
      local after = os.time()
      local fits
      for second = before - 1, after do -- the loop may have looked at its clock a second before
        fits = fits or date == os.date("!%a, %d %b %Y %H:%M:%S GMT", second)
      end
      assert(fits, date)
    end)

    it("may be preceded by interim ones", function()
      local refused
      handler = function(_, res)
        refused = select(2, pcall(res.writeInformation, res, 103, { ["Content-Length"] = "5" }))
        res:writeInformation(103, { Link = "</a.css>; rel=preload" })
        res:finish("x")
      end
      local client = connect()
      local interim = client:request(GET)
      assert.equal(103, interim.status)
      assert.equal("</a.css>; rel=preload", interim.headers.link)
      assert.truthy(refused:find("an interim answer has no body, and no Content-Length", 1, true), refused)
      assert.equal("x", client:response().body)
    end)
  end)

  describe("a handler", function()
    it("that fails answers 500, and the connection goes on", function()
      handler = function() error("boom") end
      local client = connect()
      local response = client:request(GET)
      assert.equal(500, response.status)
      assert.is_nil(response.headers.connection)
      handler = function()
        pause()
        error("late boom")
      end
      assert.equal(500, client:request(GET).status)
      handler = function(_, res)
        res:setHeader("X-A", "1")
        res:write("part")
        error("after a part that has not been sent")
      end
      response = client:request(GET)
      assert.equal(500, response.status)
      assert.is_nil(response.headers["x-a"])
    end)

    it("that fails after bytes were sent ends the connection", function()
      handler = function(_, res)
        res:write("part")
        pause()
        error("boom")
      end
      local client = connect()
      client:send(GET):wait_closed()
      assert.truthy(client.text:match("part"))
      assert.falsy(client.text:match("500"))
      assert.falsy(client.text:match("0\r\n\r\n$"))
    end)

    describe("that fails, with a listener for errors,", function()
      local errors

      -- listener: what else the listener does with req and res
      local function fail_with(listener)
        errors = {}
        local client = connect()
        server:on("error", function(message, req, res)
          errors[#errors + 1] = message
          if listener then listener(req, res) end
        end)
        return client
      end

      for _, when in ipairs { "at once", "after it has waited" } do
        it(when .. ", is told to it, and answered by 500", function()
          local client = fail_with()
          handler = function()
            if when ~= "at once" then pause() end
            error("boom")
          end
          assert.equal(500, client:request(GET).status)
          assert.truthy(errors[1]:find("boom\n.*stack traceback:"), errors[1])
          assert.equal(1, #errors)
        end)

        it(when .. ", is answered by it when it likes", function()
          local client = fail_with(function(req, res)
            pause()
            res:writeHead(503, { ["X-Url"] = req.url })
            res:finish("later")
          end)
          handler = function()
            if when ~= "at once" then pause() end
            error("boom")
          end
          local response = client:request(GET)
          assert.same({ 503, "/", "later" }, { response.status, response.headers["x-url"], response.body })
          handler = function(_, res) res:finish("on") end
          assert.equal("on", client:request(GET).body)
        end)
      end

      it("is answered by 500 when that fails too", function()
        local client = fail_with(function() error("again") end)
        handler = function() error("boom") end
        assert.equal(500, client:request(GET).status)
      end)

      it("in an event of the request, is the same", function()
        local client = fail_with()
        handler = function(req) req:on("data", function() error("boom") end) end
        assert.equal(500, client:request(post("abc")).status)
        assert.truthy(errors[1]:find("boom", 1, true))
      end)
    end)

    it("may fail when its request is over: the log is told, and nobody else", function()
      local client = connect()
      local waiting, gone
      handler = function(_, res)
        waiting = true
        repeat pause() until gone
        assert(res:write("x"))
      end
      client:send(GET)
      client:wait(function() return waiting end, "the handler")
      client:close()
      client:turn(3)
      gone = true
      client:turn(20)
      handler = function(_, res) res:finish("on") end
      assert.equal("on", connect():request(GET).body)
    end)

    it("may be whatever can be called", function()
      server = http.createServer(setmetatable({ text = "called" }, {
        __call = function(self, req, res) res:finish(self.text .. req.url) end,
      }))
      local client = peer.connect(server)
      peers[#peers + 1] = client
      assert.equal("called/", client:request(GET).body)
      assert.has_error(function() http.createServer({}, {}) end)
      assert.has_error(function() http.createServer({}, "x") end)
    end)

    it("is told when the client goes", function()
      local events = {}
      handler = function(req, res)
        req:on("close", function() events[#events + 1] = "req" end)
        res:on("close", function() events[#events + 1] = "res" end)
        res:on("finish", function() events[#events + 1] = "finish" end)
      end
      local client = connect()
      client:send(GET):turn(3)
      client:close()
      client:wait(function() return events[1] end, "close")
      assert.equal("req", events[1])
    end)

    it("that waits for the client is woken when it goes", function()
      local results = {}
      handler = function(req) results.body = { req:body() } end
      local client = connect()
      client:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na"):turn(3)
      client:close()
      client:wait(function() return results.body end, "body()")
      assert.equal("ECLOSED", results.body[3])
      handler = function(_, res)
        repeat
          local ok, message, code = res:write(("x"):rep(65536))
          results.write = { ok, message, code }
        until not ok
      end
      client = connect()
      client.handle:read_stop()
      client:send(GET):turn(5)
      client:close()
      client:wait(function() return results.write and not results.write[1] end, "write()")
      assert.equal("ECLOSED", results.write[3])
    end)

    it("hears finish after a complete answer", function()
      local heard
      handler = function(_, res)
        res:on("finish", function() heard = true end)
        res:finish("x")
      end
      connect():request(GET)
      assert.is_true(heard)
    end)
  end)

  describe("limits", function()
    local function status_of(given, bytes)
      local client = connect(given)
      local response = client:request(bytes)
      client:shutdown():wait_closed()
      return response.status
    end

    it("bound the head, the target and the number of headers", function()
      assert.equal(431, status_of({}, "GET / HTTP/1.1\r\nHost: a\r\nX: " .. ("x"):rep(17000) .. "\r\n\r\n"))
      assert.equal(414, status_of({}, "GET /" .. ("x"):rep(9000) .. " HTTP/1.1\r\nHost: a\r\n\r\n"))
      assert.equal(414, status_of({}, "GET /" .. ("x"):rep(70000)))
      assert.equal(431, status_of({}, "GET / HTTP/1.1\r\nHost: a\r\n" .. ("X: y\r\n"):rep(100) .. "\r\n"))
      assert.equal(431, status_of({ maxHeaders = 2 }, "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n"))
    end)

    it("bound the time of a head, a body, and between requests", function()
      local client = connect { headersTimeout = 0.1 }
      assert.equal(408, client:request("GET / HTTP/1.1\r\nHo").status)
      client:shutdown():wait_closed()
      client = connect { headersTimeout = 0.1 }
      client:wait_closed()
      assert.equal("", client.text)
      client = connect { bodyTimeout = 0.1 }
      local got
      handler = function(req) got = { req:body() } end
      assert.equal(408, client:request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").status)
      assert.equal("ETIMEDOUT", got[3])
      client:shutdown():wait_closed()
      handler = function(_, res) res:finish("x") end
      client = connect { keepAliveTimeout = 0.1 }
      client:request(GET)
      client:wait_closed()
    end)

    it("bound the time of half an empty line in front of a request", function()
      local client = connect { headersTimeout = 0.1 }
      client:send("\r"):wait_closed()
      assert.equal("", client.text)
      client = connect { keepAliveTimeout = 0.1 }
      client:request(GET .. "\r")
      client:wait_closed()
      client = connect { keepAliveTimeout = 10 }
      client:request(GET .. "\r")
      assert.equal(200, client:request("\n" .. GET).status)
    end)

    it("bound the time that a client does not read", function()
      handler = function(_, res) res:finish(("x"):rep(4e6)) end
      local client = connect { writeTimeout = 0.1 }
      client.handle:read_stop()
      local closed
      handler = function(_, res)
        res:on("close", function() closed = true end)
        while res:write(("x"):rep(65536)) do end
      end
      client:send(GET)
      client:wait(function() return closed end, "the write time-out")
    end)

    it("are options, and a wrong one is an error that names the nearest", function()
      local ok, message = pcall(http.createServer, { maxHeaderSiez = 1 }, function() end)
      assert.is_false(ok)
      assert.truthy(tostring(message):match("maxHeaderSize"))
      assert.has_error(function() http.createServer({ maxHeaders = "many" }, function() end) end)
    end)
  end)

  it("hands over a connection that is upgraded", function()
    local got
    local client = connect()
    assert.equal("hello", client:request("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").body)
    server:on("upgrade", function(req, socket, rest)
      got = { req.method, req.url, req.headers.upgrade, rest }
      socket:write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw")
      socket:on("data", function(bytes) socket:write("<" .. bytes .. ">") end)
    end)
    client:send(GET .. "GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly")
    assert.equal("hello", client:response().body)
    assert.equal(101, client:response().status)
    assert.same({ "GET", "/up", "x", "early" }, got)
    client:send("more")
    client:wait(function() return client.text == "raw<more>" end, "the other protocol")
  end)

  it("closes an upgraded connection whose listener fails, and says which", function()
    for _, wait in ipairs { false, true } do
      local client = connect()
      local text, url
      server:on("error", function(message, req) text, url = message, req.url end)
      server:on("upgrade", function()
        if wait then async.sleep(0.01) end
        error("up")
      end)
      client:send("GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"):wait_closed()
      assert.equal("", client.text)
      assert.truthy(text:find("http_spec.lua:%d+: up"), text)
      assert.equal("/up", url)
    end
  end)

  it("does not hand over what may not be upgraded, or whose body would have to be read first", function()
    local upgraded
    local client = connect()
    server:on("upgrade", function(_, socket)
      upgraded = true
      socket:destroy()
    end)
    local UP = "Connection: upgrade\r\nUpgrade: x\r\n"
    assert.equal("hello", client:request("GET / HTTP/1.0\r\n" .. UP .. "\r\n").body)
    client = peer.connect(server)
    peers[#peers + 1] = client
    assert.equal("hello", client:request(post("abc", "/", UP)).body)
    assert.equal("hello", client:request("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n").body)
    assert.equal(400, client:request("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n" .. UP .. "\r\n").status)
    assert.is_nil(upgraded)
  end)
end)
