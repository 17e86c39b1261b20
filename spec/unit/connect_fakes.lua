-- Requests and answers without a server, for the specs of clua.connect.

local loop = require "spec.support.loop"

-- Without the binary (plain busted) there is no host: as much of it as these modules use.
if not pcall(require, "clua.core.host") then
  package.preload["clua.core.host"] = function()
    return {
      resume = function(co, ...) assert(coroutine.resume(co, ...)) end,
      log = function(level, text) io.stderr:write(level, ": ", text, "\n") end,
    }
  end
end
if not pcall(require, "clua.core.http") then
  package.preload["clua.core.http"] = function() return { response = {} } end
end
local cookie = require "clua.http.cookie"
local head = require "clua.http.head"
local host = require "clua.core.host"

local fakes = {}

--- Collects what is logged from now on, as a list of { level, text }. Returns the list and a function that ends it.
function fakes.capture_log()
  local log, real = {}, host.log
  host.log = function(level, text) log[#log + 1] = { level = level, text = text } end
  return log, function() host.log = real end
end

local request = {}
request.__index = request

function request:read()
  local piece = table.remove(self.pieces, 1)
  if piece then return piece end
  if self.read_error then return nil, unpack(self.read_error) end
  return nil
end

function request:body()
  local all = table.concat(self.pieces)
  self.pieces = {}
  return all
end

--- A request. options: method, headers (names in lower case), body (a string, or a list of the pieces it comes in;
-- Content-Length is set unless Transfer-Encoding is), read_error ({ message, code } at the end of these).
function fakes.request(url, options)
  options = options or {}
  local headers, pieces = {}, options.body or {}
  if type(pieces) == "string" then pieces = { pieces } end
  for name, value in pairs(options.headers or {}) do headers[name] = value end
  if options.body and not headers["transfer-encoding"] and not headers["content-length"] then
    headers["content-length"] = tostring(#table.concat(pieces))
  end
  return setmetatable({
    method = options.method or "GET", url = url, headers = headers, pieces = { unpack(pieces) },
    read_error = options.read_error,
  }, request)
end

local response = {}
response.__index = response

--- An answer that records what is done to it: statusCode, headers (names in lower case), body, finished, destroyed.
-- gone_after: the client goes away after so many writes.
function fakes.response(gone_after)
  return setmetatable({ statusCode = 200, headers = {}, pieces = {}, gone_after = gone_after }, response)
end

function response:setHeader(name, value)
  assert(not self.headersSent, "header set after the head was sent: " .. name)
  self.headers[name:lower()] = type(value) == "table" and value or tostring(value)
end

function response:getHeader(name)
  local value = self.headers[name:lower()]
  if value == nil then return end -- no value at all, as in C
  return value
end

function response:removeHeader(name)
  self.headers[name:lower()] = nil
end

response.onHead = head.on
response.setCookie = cookie.set
response.clearCookie = cookie.clear

function response:write(bytes)
  assert(not self.finished, "written after the end")
  self.headersSent = true
  if self.gone_after and #self.pieces >= self.gone_after then return nil, "the client has gone", "ECLOSED" end
  self.pieces[#self.pieces + 1] = bytes
  return true
end

-- "finish" comes with the end of finish(), "close" when the spec says so by close().
function response:once(event, fn)
  self.listeners = self.listeners or {}
  self.listeners[event] = self.listeners[event] or {}
  table.insert(self.listeners[event], fn)
  return self
end

local function announce(self, event)
  local list = self.listeners and self.listeners[event] or {}
  if self.listeners then self.listeners[event] = nil end
  for _, fn in ipairs(list) do fn() end
end

function response:close()
  announce(self, "close")
end

function response:finish(bytes)
  assert(not self.finished, "finished twice")
  self.headersSent = true
  self.finished = true
  self.pieces[#self.pieces + 1] = bytes
  announce(self, "finish")
  return true
end

function response:flushHeaders()
  self.headersSent = true
end

function response:flush()
  self.headersSent = true
  return true
end

function response:destroy()
  self.destroyed = true
end

function response:body()
  return table.concat(self.pieces)
end

--- Runs fn in a coroutine, as clua does with a handler, until it has returned; raises what it raises.
function fakes.run(fn)
  local done, ok, failure
  local co = coroutine.create(function()
    ok, failure = pcall(fn)
    done = true
  end)
  assert(coroutine.resume(co))
  loop.wait(function() return done end, 10, "the handler to return")
  if not ok then error(failure, 0) end
end

--- Sends a request through a handler and returns the answer.
function fakes.send(handler, url, options)
  local req, res = fakes.request(url, options), fakes.response(options and options.gone_after)
  fakes.run(function() handler(req, res) end)
  return res, req
end

--- Sends a request with this Cookie header through a middleware that gives req.session, to handler(session, req).
-- Returns the cookie that came back ("name=value") or nil, its whole line, and the answer.
function fakes.visit(middleware, header, handler)
  local connect = require "clua.connect"
  local res = fakes.send(connect(middleware, function(req, res)
    handler(req.session, req)
    res:finish("done")
  end), "/", { headers = { cookie = header } })
  local line = (res.headers["set-cookie"] or {})[1]
  return line and line:match("^[^;]*"), line, res
end

return fakes
