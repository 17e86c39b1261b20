--- The other end of a control socket: asks a master.
--
--     local client, message, code = Client.open "/run/clua/shop-812.control"
--     local result, message, code = client:request("reload", { wait = true })
--
-- Inside a coroutine.
-- @module clua.control.client

local cjson = require "cjson.safe"
local net = require "clua.net"

local Client = {}
Client.__index = Client

local PROTOCOL = 1
local PATIENCE_S = 10 -- for an answer that the master gives at once
local LINE_BYTES = 256 * 1024 * 1024

local function read_message(self)
  local line, message, code = self.socket:readLine(LINE_BYTES)
  if not line then
    if not message then return nil, "the master has closed the connection", "EOF" end
    return nil, message, code
  end
  local decoded, why = cjson.decode(line)
  if type(decoded) ~= "table" then return nil, "not the answer of a master: " .. tostring(why), "EPROTO" end
  return decoded
end

--- Connects.
-- @tparam string path
-- @treturn Client|nil with `pid`, `version` and `generation` (upgrades so far) of the master; nil, message, code:
--   "ENOENT", "ECONNREFUSED" (nobody is there), "EACCES", "ETIMEDOUT", "EPROTO", ...
function Client.open(path)
  local socket, message, code = net.connect { path = path, timeout = PATIENCE_S }
  if not socket then return nil, message, code end
  socket:setTimeout(PATIENCE_S)
  local self = setmetatable({ socket = socket, path = path, last = 0, events = {} }, Client)
  local hello
  hello, message, code = read_message(self)
  if hello and hello.ok == false then
    message, code = hello.error, hello.code
  elseif hello and (hello.hello ~= "clua" or hello.protocol ~= PROTOCOL) then
    message, code = ("it does not speak protocol %d of clua"):format(PROTOCOL), "EPROTO"
  elseif hello then
    self.pid, self.version, self.generation = hello.pid, hello.version, hello.generation
    return self
  end
  self:close()
  return nil, ("%s: %s"):format(path, message), code
end

--- Asks, and waits for the answer.
-- @tparam string op
-- @tparam[opt] table arguments; `wait`: the answer may take its time
-- @tparam[opt=10] number patience seconds for an answer without `wait`
-- @treturn table|nil the result; nil, message, code
function Client:request(op, arguments, patience)
  local request = {}
  for name, value in pairs(arguments or {}) do request[name] = value end
  self.last = self.last + 1
  request.op, request.id = op, self.last
  self.socket:setTimeout(request.wait and 0 or patience or PATIENCE_S)
  local ok, why, failure = self.socket:write(cjson.encode(request) .. "\n")
  if not ok then return nil, why, failure end
  while true do
    local message, text, code = read_message(self)
    if not message then return nil, text, code end
    if message.event then
      self.events[#self.events + 1] = message
    elseif message.id == request.id then
      if message.ok then return message.result end
      return nil, message.error, message.code
    elseif not message.ok then
      return nil, message.error, message.code
    end
  end
end

--- Waits for the next event.
-- @treturn table|nil nil, message, code
function Client:event()
  if #self.events > 0 then return table.remove(self.events, 1) end
  self.socket:setTimeout(0)
  while true do
    local message, text, code = read_message(self)
    if not message or message.event then return message, text, code end
  end
end

--- Waits until the master has gone, or has been upgraded.
function Client:wait_end()
  repeat
    local message = self:event()
  until not message
end

function Client:close()
  self.socket:destroy()
end

return Client
