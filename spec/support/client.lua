-- Raw TCP and unix clients, with an HTTP/1.1 reader on top. Waits in the main line of a spec or in a task (loop.lua).
--
-- Reading functions return nil and a reason: "eof", "timeout" or the name of an error of libuv such as ECONNRESET.

local uv = require "luv"
local loop = require "spec.support.loop"

local DEADLINE_S = 20

local client = {}
local connection = {}
connection.__index = connection

-- "port", "host:port", "[v6]:port", "unix:path" or a path.
local function parse(address)
  address = tostring(address)
  local path = address:match("^unix:(.+)$") or (address:find("/", 1, true) and address)
  if path then return nil, path end
  local host, port = address:match("^%[(.-)%]:(%d+)$")
  if not host then host, port = address:match("^(.-):(%d+)$") end
  return host or "127.0.0.1", tonumber(port or address)
end

--- Begins to connect: conn.connected or conn.closed tell how it went.
function client.open(address)
  local self = setmetatable({ address = address, buffer = "" }, connection)
  local host, where = parse(address)

  local function on_read(err, bytes)
    if bytes then
      self.buffer = self.buffer .. bytes
    else
      self.closed = err and err:match("^%u+") or "eof"
      self.closed_at = loop.now()
    end
    loop.wake(self)
  end

  self.on_read = on_read

  local function on_connect(err)
    if self.handle:is_closing() then return end
    if err then
      self.closed = err:match("^%u+") or err
    else
      self.connected = true
      self.handle:read_start(on_read)
    end
    loop.wake(self)
  end

  local request, message
  if host then
    self.handle = uv.new_tcp()
    request, message = self.handle:connect(host, where, on_connect)
  else
    self.handle = uv.new_pipe(false)
    request, message = self.handle:connect(where, on_connect)
  end
  if not request then self.closed = tostring(message):match("^%u+") end
  return self
end

--- Connects; the connection, or nil and the reason.
function client.connect(address, seconds)
  local self = client.open(address)
  local ok, reason = self:await(function() return self.connected or self.closed end, seconds)
  if self.connected then return self end
  self:close()
  return nil, ok and self.closed or reason
end

function connection:await(predicate, seconds)
  return loop.await(self, predicate, seconds or DEADLINE_S)
end

--- Sends; what cannot be sent shows as a closed connection on reading. `written` is true when the last bytes have been
-- taken, `write_error` why they were not.
function connection:send(bytes)
  self.sent_at = loop.now()
  self.written = false
  if not self.handle:is_closing() then
    self.handle:write(bytes, function(err)
      self.written, self.write_error = true, err
    end)
  end
  return self
end

local function take(self, count)
  local bytes = self.buffer:sub(1, count)
  self.buffer = self.buffer:sub(count + 1)
  return bytes
end

--- Reads so many bytes.
function connection:read(count, seconds)
  local ok, reason = self:await(function() return #self.buffer >= count or self.closed end, seconds)
  if #self.buffer >= count then return take(self, count) end
  return nil, ok and self.closed or reason
end

--- Reads until a Lua pattern has matched, and returns everything to the end of the match.
function connection:read_until(pattern, seconds)
  local last
  local ok, reason = self:await(function()
    last = select(2, self.buffer:find(pattern))
    return last or self.closed
  end, seconds)
  if last then return take(self, last) end
  return nil, ok and self.closed or reason
end

--- Reads until the server closes; everything read and why it ended ("eof", "ECONNRESET").
function connection:read_all(seconds)
  local ok, reason = self:await(function() return self.closed end, seconds)
  if not ok then return nil, reason end
  return take(self, #self.buffer), self.closed
end

--- Reads nothing until resume(): the server's answers fill the socket's buffers.
function connection:pause()
  if not self.handle:is_closing() then self.handle:read_stop() end
end

function connection:resume()
  if not self.handle:is_closing() and not self.closed then self.handle:read_start(self.on_read) end
end

--- Sends FIN.
function connection:shutdown()
  if not self.handle:is_closing() then self.handle:shutdown() end
end

function connection:close()
  if not self.handle:is_closing() then self.handle:close() end
end

--- Closes with RST.
function connection:reset()
  if not self.handle:is_closing() then self.handle:close_reset() end
end

local function read_chunked(self, seconds)
  local parts = {}
  while true do
    local line, reason = self:read_until("\r\n", seconds)
    if not line then return nil, reason end
    local size = assert(tonumber(line:match("^%x+"), 16), "no chunk size: " .. line)
    local chunk
    chunk, reason = self:read(size + 2, seconds)
    if not chunk then return nil, reason end
    if size == 0 then return table.concat(parts) end
    parts[#parts + 1] = chunk:sub(1, -3)
  end
end

--- Reads one HTTP answer: status, headers (names in lower case), body; or nil and the reason.
function connection:response(method, seconds)
  local status, headers
  repeat
    local head, reason = self:read_until("\r\n\r\n", seconds)
    if not head then return nil, reason end
    status = tonumber(head:match("^HTTP/1%.[01] (%d%d%d)"))
    if not status then return nil, "no HTTP: " .. head end
    headers = {}
    for name, value in head:gmatch("\r\n([^:\r\n]+):[ \t]*([^\r\n]*)") do headers[name:lower()] = value end
  until status >= 200

  if method == "HEAD" or status == 204 or status == 304 then return status, headers, "" end
  local body, reason
  if headers["content-length"] then
    body, reason = self:read(tonumber(headers["content-length"]), seconds)
  elseif (headers["transfer-encoding"] or ""):lower():find("chunked", 1, true) then
    body, reason = read_chunked(self, seconds)
  else
    body, reason = self:read_all(seconds)
  end
  if not body then return nil, reason end
  return status, headers, body
end

--- The bytes of a request.
function client.format(method, path, headers, body)
  local lines = { ("%s %s HTTP/1.1"):format(method, path), "Host: spec" }
  for name, value in pairs(headers or {}) do lines[#lines + 1] = name .. ": " .. value end
  if body then lines[#lines + 1] = "Content-Length: " .. #body end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

--- Sends a request and reads its answer; the connection may be used again.
function connection:request(method, path, headers, body, seconds)
  self:send(client.format(method, path, headers, body))
  return self:response(method, seconds)
end

function client.request(self, ...)
  return self:request(...)
end

--- One request on a connection of its own: status, headers, body; or nil and the reason.
function client.get(address, path, headers, seconds)
  local self, reason = client.connect(address, seconds)
  if not self then return nil, reason end
  local with_close = { Connection = "close" }
  for name, value in pairs(headers or {}) do with_close[name] = value end
  local status, answer, body = self:request("GET", path or "/", with_close, nil, seconds)
  self:close()
  return status, answer, body
end

return client
