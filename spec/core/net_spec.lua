-- clua.net: connecting, own servers, the reading calls, time-outs. Both ends are in this process.

local async = require "clua.async"
local host = require "clua.core.host"
local loop = require "spec.support.loop"
local net = require "clua.net"
local proc = require "spec.support.proc"
local uv = require "luv"

local WAIT = 10 -- seconds that bound a hang
local BIG = ("0123456789abcdef"):rep(128 * 1024)

local function wait(predicate, what)
  return loop.wait(predicate, WAIT, what)
end

-- Runs fn in a coroutine and waits for its end; returns what it returns.
local function run(fn)
  return loop.run(fn, WAIT)
end

-- The same in a coroutine, where the loop goes on by itself.
local function await(predicate)
  local deadline = loop.now() + WAIT
  while not predicate() do
    assert(loop.now() < deadline, "waited too long")
    async.sleep(0.001)
  end
end

describe("clua.net", function()
  local servers, sockets, fds_before

  local function serve(fn, where, options)
    local server = assert(net.createServer(options or {}, function(socket)
      sockets[#sockets + 1] = socket
      return fn and fn(socket)
    end):listen(where or 0))
    servers[#servers + 1] = server
    return server, select(2, server:address())
  end

  local function connect(...)
    local socket, message, code = net.connect(...)
    sockets[#sockets + 1] = socket
    return socket, message, code
  end

  -- A connection whose other end runs fn(socket).
  local function pair(fn)
    local _, port = serve(fn)
    return assert(connect(port))
  end

  setup(function()
    uv.new_pipe(false):close() -- libuv opens a spare descriptor with the first stream
  end)

  before_each(function()
    servers, sockets = {}, {}
    fds_before = proc.count_fds(uv.os_getpid())
  end)

  after_each(function()
    for _, server in ipairs(servers) do server:close() end
    for _, socket in ipairs(sockets) do socket:destroy() end
    wait(function()
      for _, socket in ipairs(sockets) do
        if not socket.closed then return false end
      end
      return proc.count_fds(uv.os_getpid()) <= fds_before -- the collector may have closed what an earlier file left
    end, "all descriptors to be closed")
  end)

  describe("connect()", function()
    it("waits for a connection, by port, host and name", function()
      local _, port = serve(function(socket) socket:finish("hello") end)
      for _, where in ipairs { port, { port = port }, { host = "127.0.0.1", port = port },
        { host = "localhost", port = port, timeout = 5 }, { host = "localhost", port = port, family = "ipv4" } } do
        run(function()
          local socket = assert(connect(where))
          assert.is_nil(socket.connecting)
          assert.equal("hello", socket:readAll())
          assert.is_nil((socket:read()))
        end)
      end
    end)

    it("reaches unix sockets, which are removed with their server", function()
      local path = os.tmpname()
      os.remove(path)
      local server = serve(function(socket) socket:finish("unix") end, path)
      assert.same({ "unix", 0 }, { server:address() })
      for _, where in ipairs { path, { path = path } } do
        assert.equal("unix", run(function() return assert(connect(where)):readAll() end))
      end
      server:close()
      assert.is_nil(uv.fs_stat(path))
    end)

    it("tries all addresses of a name", function()
      -- localhost is ::1 too, where nobody listens.
      local _, port = serve(function(socket) socket:finish("v4") end)
      assert.equal("v4", run(function() return assert(connect { host = "localhost", port = port }):readAll() end))
    end)

    for what, case in pairs {
      ["nobody listens"] = { 1, "ECONNREFUSED" },
      ["there is no such path"] = { "/nonexistent/socket", "ENOENT" },
      ["the path is too long"] = { "/" .. ("x"):rep(200), "ENAMETOOLONG" },
      ["the name is unknown"] = { { host = "nonexistent.invalid", port = 1 }, "EAI_" },
    } do
      it("says why not: " .. what, function()
        run(function()
          local socket, message, code = connect(case[1])
          assert.is_nil(socket)
          assert.truthy(message:find("^cannot connect to "), message)
          assert.truthy(code:find("^" .. case[2]), code)
        end)
      end)
    end

    it("times out", function()
      -- A unix listener whose queue is full would refuse; a TCP one does not answer.
      local handle = uv.new_tcp()
      handle:bind("127.0.0.1", 0)
      assert(require("clua.core.net").listen(handle:fileno(), 0))
      local port = handle:getsockname().port
      run(function()
        local message, code
        for _ = 1, 10 do
          local socket
          socket, message, code = connect { port = port, timeout = 0.02 }
          if not socket then break end
        end
        assert.equal("ETIMEDOUT", code)
        assert.truthy(message:find("timed out after 0.02 s", 1, true))
      end)
      handle:close()
    end)

    it("gives events with a function, and keeps what is written meanwhile", function()
      local got, log = "", {}
      local _, port = serve(function(socket) socket:on("data", function(bytes) got = got .. bytes end) end)
      local socket = connect(port, function(self) log[#log + 1] = { "connect", self } end)
      assert.is_true(socket.connecting)
      assert.is_true(socket:write("early "))
      assert.is_true(socket:setNoDelay())
      assert.is_true(socket:finish("end"))
      assert.same({ nil, "EPIPE" }, { socket:write("x"), (select(3, socket:write("x"))) })
      socket:on("close", function() log[#log + 1] = { "close" } end)
      wait(function() return socket.closed end, "the end")
      assert.equal("early end", got)
      assert.same({ "connect", "close" }, { log[1][1], log[2][1] })
      assert.equal(socket, log[1][2])
    end)

    it("gives error and close when it fails, after the caller could add handlers", function()
      for _, where in ipairs { 1, "/nonexistent/x", "/" .. ("x"):rep(200),
        { host = "nonexistent.invalid", port = 1 } } do
        local log = {}
        local socket = connect(where, function() log[#log + 1] = "connect" end)
        socket:on("error", function(message, code) log[#log + 1] = type(message) .. type(code) end)
        socket:on("close", function() log[#log + 1] = "close" end)
        wait(function() return socket.closed end, "the end")
        assert.same({ "stringstring", "close" }, log)
        assert.is_nil((socket:write("x")))
      end
    end)

    it("is of the family that is asked for, also where the address is no name", function()
      local _, port = serve()
      run(function()
        local message = select(2, connect { host = "127.0.0.1", port = port, family = "ipv6" })
        assert.truthy(message:find(": the name has no address of this family$"), message)
        assert.is_table((connect { host = "127.0.0.1", port = port, family = "ipv4" }))
      end)
    end)

    it("can be given up", function()
      local _, port = serve()
      for _, where in ipairs { port, { host = "localhost", port = port } } do
        local log = {}
        local socket = connect(where, function() log[#log + 1] = "connect" end)
        socket:on("close", function() log[#log + 1] = "close" end)
        socket:destroy()
        wait(function() return socket.closed end, "the end")
        for _ = 1, 20 do uv.run("nowait") end
        assert.same({ "close" }, log)
      end
    end)

    it("refuses wrong use", function()
      for _, wrong in ipairs { false, {}, { port = 70000 }, { port = 1, path = "/x" }, "", "a\0b", { prot = 1 },
        { port = 1, host = "a\0b" }, { port = 1, host = "" }, { port = 1, family = "ipx" } } do
        assert.is_false((pcall(net.connect, wrong)))
      end
      assert.is_false((pcall(net.connect, 1, "x")))
    end)
  end)

  describe("a server", function()
    it("serves sockets that it is given, and those that it accepts", function()
      local seen = {}
      local server = net.createServer({ timeout = 5, noDelay = true, allowHalfOpen = true }, function(socket)
        seen[#seen + 1] = socket
      end)
      server:on("connection", function() seen[#seen + 1] = "again" end)
      local fds = assert(uv.socketpair("stream", nil, { nonblock = true }, { nonblock = true }))
      local one, two = net.Socket.from_fd(fds[1]), net.Socket.from_fd(fds[2])
      sockets = { one, two }
      server:emit("connection", one)
      assert.same({ one, "again" }, seen)
      assert.is_true(one.allowHalfOpen)
    end)

    it("takes many at once", function()
      local count = 0
      local _, port = serve(function() count = count + 1 end)
      for _ = 1, 200 do connect(port, function() end) end
      wait(function() return count == 200 end, "200 connections")
    end)

    it("says why it cannot listen", function()
      local _, port = serve()
      local server, message, code = net.listen(port, function() end)
      assert.is_nil(server)
      assert.equal("EADDRINUSE", code)
      assert.truthy(message:find("cannot listen on 127.0.0.1:" .. port, 1, true))
      assert.equal("EACCES", (select(3, net.listen { path = "/nonexistent/x" })))
    end)

    it("listens on a port that was closed a moment ago", function()
      local server, port = serve(function(socket) socket:finish("one") end)
      run(function() assert.equal("one", (assert(connect(port)):readAll())) end)
      server:close()
      local again = assert(net.listen(port, function(socket) socket:finish("two") end))
      run(function() assert.equal("two", (assert(connect(port)):readAll())) end)
      again:close()
    end)

    it("listens no more after close(), and its connections live on", function()
      local server, port = serve(function(socket) socket:write(socket:readLine() .. "!") end)
      run(function()
        local socket = assert(connect(port))
        server:close()
        server:close()
        assert.is_nil((server:address()))
        assert.equal("ECONNREFUSED", (select(3, connect(port))))
        socket:write("hello\n")
        assert.equal("hello!", socket:read(6))
      end)
    end)
  end)

  describe("reading", function()
    local function sender(pieces)
      return function(socket)
        for _, piece in ipairs(pieces) do
          socket:write(piece)
          async.sleep(0)
        end
        socket:finish()
      end
    end

    it("by line, LF or CR LF, however they are cut", function()
      run(function()
        local socket = pair(sender { "one\ntw", "o\r", "\n\n", "\r\nlast", "\nrest" })
        for _, want in ipairs { "one", "two", "", "", "last" } do assert.equal(want, socket:readLine()) end
        local line, message, code = socket:readLine()
        assert.same({ nil, "EOF" }, { line, code })
        assert.equal("the peer has ended after 4 bytes, before the end of the line", message)
        assert.equal("rest", socket:read())
        assert.same({ n = 0 }, { n = select("#", socket:readLine()) - 3 })
        assert.is_nil((select(3, socket:readLine())))
      end)
    end)

    it("by count", function()
      run(function()
        local socket = pair(sender { "ab", "cdef", "g" })
        assert.equal("", socket:read(0))
        assert.equal("abc", socket:read(3))
        assert.equal("d", socket:read(1))
        local bytes, message, code = socket:read(4)
        assert.same({ nil, "the peer has ended after 3 bytes, before 4 had come", "EOF" }, { bytes, message, code })
        assert.equal("efg", socket:read(3))
        assert.same({ nil, nil, nil }, { socket:read(1) })
      end)
    end)

    it("of much, by count and all", function()
      run(function()
        local socket = pair(function(other) other:finish(BIG .. BIG) end)
        assert.is_true(socket:read(#BIG) == BIG)
        assert.is_true(socket:readAll() == BIG)
        assert.equal("", socket:readAll())
      end)
    end)

    it("until a delimiter, plain or a pattern", function()
      run(function()
        local socket = pair(sender { "a: 1\r", "\n\r", "\nbody1", "23;rest.", "%d" })
        assert.same({ "a: 1", "\r\n\r\n" }, { socket:readUntil("\r\n\r\n") })
        assert.same({ "body123", ";" }, { socket:readUntil("%p", nil, true) })
        assert.same({ "rest.", "%d" }, { socket:readUntil("%d") })
        assert.is_nil((socket:readUntil("x")))
      end)
    end)

    it("stops at the limit and leaves the bytes", function()
      run(function()
        local socket = pair(sender { "123456789\n" })
        assert.equal("EMSGSIZE", (select(3, socket:readLine(8))))
        assert.equal("EMSGSIZE", (select(3, socket:readUntil("\n", 8))))
        assert.equal("EMSGSIZE", (select(3, socket:readAll(8))))
        assert.equal("123456789", socket:readLine(9))
      end)
    end)

    it("line after line of a large chunk", function()
      run(function()
        local socket = pair(function(other) other:finish(("line\n"):rep(100000)) end)
        local count = 0
        while socket:readLine() do count = count + 1 end
        assert.equal(100000, count)
      end)
    end)

    it("hands what is left to a handler that comes later, then the end", function()
      local log = {}
      run(function()
        local socket = pair(sender { "line\nmore", " and more" })
        assert.equal("line", socket:readLine())
        socket:on("end", function() log[#log + 1] = "END" end)
        socket:on("data", function(bytes) log[#log + 1] = bytes end)
        assert.same({}, log)
        await(function() return log[#log] == "END" end)
      end)
      assert.equal("more and moreEND", table.concat(log))
    end)

    it("gives back what was unread", function()
      run(function()
        local socket = pair(sender { "bc" })
        socket:unshift("a")
        assert.equal("abc", socket:read(3))
      end)
    end)

    it("is refused to a second coroutine while one waits with part of it", function()
      run(function()
        local ready, result
        local socket = pair(function(other)
          other:write("par")
          await(function() return ready end)
          other:write("t\n")
        end)
        host.spawn(function() result = socket:readLine() end)
        await(function() return socket._bytes end)
        assert.is_false((pcall(socket.read, socket)))
        assert.is_false((pcall(socket.readAll, socket)))
        ready = true
        await(function() return result end)
        assert.equal("part", result)
      end)
    end)

    it("refuses wrong use", function()
      local socket = run(function() return pair() end)
      for _, call in ipairs { { "read", -1 }, { "read", 1.5 }, { "read", "x" }, { "readLine", 0 }, { "readLine", "x" },
        { "readUntil", "" }, { "readUntil" }, { "readAll", -1 }, { "setTimeout", -1 }, { "setTimeout" } } do
        assert.is_false((pcall(socket[call[1]], socket, call[2])), call[1])
      end
    end)
  end)

  describe("half-close", function()
    it("of the client: the answer to all of it", function()
      run(function()
        local _, port = serve(function(socket) socket:finish(socket:readAll():upper()) end)
        local socket = assert(connect(port))
        socket:finish("question")
        async.sleep(0)
        assert.equal("QUESTION", socket:readAll())
      end)
    end)

    it("keeps what comes for a reader that comes late", function()
      run(function()
        local _, port = serve(function(socket) socket:finish(socket:readAll() .. BIG) end)
        local socket = assert(connect(port))
        socket:finish("x")
        for _ = 1, 50 do async.sleep(0) end
        assert.equal(#BIG + 1, #socket:readAll())
      end)
    end)

    it("with allowHalfOpen does not end the other side", function()
      local _, port = serve(function(socket)
        assert(socket:readAll() == "x")
        async.sleep(0.001)
        assert(socket:finish("late"))
      end, nil, { allowHalfOpen = true })
      run(function()
        local socket = assert(connect(port))
        socket:finish("x")
        assert.equal("late", socket:readAll())
      end)
    end)
  end)

  describe("time-outs", function()
    it("end a read, not the socket", function()
      run(function()
        local go_on
        local socket = pair(function(other)
          other:write("par")
          await(function() return go_on end)
          other:write("t\n")
        end)
        local log = {}
        assert.equal(socket, socket:setTimeout(0.01, function() log[#log + 1] = "timeout" end))
        assert.same({ nil, "timed out", "ETIMEDOUT" }, { socket:readLine() })
        go_on = true
        assert.same({ "part" }, { socket:readLine() })
        socket:setTimeout(0)
        assert.is_true(#log <= 1)
      end)
    end)

    it("end a write that nobody takes", function()
      run(function()
        local socket = pair()
        socket:setTimeout(0.01)
        local results
        repeat results = { socket:write(BIG) } until not results[1] -- the kernel takes some
        assert.same({ nil, "timed out", "ETIMEDOUT" }, results)
      end)
    end)

    it("are events", function()
      local fired = false
      local socket = run(function() return pair() end)
      socket:setTimeout(0.001, function() fired = true end)
      wait(function() return fired end, "the event")
      assert.falsy(socket.closed)
    end)
  end)

  it("has settings and addresses", function()
    run(function()
      local server, port = serve()
      local socket = assert(connect { port = port, noDelay = true, keepAlive = 30 })
      assert.same({ "127.0.0.1", port }, { socket:remoteAddress() })
      assert.same({ server:address() }, { socket:remoteAddress() })
      assert.is_true(socket:setNoDelay(false))
      assert.is_true(socket:setKeepAlive())
      assert.is_true(socket:setKeepAlive(true, 10))
      assert.is_false((pcall(socket.setKeepAlive, socket, true, 0)))
      socket:destroy()
      assert.equal("ECLOSED", (select(3, socket:setNoDelay())))
    end)
  end)

  it("destroy(message, code) tells who waits, and is an error", function()
    local log = {}
    local socket = run(function() return pair() end)
    socket:on("error", function(_, code) log[#log + 1] = code end)
    socket:on("close", function() log[#log + 1] = "close" end)
    host.spawn(function() log[#log + 1] = select(3, socket:read()) end)
    socket:destroy("enough", "EX")
    wait(function() return socket.closed end, "close")
    assert.same({ "EX", "EX", "close" }, log)
  end)
end)
