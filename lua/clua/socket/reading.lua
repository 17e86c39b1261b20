--- The reading calls of sockets: by chunk, count, line, delimiter, and to the end. All inside a coroutine.
--
-- One rule for all: nil alone is the peer's clean end with nothing left; nil, message, code says why it is not what was
-- asked for, and what has come stays to be read. Codes: "EOF" (the peer has ended before the rest came), "EMSGSIZE"
-- (the limit), "ETIMEDOUT" (see setTimeout), "ECLOSED", and those of the system.
-- @module clua.socket.reading

local buffering = require "clua.socket.buffering"

local LINE_LIMIT = 64 * 1024
local ALL_LIMIT = 8 * 1024 * 1024

local reading = {}

-- Bytes that a waiting call has put aside are its own.
local function check_alone(self)
  if self._reader then error("another coroutine waits in read() of this socket already", 3) end
end

local function check_limit(limit, default, what)
  if limit == nil then return default end
  if type(limit) ~= "number" or limit ~= limit or limit < 1 then
    error(what .. ": the limit must be a number of bytes", 3)
  end
  return limit
end

-- What a call returns that did not get all it wants: parts go back.
local function give_back(self, parts, what, message, code)
  local bytes = table.concat(parts)
  buffering.unshift(self, bytes)
  if message or bytes == "" then return nil, message, code end
  return nil, ("the peer has ended after %d bytes, before %s"):format(#bytes, what), "EOF"
end

local function read_count(self, count)
  local bytes, at = buffering.view(self)
  if #bytes - at + 1 >= count then return buffering.take(self, at + count - 1) end
  local parts, have = { buffering.take_all(self) }, #bytes - at + 1
  while have < count do
    local chunk, message, code = self:_more()
    if not chunk then return give_back(self, parts, ("%d had come"):format(count), message, code) end
    parts[#parts + 1] = chunk
    have = have + #chunk
  end
  bytes = table.concat(parts)
  if have > count then buffering.unshift(self, bytes:sub(count + 1)) end
  return have > count and bytes:sub(1, count) or bytes
end

--- Waits for the next bytes, as many as have come, or for exactly `count`.
-- @tparam[opt] number count
-- @treturn string|nil
function reading:read(count)
  check_alone(self)
  if count == nil then
    local bytes = buffering.take_all(self)
    if bytes then return bytes end
    return self:_more()
  end
  if type(count) ~= "number" or count < 0 or count ~= math.floor(count) then
    error("read: a whole number of bytes, 0 or more, is expected", 2)
  end
  if count == 0 then return "" end
  return read_count(self, count)
end

-- Waits until find(bytes, from) finds the end of what is wanted in the run: first and last byte of the delimiter.
local function read_to(self, limit, what, overlap, find)
  local from = select(2, buffering.view(self))
  while true do
    local bytes, at = buffering.view(self)
    local first, last = find(bytes, math.max(from, at))
    if first and first - at <= limit then
      local taken = buffering.take(self, last)
      return taken:sub(1, first - at), taken:sub(first - at + 1)
    end
    local have = #bytes - at + 1
    if first or have > limit then
      return nil, ("%s did not come within %d bytes"):format(what, limit), "EMSGSIZE"
    end
    local chunk, message, code = self:_more()
    if not chunk then
      if message or have == 0 then return nil, message, code end
      return nil, ("the peer has ended after %d bytes, before %s"):format(have, what), "EOF"
    end
    -- The run begins at 1 after that; what has been searched is not searched again.
    from = overlap and math.max(1, have - overlap + 1) or 1
    buffering.append(self, chunk)
  end
end

--- Waits for a line and returns it without its end, LF or CR LF.
-- @tparam[opt=65536] number limit bytes
-- @treturn string|nil
function reading:readLine(limit)
  check_alone(self)
  limit = check_limit(limit, LINE_LIMIT, "readLine")
  local line, message, code = read_to(self, limit, "the end of the line", 0, function(bytes, from)
    return bytes:find("\n", from, true)
  end)
  if not line then return nil, message, code end
  return line:sub(-1) == "\r" and line:sub(1, -2) or line
end

--- Waits for a delimiter; returns what stands before it, and it.
-- @tparam string delimiter
-- @tparam[opt=65536] number limit bytes before the delimiter
-- @tparam[opt] boolean is_pattern the delimiter is a Lua pattern; it is tried on what has come so far, so it must not
--   match less than it would with more bytes ("\r?\n", not "\n+")
-- @treturn string|nil
-- @treturn string the delimiter
function reading:readUntil(delimiter, limit, is_pattern)
  check_alone(self)
  if type(delimiter) ~= "string" or delimiter == "" then error("readUntil: the delimiter must be a string", 2) end
  limit = check_limit(limit, LINE_LIMIT, "readUntil")
  local what = is_pattern and "the pattern" or "the delimiter"
  local before, found, code = read_to(self, limit, what, not is_pattern and #delimiter - 1 or nil, function(bytes, from)
    if not is_pattern then return bytes:find(delimiter, from, true) end
    local ok, first, last = pcall(bytes.find, bytes, delimiter, from)
    if not ok then error(("readUntil: '%s' is no Lua pattern: %s"):format(delimiter, first), 4) end
    return first, last
  end)
  return before, found, code
end

--- Waits for the peer's end and returns all bytes up to there, "" without any.
-- @tparam[opt=8388608] number limit bytes
-- @treturn string|nil
function reading:readAll(limit)
  check_alone(self)
  limit = check_limit(limit, ALL_LIMIT, "readAll")
  local parts, have = { buffering.take_all(self) }, 0
  if parts[1] then have = #parts[1] end
  while have <= limit do
    local chunk, message, code = self:_more()
    if not chunk then
      if message then return give_back(self, parts, "", message, code) end
      return table.concat(parts)
    end
    parts[#parts + 1] = chunk
    have = have + #chunk
  end
  return give_back(self, parts, "", ("more than %d bytes have come"):format(limit), "EMSGSIZE")
end

return reading
