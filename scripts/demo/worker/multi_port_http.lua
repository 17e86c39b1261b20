-- One pool of workers on several ports: the second argument of the callback is the port that the client came to.
local cluster = require "clua"
local http = require "clua.http"
local uv = require "luv"

local servers = {} -- by port

local function server_of(port)
  servers[port] = servers[port] or http.createServer(function(req, res)
    res:setHeader("Content-Type", "text/plain; charset=utf-8")
    res:finish(("%s %s on port %d, by process %d\n"):format(req.method, req.url, port, uv.os_getpid()))
  end)
  return servers[port]
end

local worker = cluster.Worker()
worker:ready(function(socket, port)
  server_of(port):emit("connection", socket)
end)
