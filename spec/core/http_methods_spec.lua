-- Methods of req and res that no other spec looks at.

local http = require "clua.http"
local peer = require "spec.support.http_peer"
local uv = require "luv"

describe("http methods", function()
  local client, handler

  before_each(function()
    client = peer.connect(http.createServer(function(req, res) return handler(req, res) end))
  end)
  after_each(function() client:close() end)

  it("res:writeContinue sends 100 once, before the body is read", function()
    handler = function(req, res)
      res:writeContinue()
      res:finish(req:body())
    end
    client:send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert.equal(100, client:response().status)
    client:send("body")
    local response = client:response()
    assert.same({ 200, "body" }, { response.status, response.body })
  end)

  it("res:sendDescriptor sends a part of a file", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write("0123456789")
    file:close()
    handler = function(_, res)
      local fd = assert(uv.fs_open(path, "r", 0))
      res:setHeader("Content-Length", 4)
      assert(res:sendDescriptor(fd, 3, 4))
      assert.equal(4, res.bytesWritten)
      uv.fs_close(fd)
      res:finish()
    end
    assert.equal("3456", client:request("GET / HTTP/1.1\r\nHost: x\r\n\r\n").body)
    os.remove(path)
  end)

  it("addListener and removeListener are on and off", function()
    local heard = {}
    handler = function(req, res)
      local function listen() heard[#heard + 1] = "dropped" end
      for _, object in ipairs { req, res } do
        object:addListener("mine", listen)
        object:removeListener("mine", listen)
        object:addListener("mine", function(text) heard[#heard + 1] = text end)
        object:emit("mine", "kept")
        assert.equal(1, object:listenerCount("mine"))
      end
      res:finish()
    end
    client:request("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert.same({ "kept", "kept" }, heard)
  end)
end)
