-- A large answer that is compressed holds up nobody else.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"

local APP = [[
local connect = require "clua.connect"
local app = connect(connect.compress { brotli = (...) == "br" })
local lines = {}
for i = 1, 80000 do lines[i] = ("line %d of a text, %x"):format(i, i * 7919) end
local text = table.concat(lines, "\n")
local begun, finished = 0, 0
app:get("/big", function(_, res)
  res:setHeader("Content-Type", "text/plain")
  begun = begun + 1
  res:finish(text)
  finished = finished + 1
end)
app:get("/plain", function(_, res) res:finish(text) end)
app:get("/small", function(_, res) res:finish(begun .. " " .. finished) end)
local server = require("clua.http").createServer(app)
require("clua").ready(function(socket) server:emit("connection", socket) end)
]]

describe("connect.compress of a large body", function()
  after_each(cluster.cleanup)

  for _, coding in ipairs { "gzip", "br" } do
    it("serves others meanwhile, " .. coding, function()
      local c = cluster.up { app = "app.lua", files = { ["app.lua"] = APP }, options = { cnum = 1, args = { coding } } }
      -- Whoever asks may come too late on a busy machine, but not each time.
      local meanwhile, length = false, nil
      for i = 1, 20 do
        local big = assert(client.connect(c:address()))
        big:send(client.format("GET", "/big", { ["Accept-Encoding"] = coding }))
        local small = assert(client.connect(c:address()))
        repeat
          small:send(client.format("GET", "/small"))
          local _, _, figures = small:response("GET")
          meanwhile = figures == ("%d %d"):format(i, i - 1) -- this one has begun, and not finished
        until meanwhile or figures == ("%d %d"):format(i, i)
        small:close()
        local status, headers, body = big:response("GET")
        assert.same({ 200, coding }, { status, headers["content-encoding"] })
        length = length or #body
        assert.equal(length, #body)
        if coding == "gzip" then
          local _, _, plain = client.get(c:address(), "/plain")
          assert.is_true(plain == (require "zlib".inflate()(body)))
        end
        big:close()
        if meanwhile then break end
      end
      assert.is_true(meanwhile)
      c:stop()
    end)
  end
end)
