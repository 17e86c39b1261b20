-- Answers every request with a JSON object that tells what was asked.
local cluster = require "clua"
local http = require "clua.http"
local json = require "cjson"

local server = http.createServer(function(req, res)
  local answer = json.encode { method = req.method, url = req.url, post = req:body() }
  res:setHeader("Content-Type", "application/json")
  res:finish(answer .. "\n")
end)

local worker = cluster.Worker()
worker:ready(function(socket)
  server:emit("connection", socket)
end)
