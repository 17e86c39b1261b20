local cluster = require "clua"
local connect = require "clua.connect"
local http = require "clua.http"
local uv = require "luv"

-- Files of this directory first (all of them: index.html, but these scripts too); what is no file goes on to the next
-- middleware.
local app = connect(connect.static(__dirname))

app:use(function(req, res)
  res:setHeader("Content-Type", "text/plain; charset=utf-8")
  res:finish(("url: %s\npid: %d\n"):format(req.url, uv.os_getpid()))
end)

local server = http.createServer(app)
local worker = cluster.Worker()
worker:ready(function(socket)
  server:emit("connection", socket)
end)
