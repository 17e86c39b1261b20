--- Bytes of a socket that have been read and not been taken: one run, and where the part that is left begins, so that
-- taking line after line does not copy the rest each time.
-- @module clua.socket.buffering

local buffering = {}

--- Is there anything?
function buffering.pending(socket)
  return socket._bytes ~= nil
end

--- The run and the position of its first byte that is left; "" and 1 without any.
function buffering.view(socket)
  return socket._bytes or "", socket._at or 1
end

--- Takes all up to a position in the run.
-- @treturn string
function buffering.take(socket, last)
  local bytes, at = buffering.view(socket)
  local taken = bytes:sub(at, last)
  if last < #bytes then
    socket._bytes, socket._at = bytes, last + 1
  else
    socket._bytes, socket._at = nil, nil
    socket:_taken()
  end
  return taken
end

--- @treturn string|nil everything, nil when there is nothing
function buffering.take_all(socket)
  local bytes = socket._bytes
  if not bytes then return nil end
  return buffering.take(socket, #bytes)
end

--- Adds bytes behind; returns how many there are now.
function buffering.append(socket, more)
  local bytes, at = buffering.view(socket)
  bytes = at <= #bytes and bytes:sub(at) .. more or more
  socket._bytes, socket._at = bytes ~= "" and bytes or nil, nil
  return #bytes
end

--- Adds bytes in front.
function buffering.unshift(socket, less)
  local bytes, at = buffering.view(socket)
  bytes = less .. bytes:sub(at)
  socket._bytes, socket._at = bytes ~= "" and bytes or nil, nil
end

return buffering
