-- connect.logger in a worker of a cluster, beside the access log.
local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local core = require "spec.support.core"
local ffi = require "ffi"

describe("connect.logger", function()
  after_each(cluster.cleanup)

  -- One line by each, of the same request.
  it("knows the variables of the access log, which say the same", function()
    local wanted = {}
    for i = 0, 100 do
      local name = core.http_access_variable_name(i)
      if name == nil then break end
      name = ffi.string(name)
      if name:sub(-5) == "http_" then name = name .. "x_spec" end
      wanted[#wanted + 1] = name .. "=$" .. name
    end
    assert.is_true(#wanted > 15)
    local format = table.concat(wanted, "|")
    local c = cluster.up { app = "app.lua", options = { cnum = 1, args = { format },
      access_log = { path = "access.log", format = format } }, files = { ["app.lua"] = [[
      local connect = require "clua.connect"
      local app = connect(connect.logger { format = ..., stream = "logger.log" })
      app:use(function(_, res)
        res:setHeader("X-Spec", "sent")
        res:finish("12345")
      end)
      local server = require("clua.http").createServer(app)
      require("clua").ready(function(socket) server:emit("connection", socket) end)
    ]] } }
    client.get(c:address(), "/x?y=1", { ["X-Spec"] = 'come "here"' })
    c:stop()
    local function fields(name)
      local file = assert(io.open(c.dir .. "/" .. name))
      local text, found = file:read("*l"), {}
      file:close()
      for key, value in (text .. "|"):gmatch("([%w_]+)=([^|]*)|") do found[key] = value end
      return found
    end
    local one, other = fields "access.log", fields "logger.log"
    -- They end a moment apart.
    for _, name in ipairs { "request_time", "msec", "time_iso8601", "time_local" } do
      assert.equal((one[name]:gsub("%d", "0")), (other[name]:gsub("%d", "0")), name)
      one[name], other[name] = nil, nil
    end
    assert.same(one, other)
    assert.equal("come \\x22here\\x22", one.http_x_spec)
  end)
end)
