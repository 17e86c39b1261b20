-- A TCP server of luv's in this very process that answers with exactly the bytes a spec gives it.
--
--     local server = raw.serve { "HTTP/1.1 200 OK\r\n...", raw.CLOSE }        one list for each connection, in order
--
-- An entry is a string (sent), a function (called with the connection), or one of the marks below. What is sent waits
-- for a request first: for each entry that is a string, the server waits until "\r\n\r\n" has come once more.

local uv = require "luv"

local raw = { CLOSE = {}, RESET = {}, NOW = {} }

local Server = {}
Server.__index = Server

local function step(connection)
  while true do
    local action = connection.script[connection.at]
    if action == nil or connection.handle:is_closing() then return end
    if type(action) == "string" and not connection.free then
      local last = select(2, connection.text:find("\r\n\r\n", connection.seen, true))
      if not last then return end
      connection.seen = last + 1
    end
    connection.at = connection.at + 1
    connection.free = action == raw.NOW
    if type(action) == "string" then
      if connection.slowly then
        for i = 1, #action do connection.handle:try_write(action:sub(i, i)) end
      else
        connection.handle:write(action)
      end
    elseif type(action) == "function" then
      action(connection)
    elseif action == raw.CLOSE then
      connection.handle:shutdown(function()
        if not connection.handle:is_closing() then connection.handle:close() end
      end)
    elseif action == raw.RESET then
      connection.handle:close_reset()
    end
  end
end

--- Serves: script i is for the i-th connection. options.slowly: one byte a write (with TCP_NODELAY).
function raw.serve(scripts, options)
  local self = setmetatable({ connections = {}, handle = uv.new_tcp() }, Server)
  assert(self.handle:bind("127.0.0.1", 0))
  self.port = self.handle:getsockname().port
  self.url = "http://127.0.0.1:" .. self.port
  assert(self.handle:listen(16, function()
    local handle = uv.new_tcp()
    self.handle:accept(handle)
    handle:nodelay(true)
    local connection = { handle = handle, text = "", seen = 1, at = 1, slowly = options and options.slowly }
    self.connections[#self.connections + 1] = connection
    connection.script = scripts[#self.connections] or { raw.RESET }
    handle:read_start(function(err, bytes)
      if bytes then
        connection.text = connection.text .. bytes
        step(connection)
      else
        connection.ended = err or "eof"
        if connection.on_end then connection.on_end() end
      end
    end)
    step(connection)
  end))
  return self
end

function Server:close()
  if not self.handle:is_closing() then self.handle:close() end
  for _, connection in ipairs(self.connections) do
    if not connection.handle:is_closing() then connection.handle:close() end
  end
end

return raw
