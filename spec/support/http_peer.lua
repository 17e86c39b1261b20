-- An HTTP client of a server in this very process: one end of a socket pair is served, the spec holds the other.

local uv = require "luv"
local Socket = require "clua.socket"
local loop = require "spec.support.loop"

local DEADLINE_S = 60 -- bounds a hang; a slow machine may take its time

local peer = {}
local Peer = {}
Peer.__index = Peer

--- Has the server serve one end of a new socket pair.
-- @return the other end: .text is what has come, .closed tells how it ended ("eof" or an error's name)
function peer.connect(server)
  uv.update_time() -- a spec may have computed for longer than a time-out since the loop looked at the clock
  local fds = assert(uv.socketpair("stream", nil, { nonblock = true }, { nonblock = true }))
  local self = setmetatable({ text = "", handle = uv.new_pipe(false) }, Peer)
  assert(self.handle:open(fds[1]))
  self.handle:read_start(function(err, bytes)
    if bytes then
      self.text = self.text .. bytes
    else
      self.closed = err and err:match("^%u+") or "eof"
    end
  end)
  self.socket = assert(Socket.from_fd(fds[2]))
  server:emit("connection", self.socket)
  return self
end

--- Sends bytes at once; what the kernel does not take goes into the handle's queue.
function Peer:send(bytes)
  local sent = self.handle:try_write(bytes)
  sent = type(sent) == "number" and sent or 0
  if sent < #bytes and not self.handle:is_closing() then
    self.handle:write(bytes:sub(sent + 1))
  end
  return self
end

--- Lets the loop handle what is there already, `turns` times.
function Peer:turn(turns)
  for _ = 1, turns or 1 do
    uv.run("nowait")
  end
  return self
end

--- Runs the loop until predicate(self) is true and returns its value; raises at the deadline.
function Peer:wait(predicate, what)
  return loop.wait(function() return predicate(self) end, DEADLINE_S, function()
    return ("%s; closed: %s; received:\n%s"):format(what or "something", tostring(self.closed), self.text:sub(1, 2000))
  end)
end

-- One response from `text` at `at`, or nil when it is not complete. method: of the request it answers.
local function parse(text, at, method, closed)
  local head_end = select(2, text:find("\r\n\r\n", at, true))
  if not head_end then return nil end
  local head = text:sub(at, head_end)
  local status, reason = head:match("^HTTP/1%.1 (%d%d%d) ([^\r\n]*)\r\n")
  local response = { status = tonumber(status), reason = reason, headers = {}, head = head }
  for name, value in head:gmatch("\r\n([^:\r\n]+): ?([^\r\n]*)") do
    name = name:lower()
    local before = response.headers[name]
    response.headers[name] = before and before .. ", " .. value or value
  end
  local length = tonumber(response.headers["content-length"])
  if method == "HEAD" or response.status == 204 or response.status == 304 or response.status < 200 then
    response.body = ""
    return response, head_end + 1
  elseif response.headers["transfer-encoding"] then
    local pieces, pos = {}, head_end + 1
    while true do
      local line_end = text:find("\r\n", pos, true)
      if not line_end then return nil end
      local size = tonumber(text:match("^%x+", pos), 16)
      pos = line_end + 2
      if size == 0 then
        response.trailers = {}
        while text:sub(pos, pos + 1) ~= "\r\n" do
          local stop = text:find("\r\n", pos, true)
          if not stop then return nil end
          local name, value = text:sub(pos, stop - 1):match("^([^:]+): ?(.*)$")
          response.trailers[name:lower()] = value
          pos = stop + 2
        end
        response.body = table.concat(pieces)
        return response, pos + 2
      end
      if #text < pos + size + 1 then return nil end
      pieces[#pieces + 1] = text:sub(pos, pos + size - 1)
      pos = pos + size + 2
    end
  elseif length then
    if #text < head_end + length then return nil end
    response.body = text:sub(head_end + 1, head_end + length)
    return response, head_end + length + 1
  end
  if not closed then return nil end
  response.body = text:sub(head_end + 1)
  return response, #text + 1
end

--- The next response, or nil when it is not complete yet. Interim ones count.
function Peer:take(method)
  local response, next_at = parse(self.text, 1, method, self.closed)
  if response then self.text = self.text:sub(next_at) end
  return response
end

--- Waits for the next response.
function Peer:response(method)
  return self:wait(function() return self:take(method) end, "a response")
end

--- Sends a request and waits for its response.
function Peer:request(bytes)
  self:send(bytes)
  return self:response(bytes:match("^%u+"))
end

--- Waits until the server has closed the connection.
function Peer:wait_closed()
  return self:wait(function() return self.closed end, "the end of the connection")
end

function Peer:shutdown()
  self.handle:shutdown()
  return self
end

function Peer:close()
  if not self.handle:is_closing() then self.handle:close() end
  uv.run("nowait")
  uv.run("nowait")
end

return peer
