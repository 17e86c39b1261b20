local uv = require "luv"
local http = require "clua.http"
local host = require "clua.core.host"
local peer = require "spec.support.http_peer"

local GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

describe("res:onHead", function()
  local client, server, handler

  before_each(function()
    server = http.createServer(function(req, res) return handler(req, res) end)
    client = peer.connect(server)
  end)

  after_each(function() client:close() end)

  -- Doubles every byte, holds the last piece back, and adds a mark at the end.
  local function doubling(res)
    res:removeHeader("Content-Length")
    local held = ""
    return {
      push = function(_, bytes)
        local out = held
        held = (bytes:gsub(".", "%0%0"))
        return out
      end,
      flush = function()
        local out = held
        held = ""
        return out
      end,
      finish = function(_, bytes) return held .. (bytes:gsub(".", "%0%0")) .. "!" end,
    }
  end

  it("lets a function see and change status and headers, just once", function()
    local calls = 0
    handler = function(_, res)
      res:onHead(function(answer)
        calls = calls + 1
        assert.equal(201, answer.statusCode)
        assert.is_false(answer.headersSent)
        answer:setHeader("X-Late", answer:getHeader("X-Early") .. "+")
        answer.statusCode = 202
      end)
      res:writeHead(201, { ["X-Early"] = "e" })
      res:write("a")
      res:write("b")
      res:finish("c")
    end
    local response = client:request(GET)
    assert.equal(202, response.status)
    assert.equal("e+", response.headers["x-late"])
    assert.equal("abc", response.body)
    assert.equal(1, calls)
  end)

  it("is called by each way to send the head", function()
    local ways = {
      write = function(res) res:write("x") end,
      finish = function(res) res:finish("x") end,
      flushHeaders = function(res) res:flushHeaders() end,
      flush = function(res) res:flush() end,
      sendFile = function(res) res:sendFile("Makefile", { fallthrough = true }) end,
    }
    for name, way in pairs(ways) do
      handler = function(_, res)
        res:onHead(function(answer) answer:setHeader("X-Way", name) end)
        way(res)
        assert.is_true(res.headersSent)
        if not res.finished then res:finish() end
      end
      assert.equal(name, client:request(GET).headers["x-way"])
    end
  end)

  it("calls the last function first, and tells the whole body when it is known", function()
    local seen = {}
    handler = function(req, res)
      for i = 1, 3 do
        res:onHead(function(_, body) seen[#seen + 1] = i .. ":" .. tostring(body) end)
      end
      if req.url == "/" then return res:finish("all") end
      if req.url == "/empty" then return res:finish() end
      res:write("part")
      res:finish()
    end
    client:request(GET)
    client:request((GET:gsub("/", "/empty", 1)))
    client:request((GET:gsub("/", "/parts", 1)))
    assert.same({ "3:all", "2:all", "1:all", "3:", "2:", "1:", "3:nil", "2:nil", "1:nil" }, seen)
  end)

  it("leaves nothing behind when no filter is wanted: the body takes the short way", function()
    local before, after, wanted
    handler = function(_, res)
      wanted = res.write
      res:onHead(function() end)
      before = res.write
      res:write("x")
      after = res.write
      res:finish()
    end
    client:request(GET)
    assert.not_equal(wanted, before)
    assert.equal(wanted, after)
  end)

  it("works below and above a write that a middleware has put in place", function()
    local order = {}
    local function wrap(res, name)
      local write = res.write
      function res.write(self, bytes)
        order[#order + 1] = name
        return write(self, bytes .. name)
      end
    end
    handler = function(_, res)
      wrap(res, "1")
      res:onHead(function() order[#order + 1] = "head" end)
      wrap(res, "2")
      res:write("x")
      res:write("y")
      res:finish()
    end
    assert.equal("x21y21", client:request(GET).body)
    assert.same({ "2", "head", "1", "2", "1" }, order)
  end)

  it("sends the body through a filter, with chunks or with the length of what comes out", function()
    handler = function(req, res)
      res:setHeader("Content-Length", 3)
      res:onHead(doubling)
      if req.url == "/" then return res:finish("abc") end
      res:write("a")
      res:write("b")
      res:finish("c")
    end
    local response = client:request(GET)
    assert.equal("aabbcc!", response.body)
    assert.equal("7", response.headers["content-length"])
    response = client:request((GET:gsub("/", "/pieces", 1)))
    assert.equal("aabbcc!", response.body)
    assert.equal("chunked", response.headers["transfer-encoding"])
  end)

  it("sends the head with the first write even when the filter holds all of it back; flush sends the rest", function()
    local go
    handler = function(_, res)
      res:onHead(doubling)
      res:write("a")
      assert.is_true(res.headersSent)
      res:flush()
      go = coroutine.running()
      coroutine.yield()
      res:finish()
    end
    client:send(GET)
    client:wait(function(self) return self.text:find("2\r\naa\r\n", 1, true) end, "the flushed piece")
    host.resume(go)
    client:wait(function(self) return self.text:find("0\r\n\r\n", 1, true) end, "the end")
  end)

  it("sends files through a filter", function()
    local dir = assert(uv.fs_mkdtemp("/tmp/clua-head-XXXXXX"))
    local file = assert(io.open(dir .. "/f", "wb"))
    file:write(("0123456789"):rep(20000))
    file:close()
    handler = function(_, res)
      res:onHead(doubling)
      res:sendFile(dir .. "/f")
    end
    local ok, body = pcall(function() return client:request(GET).body end)
    os.execute("rm -r " .. dir)
    assert(ok, body)
    assert.equal(("00112233445566778899"):rep(20000) .. "!", body)
  end)

  it("gives an error of a hook to who writes; the other hooks are called with the next attempt", function()
    local seen
    handler = function(_, res)
      res:onHead(function(answer) answer:setHeader("X-Other", "yes") end)
      res:onHead(function() error("broken hook", 0) end)
      seen = { pcall(res.finish, res, "good") }
      res.statusCode = 500
      res:finish("bad")
    end
    local response = client:request(GET)
    assert.same({ false, "broken hook" }, seen)
    assert.equal(500, response.status)
    assert.equal("yes", response.headers["x-other"])
  end)

  it("lets a hook wait; who writes meanwhile is told so", function()
    local co, ok, message
    handler = function(_, res)
      res:onHead(function(answer)
        co = coroutine.running()
        coroutine.yield()
        answer:setHeader("X-Waited", "yes")
      end)
      local other = uv.new_timer()
      other:start(0, 0, function()
        other:close()
        ok, message = pcall(res.write, res, "between")
        host.resume(co)
      end)
      res:finish("done")
    end
    local response = client:request(GET)
    assert.is_false(ok)
    assert.truthy(message:find("another coroutine", 1, true))
    assert.equal("yes", response.headers["x-waited"])
    assert.equal("done", response.body)
  end)

  it("may add another one from within", function()
    handler = function(_, res)
      res:onHead(function(answer) answer:setHeader("X-A", "a") end)
      res:onHead(function(answer)
        answer:onHead(function(again) again:setHeader("X-B", "b") end)
      end)
      res:finish("x")
    end
    local headers = client:request(GET).headers
    assert.equal("a", headers["x-a"])
    assert.equal("b", headers["x-b"])
  end)

  it("refuses what is no function, and says when it is too late", function()
    local refused, late
    handler = function(_, res)
      refused = { pcall(res.onHead, res, "x") }
      res:flushHeaders()
      late = { res:onHead(function() end) }
      res:finish("x")
    end
    client:request(GET)
    assert.is_false(refused[1])
    assert.truthy(tostring(refused[2]):find("a function is expected, got string", 1, true))
    assert.same({ [2] = "the head has been sent", [3] = "ECLOSED" }, late)
  end)
end)
