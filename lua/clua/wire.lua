--- Messages between processes: Lua values packed with LuaJIT's string.buffer, with who has sent them.
-- @module clua.wire

local buffer = require "string.buffer"

local wire = {}

local MESSAGE_BYTES = 65000 -- CHANNEL_BYTES_MAX of src/channel.h, less the name of a registration

--- @param message string, number, boolean or table of these
-- @tparam string from name of the sender's registration
-- @tparam number pid
-- @treturn string|nil nil, message when the value holds what cannot be sent
function wire.encode(message, from, pid)
  local ok, bytes = pcall(buffer.encode, { message = message, from = from, pid = pid })
  if not ok then return nil, "message cannot be sent: " .. bytes end
  return bytes
end

--- What one script sends to others: encode() of what fits into a packet.
-- @treturn string|nil nil, message, code: "EINVAL", or "EMSGSIZE" when it is too long
function wire.broadcast(message, from, pid)
  local bytes, why = wire.encode(message, from, pid)
  if not bytes then return nil, why, "EINVAL" end
  if #bytes <= MESSAGE_BYTES then return bytes end
  return nil, ("the message has %d bytes, at most %d can be sent"):format(#bytes, MESSAGE_BYTES), "EMSGSIZE"
end

--- @tparam string bytes
-- @return message, nil, from, pid; or nil, why: the bytes are another process's and may be anything
function wire.decode(bytes)
  local ok, packet = pcall(buffer.decode, bytes)
  if not ok then return nil, packet end
  if type(packet) ~= "table" then return nil, "not a message" end
  return packet.message, nil, packet.from, packet.pid
end

return wire
