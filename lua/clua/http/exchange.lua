--- One request of the HTTP client on one connection, and the response that is read from it.
-- @module clua.http.exchange

local core = require "clua.core.http_client"
local host = require "clua.core.host"
local uv = require "luv"
local Emitter = require "clua.emitter"

local BODY_LIMIT = 8 * 1024 * 1024
local DISCARD_LIMIT = 64 * 1024 -- of a body that nobody wants, before the connection is given up instead
local WRITE_INLINE = 64 * 1024 -- a socket takes so much without waiting
local INTERIM_MAX = 16

-- ---- the connection during the exchange: never refers to the response, which may be collected ----------------------

local Exchange = {}
Exchange.__index = Exchange

-- One limit at a time: who sets the next one ends the one before.
function Exchange:limit(seconds, what)
  if self.timer:is_closing() then return end
  if not what or seconds == 0 then
    self.timer:stop()
    return
  end
  uv.update_time()
  self.timer:start(math.ceil(seconds * 1000), 0, function()
    self.socket:destroy(("timed out after %g s %s"):format(seconds, what), "ETIMEDOUT")
  end)
end

function Exchange:close()
  if self.over then return end
  self.over = true
  if not self.timer:is_closing() then self.timer:close() end
  self.socket:destroy()
end

-- The response is complete: the connection may serve another request.
function Exchange:release()
  if self.over then return end
  local request = self.request
  if not (self.parser:reusable() and self.sent and not self.rest and request.agent and not request.close) then
    return self:close()
  end
  self.over = true
  self.timer:close()
  request.agent:give(self.where, self.socket)
end

-- ---- sending -------------------------------------------------------------------------------------------------------

-- The piece of the body as it goes out, or nil and why not.
local function framed(request, state, chunk)
  if type(chunk) ~= "string" then return nil, "the function for the body has returned a " .. type(chunk) end
  state.count = state.count + #chunk
  if not request.length then return chunk == "" and "" or ("%x\r\n%s\r\n"):format(#chunk, chunk) end
  if state.count <= request.length then return chunk end
  return nil, ("the body is longer than its Content-Length of %d"):format(request.length)
end

function Exchange:write(bytes)
  self:limit(self.request.timeout.idle, "without the server reading")
  local ok, message, code = self.socket:write(bytes)
  self:limit(0)
  return ok, message, code
end

-- Wrong bodies end the exchange; a connection that does not take more may still bring a response.
function Exchange:send_pieces(body)
  local request, state = self.request, { count = 0 }
  while not self.over do
    local ok, chunk, why, code = pcall(body)
    if not ok or (chunk == nil and why) then
      why = "the body of the request failed: " .. tostring(ok and why or chunk)
      return self.socket:destroy(why, code or "ECANCELED")
    end
    if chunk == nil then break end
    local bytes
    bytes, why = framed(request, state, chunk)
    if not bytes then return self.socket:destroy(why, "EINVAL") end
    if bytes ~= "" and not self:write(bytes) then return end
  end
  if request.length and state.count < request.length and not self.over then
    local why = ("the body has %d bytes, its Content-Length says %d"):format(state.count, request.length)
    return self.socket:destroy(why, "EINVAL")
  end
  return self.over or request.length or self.socket:write("0\r\n\r\n")
end

function Exchange:send(head)
  local body = self.request.body
  local done
  if type(body) == "function" then
    done = self:write(head) and self:send_pieces(body)
  else
    done = self:write(body and head .. body or head)
  end
  if done == nil or self.over then return end
  self.sent = true
  if not self.answered then self:limit(self.request.timeout.headers, "without a response") end
end

-- ---- reading -------------------------------------------------------------------------------------------------------

-- Feeds the parser with what comes next: its state and the body bytes in it, or nil, message, code.
function Exchange:advance()
  local bytes, message, code = self.rest, nil, nil
  self.rest = nil
  if not bytes then bytes, message, code = self.socket:read() end
  if not bytes and message then return nil, message, code end
  if not bytes then
    local state
    state, message, code = self.parser:finish()
    return state, state and nil or message, code
  end
  local state, rest, body = self.parser:feed(bytes)
  if not state then return nil, rest, body end
  self.rest = rest
  return state, body
end

-- ---- the response --------------------------------------------------------------------------------------------------

--- Fields: `status`, `reason`, `headers` (names in lower case, equal ones joined by ", "; `set-cookie` is a list),
-- `httpVersion`, `url`, after the end of the body `trailers`; after a 101 `socket`.
local Response = Emitter.class("http.ClientResponse")

function Response.__index(self, key)
  if key == "rawHeaders" and rawget(self, "_raw") then return self._raw end
  return Response[key] or Emitter[key]
end

local function end_with(self, message, code)
  local exchange = self._exchange
  self._over, self._why, self._code = true, message, code
  if message then
    exchange:close()
  else
    self.trailers = exchange.parser:trailers()
    exchange:release()
  end
  return nil, message, code
end

--- Waits for the next bytes of the body.
-- @treturn string|nil nil at the end; nil, message, code: "EOF" when the server has ended too early, "ETIMEDOUT",
--   "EPROTO"
function Response:read()
  local body = self._body
  if body then
    self._body = nil
    return body
  end
  local exchange = self._exchange
  while not self._over do
    exchange:limit(exchange.request.timeout.idle, "in the middle of the response")
    local state, message, code = exchange:advance()
    exchange:limit(0)
    if not state then return end_with(self, message, code) end
    body = message
    if state == "complete" then end_with(self) end
    if body then return body end
  end
  return nil, self._why, self._code
end

--- Waits for the whole body.
-- @tparam[opt=8388608] number limit bytes; more is nil, message, "EMSGSIZE", and ends the connection
-- @treturn string|nil nil, message, code as read()
function Response:body(limit)
  limit = limit or BODY_LIMIT
  local parts, have = {}, 0
  for chunk in function() return self:read() end do
    have = have + #chunk
    if have > limit then
      self:destroy()
      return nil, ("the body of the response is longer than %d bytes"):format(limit), "EMSGSIZE"
    end
    parts[#parts + 1] = chunk
  end
  if self._why then return nil, self._why, self._code end
  return table.concat(parts)
end

--- Ends the connection; the rest of the body is not wanted.
function Response:destroy()
  if self._over then return end
  end_with(self, "the response was given up", "ECANCELED")
end

--- Reads what is left of a short body, so that the connection can be used again, or gives it up.
function Response:discard()
  local have = 0
  while have <= DISCARD_LIMIT do
    local chunk = self:read()
    if not chunk then return end
    have = have + #chunk
  end
  self:destroy()
end

-- A handler that waits is not given the next piece: that holds the server back.
local function pump(self)
  for chunk in function() return self:read() end do self:emit("data", chunk) end
  if self._why then
    self:emit("error", self._why, self._code)
  else
    self:emit("end")
  end
end

--- Events: `data` (bytes), `end`, `error` (message, code). A handler for `data` or `end` starts reading, when the
-- present coroutine has had its turn.
function Response:on(event, fn)
  Emitter.on(self, event, fn, 2)
  if (event == "data" or event == "end") and not self._pumping then
    self._pumping = true
    local timer = uv.new_timer()
    timer:start(0, 0, function()
      timer:close()
      pump(self)
    end)
  end
  return self
end

local function new_response(exchange, state, body)
  local status, reason, headers, version = exchange.parser:head()
  local self = setmetatable({
    status = status, reason = reason, headers = headers, httpVersion = version, _raw = exchange.parser:raw(),
    _exchange = exchange, _body = body, url = exchange.where.origin .. exchange.where.target,
  }, Response)
  exchange.answered = true
  if status == 101 then
    exchange.over, self._over, self.socket = true, true, exchange.socket
    exchange.timer:close()
    if exchange.rest then self.socket:unshift(exchange.rest) end
  elseif state == "complete" then
    end_with(self)
  else
    -- One that is dropped without being read to its end takes its connection with it.
    self._guard = newproxy(true)
    getmetatable(self._guard).__gc = function() exchange:close() end
  end
  return self
end

-- Waits for the head of the final response.
local function read_head(exchange)
  local request, parser = exchange.request, exchange.parser
  local interim = 0
  while true do
    local state, message, code = exchange:advance()
    if not state then return nil, message, code end
    if state ~= "head" then
      local status = parser:head()
      if status == 101 and not request.upgrade then return nil, "the server switches protocols unasked", "EPROTO" end
      if status >= 200 or status == 101 then return new_response(exchange, state, message) end
      interim = interim + 1
      if interim > INTERIM_MAX then return nil, "the server sends interim responses without end", "EPROTO" end
      parser:start(request.method == "HEAD")
    end
  end
end

--- Sends a request on a connection and waits for the head of the response.
-- @tparam Socket socket
-- @tparam table request as clua.http.client prepares it
-- @tparam table where
-- @tparam string head
-- @treturn Response|nil nil, message, code
-- @treturn boolean|nil after an error: whether a byte of the response had come
return function(socket, request, where, head)
  local exchange = setmetatable({
    socket = socket, request = request, where = where, timer = uv.new_timer(),
    parser = core.parser(request.maxHeaderSize, request.maxHeaders),
  }, Exchange)
  request.exchange = exchange
  exchange.parser:start(request.method == "HEAD")
  if type(request.body) == "function" or #(request.body or "") > WRITE_INLINE then
    -- On its own: a server may answer, and stop reading, before it has all.
    host.spawn(exchange.send, exchange, head)
  else
    exchange:send(head)
  end
  local response, message, code = read_head(exchange)
  exchange:limit(0)
  if response then return response end
  exchange:close()
  return nil, message, code, exchange.parser:begun()
end
