-- clua.http.client against raw servers that answer whatever a spec says, and against clua's own server.

local async = require "clua.async"
local client = require "clua.http.client"
local host = require "clua.core.host"
local http = require "clua.http"
local loop = require "spec.support.loop"
local net = require "clua.net"
local raw = require "spec.support.raw_server"
local uv = require "luv"

local WAIT = 10 -- seconds that bound a hang
local OK = "HTTP/1.1 200 OK\r\n"
local EMPTY = OK .. "Content-Length: 0\r\n\r\n"

local function wait(predicate, what)
  return loop.wait(predicate, WAIT, what)
end

local function run(fn)
  return loop.run(fn, WAIT)
end

local function await(predicate)
  local deadline = loop.now() + WAIT
  while not predicate() do
    assert(loop.now() < deadline, "waited too long")
    async.sleep(0.001)
  end
end

describe("clua.http.client", function()
  local servers, agent

  local function serve(...)
    local server = raw.serve(...)
    servers[#servers + 1] = server
    return server
  end

  -- clua's own HTTP server; every response says on which connection of it.
  local function serve_http(handler, options)
    local connections = 0
    local server = http.createServer(options or {}, handler)
    local listener = assert(net.listen(0, function(socket)
      connections = connections + 1
      server:emit("connection", socket)
    end))
    servers[#servers + 1] = listener
    return "http://127.0.0.1:" .. select(2, listener:address()), function() return connections end
  end

  local function request(given)
    if given.agent == nil then given.agent = agent end
    return client.request(given)
  end

  before_each(function()
    servers, agent = {}, client.Agent()
  end)

  after_each(function()
    agent:close()
    for _, server in ipairs(servers) do server:close() end
    for _ = 1, 5 do uv.run("nowait") end
  end)

  describe("sends", function()
    local function sent(given)
      local server = serve { { EMPTY } }
      given.url = server.url .. (given.url or "/")
      run(function() return assert(request(given)):body() end)
      return server.connections[1].text, server.port
    end

    it("a request line, Host, and nothing that is not needed", function()
      local text, port = sent { url = "/p?q" }
      assert.equal(("GET /p?q HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: clua\r\n\r\n"):format(port), text)
    end)

    it("headers, once or several times, instead of its own too", function()
      local text = sent { headers = { ["X-A"] = 1, ["X-B"] = { "b", "c" }, host = "other", ["user-agent"] = "me" } }
      assert.equal("GET / HTTP/1.1\r\nX-A: 1\r\nX-B: b\r\nX-B: c\r\nhost: other\r\nuser-agent: me\r\n\r\n", text)
    end)

    it("a body with its length; none is a length of 0 where one is expected", function()
      assert.truthy(sent { method = "POST", body = "hello" }:find("Content-Length: 5\r\n\r\nhello", 1, true))
      assert.truthy(sent { method = "PUT" }:find("Content-Length: 0\r\n\r\n", 1, true))
      assert.falsy(sent { method = "DELETE" }:find("Content-Length", 1, true))
    end)

    it("a body from a function in chunks, or with the length that it is given", function()
      local function body()
        local pieces = { "one", "", "twenty-one bytes long" }
        return function() return table.remove(pieces, 1) end
      end
      local text = sent { method = "POST", body = body() }
      assert.truthy(text:find("Transfer-Encoding: chunked\r\n\r\n", 1, true))
      wait(function() return servers[1].connections[1].text:find("0\r\n\r\n$") end, "the last chunk")
      text = servers[1].connections[1].text
      assert.truthy(text:find("\r\n\r\n3\r\none\r\n15\r\ntwenty-one bytes long\r\n0\r\n\r\n", 1, true))
      text = sent { method = "POST", body = body(), headers = { ["Content-Length"] = 24 } }
      assert.truthy(text:find("Content-Length: 24\r\n\r\n", 1, true))
      wait(function() return servers[2].connections[1].text:find("\r\n\r\nonetwenty%-one bytes long$") end, "the body")
    end)

    it("Connection: close without an agent", function()
      assert.truthy(sent { agent = false }:find("Connection: close\r\n", 1, true))
    end)
  end)

  describe("refuses", function()
    for what, given in pairs {
      ["CR LF in a value"] = { headers = { A = "b\r\nX: y" } },
      ["LF in a value"] = { headers = { A = "b\nX: y" } },
      ["NUL in a value"] = { headers = { A = "b\0" } },
      ["CR LF in one of several values"] = { headers = { A = { "b", "c\r\n" } } },
      ["CR LF in a name"] = { headers = { ["A\r\nX"] = "b" } },
      ["a colon in a name"] = { headers = { ["A:"] = "b" } },
      ["an empty name"] = { headers = { [""] = "b" } },
      ["a list of headers"] = { headers = { "A: b" } },
      ["a value that is no text"] = { headers = { A = true } },
      ["a method with a space"] = { method = "GET / HTTP/1.1\r\nX: y\r\n\r\nGET" },
      ["CONNECT"] = { method = "CONNECT" },
      ["Transfer-Encoding"] = { headers = { ["transfer-encoding"] = "chunked" } },
      ["a length that is not the body's"] = { body = "abc", headers = { ["Content-Length"] = 4 } },
      ["a length that is no number"] = { body = "abc", headers = { ["Content-Length"] = "3, 3" } },
      ["an unknown option"] = { methd = "GET" },
      ["an unknown time-out"] = { timeout = { header = 1 } },
    } do
      it(what .. ", before anything is sent", function()
        given.url = "http://127.0.0.1:1/"
        run(function() assert.is_false((pcall(client.request, given))) end)
      end)
    end

    it("what is no URL of its own, as an error that is returned", function()
      run(function()
        for url, code in pairs {
          ["https://a/"] = "ENOTSUP", ["a"] = "EINVAL", ["http://a/\r\nX: y"] = "EINVAL", ["http://u:p@a/"] = "EINVAL",
        } do
          local res, message, why = client.get(url)
          assert.is_nil(res)
          assert.is_string(message)
          assert.equal(code, why)
        end
      end)
    end)
  end)

  describe("reads", function()
    for _, slowly in ipairs { false, true } do
      local how = slowly and ", one byte at a time" or ""

      it("what the server says" .. how, function()
        local server = serve({ { "HTTP/1.1 404 Not There\r\nX: 1\r\nx: 2\r\nSet-Cookie: c\r\nContent-Length: 4\r\n\r\n"
          .. "body" } }, { slowly = slowly })
        run(function()
          local res = assert(request { url = server.url .. "/x" })
          assert.same({ 404, "Not There", "1.1", server.url .. "/x" },
            { res.status, res.reason, res.httpVersion, res.url })
          assert.same({ x = "1, 2", ["set-cookie"] = { "c" }, ["content-length"] = "4" }, res.headers)
          assert.same({ "X", "1" }, res.rawHeaders[1])
          assert.equal("body", res:body())
          assert.equal("", res:body())
          assert.same({ nil, nil }, { res:read() })
        end)
        assert.equal(1, agent:idleCount())
      end)

      it("chunks and trailers" .. how, function()
        local server = serve({ { OK
          .. "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n" } },
          { slowly = slowly })
        run(function()
          local res = assert(request { url = server.url })
          assert.equal("abcde", res:body())
          assert.same({ t = "1" }, res.trailers)
        end)
        assert.equal(1, agent:idleCount())
      end)

      it("past interim responses" .. how, function()
        local server = serve({ { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" .. EMPTY } },
          { slowly = slowly })
        assert.equal(200, run(function() return assert(request { url = server.url }).status end))
      end)

      it("to the end of the connection" .. how, function()
        local server = serve({ { "HTTP/1.0 200 OK\r\n\r\nto the end", raw.CLOSE } }, { slowly = slowly })
        assert.equal("to the end", run(function() return assert(request { url = server.url }):body() end))
        assert.equal(0, agent:idleCount())
      end)
    end

    for what, case in pairs {
      HEAD = { "HEAD", OK .. "Content-Length: 5\r\n\r\n" },
      ["204"] = { "GET", "HTTP/1.1 204 No Content\r\n\r\n" },
      ["304"] = { "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n" },
    } do
      it("no body of " .. what .. ", and goes on with the connection", function()
        local server = serve { { case[2], case[2] } }
        run(function()
          for _ = 1, 2 do assert.equal("", assert(request { url = server.url, method = case[1] }):body()) end
        end)
        assert.equal(1, #server.connections)
      end)
    end

    it("by pieces while they come", function()
      local connection
      local server = serve { { OK .. "Content-Length: 6\r\n\r\nabc", function(given) connection = given end } }
      run(function()
        local res = assert(request { url = server.url })
        assert.equal("abc", res:read())
        connection.handle:write("def")
        assert.equal("def", res:read())
        assert.is_nil((res:read()))
      end)
    end)

    for what, case in pairs {
      ["two lengths"] = { OK .. "Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc", "EPROTO" },
      ["length and chunks"] = { OK .. "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "EPROTO" },
      ["garbage"] = { "SSH-2.0-x\r\n", "EPROTO" },
      ["no response"] = { raw.CLOSE, "EOF" },
      ["half a head"] = { OK .. "A: b\r\n", "EOF", raw.CLOSE },
      ["a long header"] = { OK .. "A: " .. ("x"):rep(70000) .. "\r\n\r\n", "EMSGSIZE" },
      ["many headers"] = { OK .. ("A: b\r\n"):rep(201) .. "\r\n", "EMSGSIZE" },
      ["a switch of protocols"] = { "HTTP/1.1 101 Ok\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "EPROTO" },
      ["interim responses without end"] = { ("HTTP/1.1 103 Early\r\n\r\n"):rep(20), "EPROTO" },
    } do
      it("no head of " .. what, function()
        local server = serve { { raw.NOW, case[1], case[3] } }
        run(function()
          local res, message, code = request { url = server.url, method = "POST" }
          assert.is_nil(res)
          assert.is_string(message)
          assert.equal(case[2], code)
        end)
        wait(function()
          return server.connections[1].ended or server.connections[1].handle:is_closing()
        end, "the end of the connection")
      end)
    end

    for what, case in pairs {
      ["a short body"] = { OK .. "Content-Length: 9\r\n\r\nabc", "EOF" },
      ["a missing last chunk"] = { OK .. "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "EOF" },
      ["a bad chunk"] = { OK .. "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", "EPROTO" },
    } do
      it("no body of " .. what, function()
        local server = serve { { case[1], raw.CLOSE } }
        run(function()
          local res, message, code = request { url = server.url }
          for _ = 1, 2 do
            local body
            -- What came together with the head may have been the end of the request already.
            if res then body, message, code = res:body() end
            assert.is_nil(body)
            assert.is_string(message)
            assert.equal(case[2], code)
          end
        end)
        assert.equal(0, agent:idleCount())
      end)
    end

    it("no more than the limit of a body", function()
      local server = serve { { OK .. "Content-Length: 99\r\n\r\n123456789" } }
      assert.equal("EMSGSIZE", run(function() return select(3, assert(request { url = server.url }):body(8)) end))
      wait(function() return server.connections[1].ended end, "the end of the connection")
    end)

    it("a response before the request is sent whole", function()
      local server = serve { { "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", function(connection)
        connection.handle:read_stop()
      end } }
      local calls = 0
      run(function()
        local res = assert(request { url = server.url, method = "POST", body = function()
          calls = calls + 1
          return ("x"):rep(65536)
        end })
        assert.equal(413, res.status)
      end)
      local before = calls
      for _ = 1, 20 do uv.run("nowait") end
      assert.is_true(calls - before <= 1)
      assert.equal(0, agent:idleCount())
    end)
  end)

  describe("a body from a function", function()
    for what, case in pairs {
      ["fails"] = { function() error("broken") end, "ECANCELED", "broken" },
      ["gives up"] = { function() return nil, "no more", "EX" end, "EX", "no more" },
      ["returns no text"] = { function() return {} end, "EINVAL", "table" },
      ["is longer than its length"] = { function() return "123" end, "EINVAL", "longer", 4 },
    } do
      it("that " .. what .. " ends the request", function()
        local server = serve { {} }
        run(function()
          local res, message, code = request { url = server.url, method = "POST", body = case[1],
            headers = { ["Content-Length"] = case[4] } }
          assert.is_nil(res)
          assert.equal(case[2], code)
          assert.truthy(message:find(case[3], 1, true), message)
        end)
      end)
    end

    it("that is shorter than its length ends the request", function()
      local server, pieces = serve { {} }, { "abc" }
      assert.equal("EINVAL", run(function()
        return select(3, request { url = server.url, method = "POST", headers = { ["Content-Length"] = 4 },
          body = function() return table.remove(pieces) end })
      end))
    end)

    it("waits for a server that is slow, and need not fit into memory", function()
      local url = serve_http(function(req, res)
        local count = 0
        for chunk in function() return req:read() end do
          count = count + #chunk
          if count % 7 == 0 then async.sleep(0) end
        end
        res:finish(tostring(count))
      end, { maxBodySize = 1e9 })
      local left, piece = 300, ("x"):rep(100000)
      assert.equal("30000000", run(function()
        return assert(request { url = url, method = "PUT", body = function()
          left = left - 1
          return left >= 0 and piece or nil
        end }):body()
      end))
    end)
  end)

  describe("time-outs:", function()
    for what, case in pairs {
      ["no response"] = { {}, "without a response" },
      ["a dribbling head"] = { { raw.NOW, "HTTP/1.1 200 OK\r\nA: ", function(connection)
        connection.timer = uv.new_timer()
        connection.timer:start(1, 1, function()
          if connection.handle:is_closing() or connection.ended then
            connection.timer:close()
            connection.timer:stop()
          else
            connection.handle:try_write("x")
          end
        end)
      end }, "without a response" },
    } do
      it(what, function()
        local server = serve { case[1] }
        run(function()
          local res, message, code = request { url = server.url, timeout = { headers = 0.03 } }
          assert.is_nil(res)
          assert.equal("ETIMEDOUT", code)
          assert.truthy(message:find(case[2], 1, true), message)
        end)
        wait(function() return server.connections[1].ended end, "the end of the connection")
      end)
    end

    it("in the middle of a body", function()
      local server = serve { { OK .. "Content-Length: 9\r\n\r\nabc" } }
      run(function()
        local res = assert(request { url = server.url, timeout = 0.02 })
        assert.equal("abc", res:read())
        assert.equal("ETIMEDOUT", (select(3, res:read())))
      end)
    end)

    it("of a server that does not read", function()
      local server = serve { { raw.NOW, function(connection) connection.handle:read_stop() end } }
      assert.equal("ETIMEDOUT", run(function()
        return select(3, request { url = server.url, method = "PUT", timeout = { idle = 0.03 },
          body = function() return ("x"):rep(1e6) end })
      end))
    end)
  end)

  describe("connections", function()
    it("are used again, by whoever asks next", function()
      local url, connections = serve_http(function(_, res) res:finish("hello") end)
      run(function()
        for _ = 1, 5 do assert.equal("hello", assert(request { url = url }):body()) end
      end)
      assert.equal(1, connections())
      assert.equal(1, agent:idleCount())
    end)

    it("are opened for requests at the same time, and kept up to a limit", function()
      agent = client.Agent { maxIdle = 2 }
      local url, connections = serve_http(function(_, res)
        async.sleep(0.001)
        res:finish("hello")
      end)
      local done = 0
      for _ = 1, 5 do
        host.spawn(function()
          assert(request { url = url }):body()
          done = done + 1
        end)
      end
      wait(function() return done == 5 end, "all answers")
      assert.equal(5, connections())
      assert.equal(2, agent:idleCount())
    end)

    it("are dropped when the server ends them, or says something unasked", function()
      for _, action in ipairs { raw.CLOSE, raw.RESET, "HTTP/1.1 408 Request Timeout\r\n\r\n" } do
        local server = serve { { EMPTY, raw.NOW, action }, { EMPTY } }
        run(function()
          assert(request { url = server.url })
          for _ = 1, 3 do async.sleep(0.001) end
          assert.equal(200, assert(request { url = server.url, method = "POST", body = "x" }).status)
        end)
        assert.equal(2, #server.connections)
      end
    end)

    it("are not used again when more came than the response", function()
      local server = serve { { EMPTY .. "HTTP/1.1 200 Smuggled\r\nContent-Length: 0\r\n\r\n" }, { EMPTY } }
      run(function()
        assert(request { url = server.url })
        assert.equal("OK", assert(request { url = server.url }).reason)
      end)
      assert.equal(2, #server.connections)
    end)

    it("are not used again after Connection: close", function()
      local server = serve { { OK .. "Connection: close\r\nContent-Length: 0\r\n\r\n" } }
      run(function() assert(request { url = server.url }) end)
      assert.equal(0, agent:idleCount())
    end)

    it("that have gone are replaced once, for what may be repeated", function()
      local function scripts() return { { EMPTY, function(connection)
        -- Ends only when the next request has come.
        connection.script[connection.at] = "\r\n"
        connection.script[connection.at + 1] = nil
        connection.handle:read_stop()
        connection.handle:read_start(function()
          if not connection.handle:is_closing() then connection.handle:close() end
        end)
      end }, { EMPTY } } end
      for method, want in pairs { GET = 200, PUT = 200, DELETE = 200, POST = false, PATCH = false } do
        local server = serve(scripts())
        run(function()
          assert(request { url = server.url })
          local res, _, code = request { url = server.url, method = method, body = method ~= "GET" and "x" or nil }
          assert.equal(want, res and res.status or false, method)
          if not res then assert.truthy(code == "EOF" or code == "ECONNRESET", code) end
        end)
        assert.equal(want and 2 or 1, #server.connections, method)
      end
    end)

    it("end when nobody uses them for a while", function()
      agent = client.Agent { idleTimeout = 0.005 }
      local server = serve { { EMPTY } }
      run(function() assert(request { url = server.url }) end)
      wait(function() return server.connections[1].ended end, "the end of the connection")
      assert.equal(0, agent:idleCount())
    end)

    it("end with a response that is dropped without being read", function()
      local server = serve { { OK .. "Content-Length: 9\r\n\r\nabc" } }
      run(function() assert.equal(200, assert(request { url = server.url }).status) end)
      wait(function()
        collectgarbage()
        return server.connections[1].ended
      end, "the end of the connection")
    end)

    it("go through unix sockets", function()
      local path = os.tmpname()
      os.remove(path)
      local server = http.createServer(function(req, res) res:finish(req.headers.host .. req.url) end)
      servers[1] = assert(net.listen(path, function(socket) server:emit("connection", socket) end))
      run(function()
        assert.equal("localhost/x", assert(request { url = "unix:" .. path .. ":/x" }):body())
        assert.equal("a.example/y", assert(request { url = "http://a.example/y", socketPath = path }):body())
      end)
      assert.equal(2, agent:idleCount())
    end)

    it("are handed over after a switch of protocols", function()
      local server = serve { { "HTTP/1.1 101 Ok\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nfirst\n" } }
      run(function()
        local res = assert(request { url = server.url, headers = { Connection = "Upgrade", Upgrade = "echo" } })
        assert.equal(101, res.status)
        assert.equal("first", res.socket:readLine())
        res.socket:destroy()
      end)
    end)
  end)

  describe("redirects", function()
    local function to(status, location)
      return ("HTTP/1.1 %d Over There\r\nLocation: %s\r\nContent-Length: 5\r\n\r\nmoved"):format(status, location)
    end

    it("are not followed unless asked", function()
      local server = serve { { to(302, "/x") } }
      run(function()
        local res = assert(request { url = server.url })
        assert.same({ 302, "moved" }, { res.status, res:body() })
      end)
    end)

    for _, case in ipairs {
      { 301, "GET", "GET" }, { 301, "POST", "GET" }, { 302, "POST", "GET" }, { 302, "PUT", "PUT", "body" },
      { 303, "POST", "GET" }, { 303, "PUT", "GET" }, { 303, "HEAD", "HEAD" }, { 307, "POST", "POST", "body" },
      { 308, "PUT", "PUT", "body" }, { 307, "GET", "GET" },
    } do
      it(("%d of %s is followed by %s"):format(case[1], case[2], case[3]), function()
        local seen = {}
        local url = serve_http(function(req, res)
          seen[#seen + 1] = { req.method, req.url, req:body() or "", req.headers["content-type"] }
          if req.url == "/a/b" then
            res:writeHead(case[1], { Location = "../c?d" })
            res:finish("moved")
          else
            res:finish("there")
          end
        end)
        run(function()
          local res = assert(request { url = url .. "/a/b", method = case[2], redirects = 1,
            body = case[2] ~= "GET" and case[2] ~= "HEAD" and "body" or nil,
            headers = { ["Content-Type"] = "text/x" } })
          assert.same({ 200, url .. "/c?d" }, { res.status, res.url })
        end)
        assert.same({ case[3], "/c?d", case[4] or "" }, { seen[2][1], seen[2][2], seen[2][3] })
        local changed = case[3] ~= case[2]
        assert.equal(not changed and "text/x" or nil, seen[2][4])
      end)
    end

    it("end after as many as allowed", function()
      local server = serve { { to(302, "/1"), to(302, "/2"), to(302, "/3") } }
      run(function()
        local res, message, code = request { url = server.url, redirects = 2 }
        assert.same({ nil, "more than 2 redirects", "ELOOP" }, { res, message, code })
      end)
    end)

    it("to another origin do not take secrets along; to the same they do", function()
      local other = serve { { EMPTY } }
      local server = serve { { to(302, "/again"), to(302, other.url .. "/x") } }
      run(function()
        assert(request { url = server.url, redirects = 5,
          headers = { Authorization = "secret", Cookie = "secret", Host = "me", ["X-Other"] = "kept" } })
      end)
      local first = server.connections[1].text
      assert.equal(2, select(2, first:gsub("Authorization: secret", "")))
      local second = other.connections[1].text
      assert.falsy(second:find("secret", 1, true))
      assert.truthy(second:find("Host: 127.0.0.1:" .. other.port, 1, true))
      assert.truthy(second:find("X-Other: kept", 1, true))
    end)

    for what, case in pairs {
      ["https"] = { "https://a/", "ENOTSUP" }, ["a unix socket"] = { "unix:/run/x.sock:/", "EINVAL" },
      ["another scheme"] = { "file:///etc/passwd", "EINVAL" },
    } do
      it("to " .. what .. " are refused", function()
        local server = serve { { to(302, case[1]) } }
        assert.equal(case[2], run(function() return select(3, request { url = server.url, redirects = 1 }) end))
      end)
    end

    it("with a body from a function are refused", function()
      local server = serve { { to(307, "/x") } }
      local pieces = { "a" }
      assert.equal("ENOTSUP", run(function()
        return select(3, request { url = server.url, method = "POST", redirects = 1,
          body = function() return table.remove(pieces) end })
      end))
    end)
  end)

  describe("with a function", function()
    it("gives the response, its data and its end as events", function()
      local url, log = serve_http(function(_, res) res:finish("hello") end), {}
      client.request({ url = url, agent = agent }, function(res)
        log[#log + 1] = res.status
        res:on("data", function(bytes) log[#log + 1] = bytes end)
        res:on("end", function() log[#log + 1] = "end" end)
      end):on("error", function(_, code) log[#log + 1] = code end)
      wait(function() return log[3] end, "the end")
      assert.same({ 200, "hello", "end" }, log)
    end)

    it("gives errors of the request and of the body", function()
      local log = {}
      client.get("http://127.0.0.1:1/", function() end):on("error", function(_, code) log[1] = code end)
      local server = serve { { OK .. "Content-Length: 9\r\n\r\nabc", raw.CLOSE } }
      client.get(server.url, { agent = agent }, function(res)
        res:on("data", function() end)
        res:on("error", function(_, code) log[2] = code end)
      end)
      wait(function() return log[1] and log[2] end, "the errors")
      assert.same({ "ECONNREFUSED", "EOF" }, log)
    end)

    it("can be given up", function()
      local server, code = serve { {} }, nil
      local req = client.get(server.url, { agent = agent }, function() end)
      req:on("error", function(_, why) code = why end)
      wait(function() return server.connections[1] and server.connections[1].text ~= "" end, "the request")
      req:destroy()
      wait(function() return code end, "the error")
      assert.equal("ECANCELED", code)
      wait(function() return server.connections[1].ended end, "the end of the connection")
    end)
  end)

  it("lets a script end though connections are idle", function()
    local url = serve_http(function(_, res) res:finish("x") end)
    local script = os.tmpname()
    local file = assert(io.open(script, "w"))
    file:write(([[print(require("clua.http.client").get(%q):body())]]):format(url))
    file:close()
    run(function()
      local status, output = async.spawn(uv.exepath(), { script }, { timeout = WAIT })
      assert.same({ 0, "x\n" }, { status, output })
    end)
    os.remove(script)
    run(function() await(function() return true end) end)
  end)
end)
