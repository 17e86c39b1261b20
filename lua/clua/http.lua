--- The HTTP/1.1 server. Names are luvit's; every handler runs in a coroutine, so it may be written straight down.
--
--     local http = require "clua.http"
--     local server = http.createServer(function(req, res)
--       res:finish("hello world\n")
--     end)
--     worker:ready(function(socket) server:emit("connection", socket) end)
--
-- Reading, framing, limits and time-outs are C (src/http_*.c); what stands here is what one may want to change.
-- @module clua.http

local core = require "clua.core.http"
require "clua.socket" -- an upgraded connection becomes one
local uv = require "luv"
local Emitter = require "clua.emitter"
local answer = require "clua.http.answer"
local buffering = require "clua.socket.buffering"
local client = require "clua.http.client"
local is_callable = require "clua.callable"
local file = require "clua.http.file"
local head = require "clua.http.head"
local host = require "clua.core.host"
local options = require "clua.options"
local trace = require "clua.trace"

local http = {}

--- Options of createServer with their defaults; sizes in bytes (0 allows none), durations in seconds (0 = no limit).
http.defaults = {
  maxHeaderSize = 16384, -- request line and headers together: 431
  maxUrlSize = 8192, -- 414
  maxHeaders = 100, -- 431
  maxBodySize = 8 * 1024 * 1024, -- 413; a number, or function(req) -> number
  headersTimeout = 10, -- from the first byte of a request (of a connection, for the first) to the end of its head: 408
  bodyTimeout = 30, -- between two pieces of a body: 408
  keepAliveTimeout = 75, -- between two requests, parked or not
  writeTimeout = 30, -- without the client reading anything
}

local known = {}
for name in pairs(http.defaults) do
  known[name] = "number"
end
known.maxBodySize = "number|function"

-- ---- events of req and res -----------------------------------------------------------------------------------------

local function events_of(object)
  local events = object._events
  if not events then
    events = Emitter.new()
    object._events = events
  end
  return events
end

-- Reads the body for those who listen. A handler that waits is not given the next piece: that pauses the socket.
local function pump(req)
  local events = events_of(req)
  while true do
    local chunk, message, code = req:read()
    if not chunk then
      if message then
        events:emit("error", message, code)
      else
        events:emit("end")
      end
      return
    end
    events:emit("data", chunk)
  end
end

-- Not before the handler has set all its listeners: on the next turn of the loop.
local function start_pump(req)
  if req._pumping then return end
  req._pumping = true
  local timer = uv.new_timer()
  timer:start(0, 0, function()
    timer:close()
    core.attend(req, pump)
  end)
end

local Events = {}

--- req: "data", "end", "error" (the body), "close" (the client has gone before the answer). res: "finish", "drain",
-- "close".
function Events:on(event, fn)
  events_of(self):on(event, fn, 2)
  return self
end

function Events:once(event, fn)
  events_of(self):once(event, fn, 2)
  return self
end

function Events:off(event, fn)
  events_of(self):off(event, fn)
  return self
end

function Events:emit(event, ...)
  return events_of(self):emit(event, ...)
end

function Events:listenerCount(event)
  return events_of(self):listenerCount(event)
end

Events.removeListener = Events.off
Events.addListener = Events.on

local Request, Response = core.request, core.response
for name, method in pairs(Events) do
  Request[name] = method
  Response[name] = method
end

function Request:on(event, fn)
  events_of(self):on(event, fn, 2)
  if event == "data" or event == "end" then start_pump(self) end
  return self
end
Request.addListener = Request.on

function Request:once(event, fn)
  events_of(self):once(event, fn, 2)
  if event == "data" or event == "end" then start_pump(self) end
  return self
end

--- One header of the request without making a table of all: req:header("User-Agent").
function Request:header(name)
  return core.header(self, name:lower())
end

--- res:sendFile(path [, options]): see clua.http.file.
function Response:sendFile(path, given)
  return file.send(self, path, given)
end

--- res:onHead(fn): see clua.http.head.
Response.onHead = head.on

-- The module is loaded with the first cookie that is set.
local function cookie_method(name)
  return function(self, ...) return require("clua.http.cookie")[name](self, ...) end
end

--- res:setCookie(name, value [, options]), res:clearCookie(name [, options]): see clua.http.cookie.
Response.setCookie = cookie_method "set"
Response.cookie = Response.setCookie
Response.clearCookie = cookie_method "clear"

--- Sends what a filter of the body, such as compress, holds back; without one every write is sent anyway.
-- @treturn boolean|nil as res:write()
function Response:flush()
  if not self.headersSent then return self:flushHeaders() or true end
  return true
end

--- res:json, res:type, res:redirect: see clua.http.answer.
for name, method in pairs(answer) do Response[name] = method end

core.emit(function(object, event)
  object:emit(event)
end)

-- ---- server --------------------------------------------------------------------------------------------------------

local Server = Emitter.class("http.Server")
http.Server = Server

local function log_failure(message, req)
  host.log("error", ("cannot answer %s %s: %s"):format(req.method, req.url, message))
end

-- What C calls for a request: the one handler itself, or something that calls them all.
local function update_handlers(self)
  local list = self._handlers and self._handlers.request
  local request
  if list and #list == 1 then
    local only = list[1]
    request = type(only) == "function" and only or function(req, res) return only(req, res) end
  elseif list then
    request = function(req, res) Emitter.emit(self, "request", req, res) end
  end
  self._core:on("request", request)
  local failed
  if self:listenerCount("error") > 0 then
    failed = function(message, req, res)
      local ok, why = xpcall(Emitter.emit, trace.handler, self, "error", message, req, res)
      if ok then return end
      host.log("error", "cannot answer " .. (req and req.url or "a request") .. ": " .. message)
      error(why, 0)
    end
  elseif trace.development() then
    failed = function(message, req, res)
      if not req then return host.log("error", "cannot answer a request: " .. message) end
      log_failure(message, req)
      if not res or res.headersSent then return end -- none: an upgrade
      local details = trace.details(message)
      details.status, details.reason = 500, "Internal Server Error"
      trace.answer(req, res, details)
    end
  end
  self._core:on("error", failed)
  local upgrade
  if self:listenerCount("upgrade") > 0 then
    upgrade = function(req)
      local copy = { method = req.method, url = req.url, target = req.target, httpVersion = req.httpVersion }
      copy.headers, copy.rawHeaders, copy.port = req.headers, req.rawHeaders, req.port
      copy.remoteAddress, copy.remotePort = req.remoteAddress, req.remotePort
      local socket, rest = core.release(req)
      if not socket then return end
      local ok, message = xpcall(Emitter.emit, trace.handler, self, "upgrade", copy, socket, rest)
      if ok then return end
      socket:destroy() -- nobody else knows of it
      return (failed or log_failure)(message, copy)
    end
  end
  self._core:on("upgrade", upgrade)
end

--- "request" (req, res), "connection" (socket, before it is served), "upgrade" (req, socket, bytes already read),
-- "error" (message with traceback, req, res): a handler has raised an error; without res: a listener of "upgrade".
function Server:on(event, fn)
  Emitter.on(self, event, fn, 2)
  update_handlers(self)
  return self
end

function Server:off(event, fn)
  Emitter.off(self, event, fn)
  update_handlers(self)
  return self
end

--- server:emit("connection", socket) serves HTTP on the socket and takes it over.
-- @treturn boolean|nil nil, message, code: "ECLOSED"; "EBUSY" when bytes of it have been read already: they would be
--   lost
function Server:emit(event, ...)
  local heard = Emitter.emit(self, event, ...)
  if event ~= "connection" then return heard end
  local socket = ...
  if type(socket) == "table" and buffering.pending(socket) then
    return nil, "bytes of this socket have been read already: hand it over before the first read", "EBUSY"
  end
  return self._core:serve(socket)
end

--- A server; it listens nowhere by itself: sockets come by emit("connection", socket).
-- @tparam[opt] table given see http.defaults
-- @tparam[opt] function handler fn(req, res), or an app of clua.connect
-- @treturn Server
function http.createServer(given, handler)
  if handler == nil and is_callable(given) then
    given, handler = nil, given
  end
  if handler ~= nil and not is_callable(handler) then
    error("createServer: handler must be a function, got " .. type(handler), 2)
  end
  given = options.check(given, known, "createServer")
  local all = {}
  for name, default in pairs(http.defaults) do
    all[name] = given[name] == nil and default or given[name]
  end
  local limit = all.maxBodySize
  if type(limit) == "function" then all.maxBodySize = 0 end
  local self = setmetatable({ _core = core.server(all) }, Server)
  if type(limit) == "function" then self._core:on("bodyLimit", limit) end
  if handler then self:on("request", handler) end
  return self
end

-- ---- client: see clua.http.client ---------------------------------------------------------------------------------

http.request, http.get, http.Agent, http.globalAgent = client.request, client.get, client.Agent, client.globalAgent

return http
