--- The HTTP/1.1 client.
--
--     local res, message, code = http.get("http://api.example/things")
--     if res then print(res.status, res:body()) end
--
-- Framing and parsing are C (src/http_response_parser.c); what stands here and in clua.http.exchange is what one may
-- want to change.
-- @module clua.http.client

local core = require "clua.core.http_client"
local host = require "clua.core.host"
local uv = require "luv"
local Agent = require "clua.http.agent"
local Emitter = require "clua.emitter"
local exchange = require "clua.http.exchange"
local options = require "clua.options"
local url = require "clua.http.url"

local client = { Agent = Agent.new }

--- The agent of requests that name none.
client.globalAgent = Agent.new()

--- Time-outs in seconds, 0: none.
client.timeouts = {
  connect = 10, -- name and connection
  headers = 30, -- from the end of the request to the end of the response's head
  idle = 30, -- between two pieces of a body, in both directions
}

local known = {
  url = "string", method = "string", headers = "table", body = "string|function", timeout = "number|table",
  redirects = "integer", agent = "table|boolean", socketPath = "string", maxHeaderSize = "integer",
  maxHeaders = "integer",
}

local known_timeouts = { connect = "number", headers = "number", idle = "number" }

local IDEMPOTENT = { GET = true, HEAD = true, PUT = true, DELETE = true, OPTIONS = true, TRACE = true }
local HAS_BODY = { POST = true, PUT = true, PATCH = true }
local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }
local OF_ORIGIN = { authorization = true, cookie = true, ["proxy-authorization"] = true, host = true }

-- ---- the request ---------------------------------------------------------------------------------------------------

local function add_header(list, name, value, level)
  if type(name) ~= "string" or not core.is_token(name) then
    error(("request: '%s' is no name of a header"):format(tostring(name)), level + 1)
  end
  if type(value) == "number" then value = tostring(value) end
  if type(value) ~= "string" then
    error(("request: header '%s' must be a string, got %s"):format(name, type(value)), level + 1)
  end
  if not core.is_value(value) then
    error(("request: header '%s' has a line end, NUL or another control byte in its value"):format(name), level + 1)
  end
  list[#list + 1] = { name, value }
  local lower = name:lower()
  list[lower] = list[lower] and list[lower] .. ", " .. value or value
end

-- A list of { name, value } that is also a table of values by lower-case name.
local function check_headers(given, level)
  local list, names = {}, {}
  for name in pairs(given or {}) do names[#names + 1] = name end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for _, name in ipairs(names) do
    local value = given[name]
    for _, one in ipairs(type(value) == "table" and value or { value }) do add_header(list, name, one, level + 1) end
  end
  if list["transfer-encoding"] then error("request: Transfer-Encoding is set by the client itself", level + 1) end
  return list
end

local function check_timeouts(given, level)
  local timeouts = {}
  if type(given) == "table" then options.check(given, known_timeouts, "request: timeout", level + 1) end
  for name, default in pairs(client.timeouts) do
    local one = given
    if type(given) == "table" then one = given[name] end
    timeouts[name] = one or default
  end
  return timeouts
end

-- Content-Length as given or as the body has it; nil: chunked, or no body.
local function check_length(request, level)
  local given, body = request.headers["content-length"], request.body
  local length = given and given:match("^%d+$") and tonumber(given)
  if given and (not length or length > 2 ^ 53) then error("request: Content-Length must be a number", level + 1) end
  if type(body) == "function" then return length end
  if body == nil and not given and not HAS_BODY[request.method] then return nil end
  if length and length ~= #(body or "") then
    error(("request: Content-Length is %d, the body has %d bytes"):format(length, #(body or "")), level + 1)
  end
  return #(body or "")
end

local function has_token(list, token)
  for element in (list or ""):gmatch("[^,]+") do
    if element:lower():match("^%s*(.-)%s*$") == token then return true end
  end
  return false
end

-- Checks what is wrong use; what may come from outside (the URL) is no error() but the request's failure.
local function prepare(given, level)
  given = options.check(given, known, "request", level + 1)
  local method = given.method or "GET"
  if not core.is_token(method) then error(("request: '%s' is no method"):format(method), level + 1) end
  if method == "CONNECT" then error("request: CONNECT is not for requests: use clua.net", level + 1) end
  local request = {
    method = method, body = given.body, headers = check_headers(given.headers, level + 1),
    redirects = given.redirects or 0,
    timeout = check_timeouts(given.timeout, level + 1), maxHeaderSize = given.maxHeaderSize or 65536,
    maxHeaders = given.maxHeaders or 200,
  }
  request.length = check_length(request, level + 1)
  request.close = given.agent == false or has_token(request.headers.connection, "close")
  request.agent = type(given.agent) == "table" and given.agent or client.globalAgent
  request.upgrade = request.headers.upgrade and has_token(request.headers.connection, "upgrade")
  local where, message, code = url.parse(given.url)
  if where and given.socketPath then
    where.socketPath, where.origin = given.socketPath, where.origin .. " through " .. given.socketPath
  end
  request.where, request.message, request.code = where, message, code
  return request
end

local function format_head(request, where)
  local headers = request.headers
  local lines = { ("%s %s HTTP/1.1"):format(request.method, where.target) }
  local function add(name, value)
    if value and not headers[name:lower()] then lines[#lines + 1] = name .. ": " .. value end
  end
  add("Host", where.authority)
  add("User-Agent", "clua")
  for _, header in ipairs(headers) do lines[#lines + 1] = header[1] .. ": " .. header[2] end
  add("Connection", request.close and "close" or nil)
  if request.length then
    add("Content-Length", ("%d"):format(request.length))
  elseif request.body then
    add("Transfer-Encoding", "chunked")
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- ---- one answer ----------------------------------------------------------------------------------------------------

local LOST = { EOF = true, ECONNRESET = true, EPIPE = true }

-- A connection that has been idle may have been closed by the server while the request was on its way: once again, on a
-- new one, when that can do no harm and the body is still there.
local function fetch(request, where)
  local head = format_head(request, where)
  local fresh = request.close
  while true do
    local socket, reused, code = request.agent:take(where, request.timeout.connect, fresh)
    if not socket then return nil, reused, code end
    if request.cancelled then
      socket:destroy()
      return nil, "the request was cancelled", "ECANCELED"
    end
    local response, message, why, begun = exchange(socket, request, where, head)
    if response then return response end
    local again = reused and not begun and LOST[why] and IDEMPOTENT[request.method] and type(request.body) ~= "function"
    if not again then return nil, ("%s %s: %s"):format(request.method, where.origin, message), why end
    fresh = true
  end
end

-- ---- redirects (RFC 9110 §15.4) ------------------------------------------------------------------------------------

local function without(headers, drop)
  local list = {}
  for _, header in ipairs(headers) do
    if not drop(header[1]:lower()) then add_header(list, header[1], header[2], 1) end
  end
  return list
end

-- Changes the request into the one that follows; nil, message, code when it cannot.
local function redirect(request, where, status, to)
  local is_post = request.method == "POST"
  if (status == 303 and request.method ~= "HEAD") or ((status == 301 or status == 302) and is_post) then
    if request.method ~= "GET" then
      request.method, request.body, request.length = "GET", nil, nil
      request.headers = without(request.headers, function(name) return name:match("^content%-") or name == "expect" end)
    end
  elseif type(request.body) == "function" then
    return nil, "a body from a function cannot be sent again to where the server redirects", "ENOTSUP"
  end
  if to.origin ~= where.origin then
    if where.socketPath then return nil, "the server redirects away from its unix socket", "ENOTSUP" end
    request.headers = without(request.headers, function(name) return OF_ORIGIN[name] end)
  end
  return true
end

local function follow(request)
  local where = request.where
  if not where then return nil, request.message, request.code end
  for hop = 0, request.redirects do
    local response, message, code = fetch(request, where)
    if not response then return nil, message, code end
    local location = REDIRECTS[response.status] and response.headers.location
    if not location or request.redirects == 0 then return response end
    response:discard()
    if hop == request.redirects then break end
    local to, ok
    to, message, code = url.resolve(where, location)
    if not to then return nil, "redirected: " .. message, code end
    ok, message, code = redirect(request, where, response.status, to)
    if not ok then return nil, message, code end
    where = to
  end
  return nil, ("more than %d redirects"):format(request.redirects), "ELOOP"
end

-- ---- the API -------------------------------------------------------------------------------------------------------

local Request = Emitter.class("http.ClientRequest")

--- Gives the request up: `error` with "ECANCELED", unless it has been answered.
function Request:destroy()
  local request = self._request
  request.cancelled = true
  if request.exchange then request.exchange.socket:destroy("the request was cancelled", "ECANCELED") end
end

local function start(request, fn)
  local self = setmetatable({ _request = request }, Request)
  if fn then self:on("response", fn) end
  -- Not before the caller has added its handlers.
  local timer = uv.new_timer()
  timer:start(0, 0, function()
    timer:close()
    local response, message, code = follow(request)
    if response then
      self:emit("response", response)
    elseif not self:emit("error", message, code) then
      host.log("warn", "request failed, and nobody listens for its error: " .. message)
    end
  end)
  return self
end

-- It is called in tail position, so that there is no frame between it and the caller, who is at level 1.
local function perform(given, fn, level)
  if fn ~= nil and type(fn) ~= "function" then error("request: fn must be a function, got " .. type(fn), level + 1) end
  local request = prepare(given, level + 1)
  if fn then return start(request, fn) end
  local co, is_main = coroutine.running()
  if not co or is_main then
    error("request waits: call it inside a coroutine, or give it a function for the response", level + 1)
  end
  return follow(request)
end

--- Sends a request. In a coroutine it waits for the head of the response.
-- @tparam string|table given a URL, or: `url`; `method` ("GET"); `headers` (name = value or list of values); `body`
--   (string, or function that returns the next piece, nil at the end, or nil and a message to give up); `timeout`
--   (seconds, or `{ connect=, headers=, idle= }`, see client.timeouts); `redirects` (how many to follow: 0); `agent`
--   (false: a connection of its own); `socketPath` (unix socket to connect to); `maxHeaderSize` (65536), `maxHeaders`
--   (200)
-- @tparam[opt] function fn fn(res): then it does not wait and returns an emitter (`response`, `error`) with destroy()
-- @treturn Response|nil nil, message, code: "ETIMEDOUT", "ECONNREFUSED", "EPROTO", "EOF", "ELOOP", "ENOTSUP" (https),
--   ...
function client.request(given, fn)
  if type(given) == "string" then given = { url = given } end
  return perform(given, fn, 1)
end

--- The same with GET.
-- @tparam string address
-- @tparam[opt] table given
-- @tparam[opt] function fn
function client.get(address, given, fn)
  if type(given) == "function" and fn == nil then
    given, fn = nil, given
  end
  if given ~= nil and type(given) ~= "table" then error("get: options must be a table, got " .. type(given), 2) end
  local all = { url = address, method = "GET" }
  for name, value in pairs(given or {}) do all[name] = value end
  return perform(all, fn, 1)
end

return client
