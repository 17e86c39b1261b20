-- clua.socket on one end of a socket pair; the other end is luv's, as the judge.

require "spec.support.core" -- declares dup, pipe, close
local ffi = require "ffi"
local host = require "clua.core.host"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local uv = require "luv"
local Socket = require "clua.socket"

local WAIT = 10 -- seconds that bound a hang
local BIG = ("0123456789abcdef"):rep(128 * 1024) -- 2 MiB: no socket buffer holds it

local function wait(predicate, what)
  return loop.wait(predicate, WAIT, what)
end

-- Turns of the loop in which something would have happened if it could.
local function turns(count)
  for _ = 1, count or 20 do uv.run("nowait") end
end

-- Runs fn in a coroutine; the returned table has `done` and what fn returned or raised.
local function go(fn, ...)
  local task = {}
  host.spawn(function(...)
    local function finished(ok, ...)
      task.done, task.ok, task.results = true, ok, { ... }
    end
    finished(pcall(fn, ...))
  end, ...)
  return task
end

describe("clua.socket", function()
  local socket, peer, log, fds_before

  -- luv's end: what it has received, whether it has seen the end; reads only when told.
  local function watch(handle)
    local end_of = { handle = handle, chunks = {} }
    function end_of.read()
      handle:read_start(function(err, chunk)
        if err then
          end_of.error = err
        elseif chunk then
          end_of.chunks[#end_of.chunks + 1] = chunk
        else
          end_of.ended = true
        end
      end)
      return end_of
    end
    function end_of.received() return table.concat(end_of.chunks) end
    function end_of.write(_, bytes) handle:write(bytes) end
    function end_of.shutdown() handle:shutdown() end
    function end_of.close() if not handle:is_closing() then handle:close() end end
    return end_of
  end

  local function listen(event)
    socket:on(event, function(...)
      log[#log + 1] = { event, ... }
    end)
  end

  local function names()
    local list = {}
    for i, entry in ipairs(log) do list[i] = entry[1] end
    return table.concat(list, " ")
  end

  setup(function()
    uv.new_pipe(false):close() -- libuv opens a spare descriptor with the first stream
  end)

  before_each(function()
    turns(3)
    fds_before = proc.count_fds(uv.os_getpid())
    local pair = assert(uv.socketpair("stream", nil, { nonblock = true }, { nonblock = true }))
    local handle = uv.new_pipe(false)
    assert(handle:open(pair[2]))
    socket, peer, log = assert(Socket.from_fd(pair[1])), watch(handle), {}
    socket:on("close", function() log[#log + 1] = { "close" } end)
  end)

  after_each(function()
    socket:destroy()
    peer:close()
    wait(function() return socket.closed end, "the socket to close")
    turns(3)
    local fds = proc.count_fds(uv.os_getpid()) -- the collector may have closed what an earlier file left
    assert.is_true(fds <= fds_before, ("%d descriptors, %d before"):format(fds, fds_before))
  end)

  describe("events", function()
    it("bring the bytes, the end, and the close when both sides have ended", function()
      listen "data"
      listen "end"
      peer:read():write("hello")
      wait(function() return #log == 1 end, "data")
      peer:shutdown()
      wait(function() return socket.closed end, "close")
      assert.same({ { "data", "hello" }, { "end" }, { "close" } }, log)
      wait(function() return peer.ended end, "the peer's end")
    end)

    it("read nothing before somebody wants to", function()
      listen "end"
      peer:write("early")
      peer:shutdown()
      turns()
      assert.same({}, log)
      listen "data"
      wait(function() return socket.closed end, "close")
      assert.same({ { "data", "early" }, { "end" }, { "close" } }, log)
    end)

    it("of data stop while paused", function()
      listen "data"
      socket:pause()
      peer:write("later")
      turns()
      assert.same({}, log)
      socket:resume()
      wait(function() return #log == 1 end, "data")
      assert.same({ "data", "later" }, log[1])
    end)

    it("of data wait for a handler that waits: the peer is held back", function()
      local got, running, co = 0, 0, nil
      socket:on("data", function(bytes)
        running = running + 1
        assert(running == 1, "two data events at a time")
        got = got + #bytes
        co = coroutine.running()
        coroutine.yield()
        running = running - 1
      end)
      peer:write(BIG)
      wait(function() return co end, "data")
      local first = got
      turns(50)
      assert.equal(first, got)
      assert.truthy(peer.handle:get_write_queue_size() > #BIG / 2)
      while got < #BIG do
        wait(function() return co end, "more data")
        local waiting = co
        co = nil
        host.resume(waiting)
      end
      assert.equal(#BIG, got)
      assert.equal(0, running)
    end)

    it("call every handler, in the order they came", function()
      for i = 1, 3 do
        socket:on("data", function(bytes) log[#log + 1] = { "data" .. i, bytes } end)
      end
      peer:write("x")
      wait(function() return #log == 3 end, "data")
      assert.equal("data1 data2 data3", names())
    end)

    it("keep the order when handlers go and come", function()
      local function first() end
      socket:on("data", first)
      socket:off("data", first)
      peer:write("one ")
      turns()
      local all = ""
      socket:on("data", function(bytes) all = all .. bytes end)
      peer:write("two")
      wait(function() return all:find("two") end, "the second write")
      assert.equal("one two", all)
      peer:shutdown()
      wait(function() return socket.closed end, "close")
      assert.equal("one two", all)
      assert.is_nil((socket:read()))
    end)
  end)

  describe("read()", function()
    it("waits for bytes, and gives nil at the end", function()
      local task = go(function()
        local parts = {}
        for bytes in function() return socket:read() end do parts[#parts + 1] = bytes end
        return parts
      end)
      peer:write("one")
      turns()
      peer:write("two")
      turns()
      peer:shutdown()
      wait(function() return task.done end, "the reader")
      assert.same({ { "one", "two" } }, task.results)
    end)

    it("gives all bytes in order to a reader that waits between them", function()
      local reader
      local task = go(function()
        reader = coroutine.running()
        local parts = {}
        for bytes in function() return socket:read() end do
          parts[#parts + 1] = bytes
          local timer = uv.new_timer()
          timer:start(0, 0, function()
            timer:close()
            host.resume(reader)
          end)
          coroutine.yield()
        end
        return table.concat(parts)
      end)
      peer:write(BIG)
      peer:shutdown()
      wait(function() return task.done end, "the reader")
      assert.is_true(task.results[1] == BIG)
    end)

    it("keeps what came while nobody read", function()
      socket:resume()
      peer:write("kept")
      turns()
      local task = go(function() return socket:read() end)
      assert.is_true(task.done)
      assert.same({ "kept" }, task.results)
    end)

    it("is for one reader at a time", function()
      local first = go(function() return socket:read() end)
      local second = go(function() return socket:read() end)
      assert.is_false(second.ok)
      assert.truthy(second.results[1]:find("another coroutine waits in read() of this socket already", 1, true))
      peer:write("mine")
      wait(function() return first.done end, "the first reader")
      assert.same({ "mine" }, first.results)
    end)

    it("wakes with ECLOSED when the socket is destroyed", function()
      local task = go(function() return socket:read() end)
      socket:destroy()
      wait(function() return task.done end, "the reader")
      assert.same({ n = 3, nil, "the socket is closed", "ECLOSED" },
        { n = 3, task.results[1], task.results[2], task.results[3] })
    end)

    it("wakes with the error when the peer resets", function()
      listen "error"
      local task = go(function() return socket:read() end)
      socket:write("never read")
      turns()
      peer:close()
      wait(function() return task.done and socket.closed end, "the reader")
      assert.is_nil(task.results[1])
      assert.equal("ECONNRESET", task.results[3])
      assert.equal("error close", names())
      assert.equal("ECONNRESET", log[1][3])
    end)
  end)

  describe("write()", function()
    it("sends, and says true while little is queued", function()
      peer:read()
      assert.is_true(socket:write("a"))
      assert.is_true(socket:write(12))
      assert.is_true(socket:write(""))
      wait(function() return peer.received() == "a12" end, "the bytes")
    end)

    it("waits while more than 64 KiB are queued, and goes on at the drain", function()
      listen "drain"
      local task = go(function() return socket:write(BIG) end)
      turns()
      assert.is_nil(task.done)
      peer:read()
      wait(function() return task.done end, "the writer")
      assert.same({ true }, task.results)
      assert.equal("drain", names())
      wait(function() return #peer.received() == #BIG end, "the bytes")
      assert.is_true(peer.received() == BIG)
    end)

    it("says false to a second writer, whose bytes go behind the first's", function()
      listen "drain"
      local first = go(function() return socket:write(BIG) end)
      local second = go(function() return socket:write("tail") end)
      assert.is_nil(first.done)
      assert.same({ false }, second.results)
      peer:read()
      wait(function() return #peer.received() == #BIG + 4 end, "the bytes")
      assert.equal("tail", peer.received():sub(-4))
      assert.is_true(first.done)
      assert.equal("drain", names())
    end)

    it("wakes with ECLOSED when the socket is destroyed", function()
      local task = go(function() return socket:write(BIG) end)
      socket:destroy()
      wait(function() return task.done end, "the writer")
      assert.is_nil(task.results[1])
      assert.equal("ECLOSED", task.results[3])
    end)

    it("fails with EPIPE when the peer has gone", function()
      peer:close()
      turns()
      local ok, message, code = socket:write("x")
      assert.is_nil(ok)
      assert.is_string(message)
      assert.equal("EPIPE", code)
    end)

    it("wakes with the error when the peer goes while it waits", function()
      listen "error"
      local task = go(function() return socket:write(BIG) end)
      turns()
      peer:close()
      wait(function() return task.done and socket.closed end, "the writer")
      assert.is_nil(task.results[1])
      assert.truthy(task.results[3] == "EPIPE" or task.results[3] == "ECONNRESET", task.results[3])
      assert.equal("error close", names())
    end)

    it("takes strings and numbers only", function()
      for _, value in ipairs { {}, true, print } do
        assert.has_error(function() socket:write(value) end, "write: a string is expected, got " .. type(value))
      end
      assert.has_error(function() socket:write(nil) end, "write: a string is expected, got nil")
    end)
  end)

  describe("finish()", function()
    it("sends the bytes and the end; reading goes on until the peer's end", function()
      listen "data"
      listen "end"
      peer:read()
      assert.is_true(socket:finish("bye"))
      assert.is_true(socket:finish())
      wait(function() return peer.ended end, "the peer's end")
      assert.equal("bye", peer.received())
      peer:write("still here")
      wait(function() return #log == 1 end, "data")
      assert.falsy(socket.closed)
      peer:shutdown()
      wait(function() return socket.closed end, "close")
      assert.equal("data end close", names())
    end)

    it("ends writing: EPIPE", function()
      socket:finish()
      local ok, _, code = socket:write("x")
      assert.is_nil(ok)
      assert.equal("EPIPE", code)
      ok, _, code = socket:finish("x")
      assert.is_nil(ok)
      assert.equal("EPIPE", code)
    end)

    it("drops what the peer sends when nobody reads it", function()
      peer:read()
      socket:finish()
      peer:write(BIG)
      peer:shutdown()
      wait(function() return socket.closed end, "close")
    end)

    it("sends all that is queued first", function()
      socket:finish(BIG)
      turns()
      peer:read()
      wait(function() return peer.ended end, "the peer's end")
      assert.is_true(peer.received() == BIG)
      peer:shutdown()
      wait(function() return socket.closed end, "close")
    end)

    it("sends the end behind the last of several queued writes", function()
      go(function() socket:write(BIG) end)
      go(function() socket:write(BIG) end)
      socket:finish("tail")
      peer:read()
      wait(function() return peer.ended end, "the peer's end")
      assert.equal(2 * #BIG + 4, #peer.received())
      peer:shutdown()
      wait(function() return socket.closed end, "close")
    end)

    it("sends all that is queued to a peer that had ended already", function()
      listen "end"
      socket:on("end", function() socket:finish(BIG) end)
      socket:resume()
      peer:shutdown()
      wait(function() return #log > 0 end, "the end")
      turns()
      peer:read()
      wait(function() return peer.ended end, "the peer's end")
      assert.equal(#BIG, #peer.received())
      wait(function() return socket.closed end, "close")
    end)
  end)

  describe("the peer's end", function()
    it("does not cut off an answer that is still queued", function()
      socket:on("data", function() socket:write(BIG) end)
      peer:write("request")
      peer:shutdown()
      turns()
      peer:read()
      wait(function() return peer.ended end, "the peer's end")
      assert.equal(#BIG, #peer.received())
    end)

    it("does not end a socket that allows half-open connections", function()
      socket.allowHalfOpen = true
      listen "data"
      listen "end"
      peer:read():shutdown()
      wait(function() return #log == 1 end, "the end")
      turns()
      assert.is_true(socket:write("late"))
      wait(function() return peer.received() == "late" end, "the bytes")
      socket:finish()
      wait(function() return socket.closed end, "close")
      assert.equal("end close", names())
    end)
  end)

  describe("destroy()", function()
    it("closes at once; everything then says ECLOSED", function()
      peer:read()
      socket:destroy()
      socket:destroy()
      for _ = 1, 2 do
        for _, call in ipairs { "read", "write", "finish", "address", "remoteAddress", "park" } do
          local ok, message, code = socket[call](socket, call == "write" and "x" or nil)
          assert.is_nil(ok, call)
          assert.equal("the socket is closed", message, call)
          assert.equal("ECLOSED", code, call)
        end
        wait(function() return socket.closed end, "close")
      end
      assert.equal("close", names())
      assert.equal("Socket: closed", tostring(socket))
      wait(function() return peer.ended end, "the peer's end")
      socket:pause():resume()
      socket:reset()
    end)

    it("in a handler of its own event ends that event's socket, no more", function()
      local calls = 0
      socket:on("data", function()
        calls = calls + 1
        socket:destroy()
      end)
      peer:write(BIG)
      wait(function() return socket.closed end, "close")
      assert.equal(1, calls)
    end)

    it("while a data handler waits leaves that coroutine alone", function()
      local co, after
      socket:on("data", function()
        co = coroutine.running()
        coroutine.yield()
        after = { socket:write("x") }
      end)
      peer:write("x")
      wait(function() return co end, "data")
      socket:destroy()
      wait(function() return socket.closed end, "close")
      host.resume(co)
      assert.same("ECLOSED", after[3])
    end)
  end)

  it("has no loan: lent 0, port 0, nothing to park", function()
    assert.equal(0, socket.lent)
    assert.equal(0, socket.port)
    assert.is_false(socket:park())
    assert.equal("Socket: open", tostring(socket))
    assert.is_nil(socket.no_such_field)
  end)

  it("of a unix socket has no address", function()
    assert.same({ "unix", 0 }, { socket:address() })
    assert.same({ "unix", 0 }, { socket:remoteAddress() })
  end)

  it("lives on when nobody holds it, until it is closed", function()
    local pair = assert(uv.socketpair("stream", nil, { nonblock = true }, { nonblock = true }))
    local handle = uv.new_pipe(false)
    handle:open(pair[2])
    local other = watch(handle):read()
    local gone = setmetatable({}, { __mode = "k" })
    do
      local echo = Socket.from_fd(pair[1])
      gone[echo] = true
      echo:on("data", function(bytes) echo:write(bytes) end)
    end
    collectgarbage()
    collectgarbage()
    other:write("anybody?")
    wait(function() return other.received() == "anybody?" end, "the echo")
    other:shutdown()
    wait(function() return other.ended end, "the end")
    other:close()
    turns()
    jit.flush() -- a trace of the handler, if the compiler has made one, keeps its upvalue as a constant
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(gone))
  end)

  describe("from_fd", function()
    it("refuses what is no socket, and leaves the descriptor alone", function()
      local fds = ffi.new "int[2]"
      ffi.C.pipe(fds)
      local other, message, code = Socket.from_fd(fds[0])
      assert.is_nil(other)
      assert.is_string(message)
      assert.equal("ENOTSOCK", code)
      assert.equal(0, ffi.C.close(fds[0]))
      assert.equal(0, ffi.C.close(fds[1]))
      other, message, code = Socket.from_fd(fds[0])
      assert.is_nil(other)
      assert.is_string(message)
      assert.equal("EBADF", code)
    end)
  end)

  describe("over TCP", function()
    local function connected(address)
      local server, client = uv.new_tcp(), uv.new_tcp()
      local accepted
      assert(server:bind(address, 0))
      assert(server:listen(1, function()
        accepted = uv.new_tcp()
        server:accept(accepted)
      end))
      client:connect(address, server:getsockname().port, function() end)
      wait(function() return accepted end, "the connection")
      local tcp = assert(Socket.from_fd(ffi.C.dup(accepted:fileno())))
      accepted:close()
      server:close()
      return tcp, watch(client)
    end

    for _, address in ipairs { "127.0.0.1", "::1" } do
      it("knows both addresses, " .. address, function()
        local tcp, client = connected(address)
        assert.same({ address, client.handle:getpeername().port }, { tcp:address() })
        assert.same({ address, client.handle:getsockname().port }, { tcp:remoteAddress() })
        tcp:destroy()
        client:close()
        wait(function() return tcp.closed end, "close")
      end)
    end

    it("reset() ends with a reset", function()
      local tcp, client = connected("127.0.0.1")
      client:read()
      tcp:reset()
      wait(function() return client.error or client.ended end, "the end")
      assert.equal("ECONNRESET", client.error)
      client:close()
      wait(function() return tcp.closed end, "close")
    end)
  end)
end)
