-- The handlers that every server of the bench has.
local cluster = require "clua"
local cjson = require "cjson"
local connect = require "clua.connect"
local http = require "clua.http"

-- A file of 1 MiB, and the folder of small ones.
local FILE, FOLDER = os.getenv "BENCH_FILE", os.getenv "BENCH_FOLDER"
local work = dofile(__dirname .. "/work.lua")
local body_1k, body_100k = ("x"):rep(1024), ("x"):rep(100 * 1024)
local routes = {
  ["/"] = function(_, res) res:finish("hello world\n") end,
  ["/work"] = function(_, res)
    work()
    res:finish("hello world\n")
  end,
  ["/headers"] = function(req, res)
    local headers = req.headers
    res:finish(#headers["user-agent"] + #headers["accept-language"] > 0 and "hello world\n" or "")
  end,
  ["/json"] = function(_, res)
    res:setHeader("Content-Type", "application/json")
    res:finish(cjson.encode { message = "hello", count = 3, list = { 1, 2, 3 } })
  end,
  ["/1k"] = function(_, res) res:finish(body_1k) end,
  ["/100k"] = function(_, res) res:finish(body_100k) end,
  ["/echo"] = function(req, res) res:finish(req:body()) end,
  ["/file"] = function(_, res) res:sendFile(FILE) end,
}
if FOLDER then
  local app = connect(connect.static(FOLDER))
  routes["/1k.txt"] = function(req, res) app(req, res) end
end

local server = http.createServer(function(req, res)
  routes[req.url](req, res)
end)
cluster.ready(function(socket) server:emit("connection", socket) end)
