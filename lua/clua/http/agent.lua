--- Connections of the HTTP client: a pool of idle ones for each origin.
-- @module clua.http.agent

local Emitter = require "clua.emitter"
local net = require "clua.net"
local buffering = require "clua.socket.buffering"
local options = require "clua.options"

local Agent = Emitter.class("http.Agent")

--- Options with their defaults.
Agent.defaults = {
  maxIdle = 8, -- idle connections kept for each origin; 0: none
  idleTimeout = 15, -- seconds that one is kept; servers close theirs after 5 to 75
}

local known = { maxIdle = "integer", idleTimeout = "number" }

--- @tparam[opt] table given see Agent.defaults
-- @treturn Agent
function Agent.new(given)
  given = options.check(given, known, "Agent")
  local self = setmetatable({ idle = {} }, Agent)
  for name, default in pairs(Agent.defaults) do self[name] = given[name] or default end
  return self
end

local function forget(self, origin, socket)
  local list = self.idle[origin]
  for i = #(list or {}), 1, -1 do
    if list[i] == socket then table.remove(list, i) end
  end
  if list and #list == 0 then self.idle[origin] = nil end
end

--- A connection to an origin: one that is idle, or a new one.
-- @tparam table where as clua.http.url gives it
-- @tparam[opt] number timeout seconds for connecting
-- @tparam[opt] boolean fresh never one that has been used
-- @treturn Socket|nil nil, message, code
-- @treturn boolean whether it has been used before
function Agent:take(where, timeout, fresh)
  local list = self.idle[where.origin]
  while list and #list > 0 and not fresh do
    -- The one that was used last is the most likely to live.
    local socket = table.remove(list)
    if #list == 0 then self.idle[where.origin] = nil end
    socket._pooled = nil
    socket:setTimeout(0)
    -- A server that ends an idle connection says so; what it has sent unasked is not the answer to our request.
    if not socket.ended and not buffering.pending(socket) and socket[1]:quiet() == true then
      socket:pause()
      socket[1]:hold(true)
      return socket, true
    end
    socket:destroy()
  end
  local socket, message, code = net.connect {
    host = not where.socketPath and where.host or nil, port = not where.socketPath and where.port or nil,
    path = where.socketPath, timeout = timeout, noDelay = true,
  }
  if not socket then return nil, message, code end
  return socket, false
end

-- Whatever happens on an idle connection ends it.
local function watch(self, origin, socket)
  if socket._watched then return end
  socket._watched = true
  local function drop()
    if not socket._pooled then return end
    forget(self, origin, socket)
    socket:destroy()
  end
  for _, event in ipairs { "end", "error", "close", "timeout", "recall" } do socket:on(event, drop) end
end

--- Takes back a connection that is between two requests.
function Agent:give(where, socket)
  local list = self.idle[where.origin]
  if socket.ended or self.closed or #(list or {}) >= self.maxIdle then
    socket:destroy()
    return
  end
  if not list then
    list = {}
    self.idle[where.origin] = list
  end
  list[#list + 1] = socket
  socket._pooled = true
  watch(self, where.origin, socket)
  socket:setTimeout(self.idleTimeout)
  socket:resume() -- to see the end
  socket[1]:hold(false)
end

--- Number of idle connections.
function Agent:idleCount()
  local count = 0
  for _, list in pairs(self.idle) do count = count + #list end
  return count
end

--- Ends all idle connections, and each other one when its answer has been read.
function Agent:close()
  self.closed = true
  local all = self.idle
  self.idle = {}
  for _, list in pairs(all) do
    for _, socket in ipairs(list) do socket:destroy() end
  end
end

return Agent
