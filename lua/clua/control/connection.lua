--- One client of the control socket, as the master sees it: lines and answers.
--
-- The master must not suffer from its clients: a line is bounded, nothing is read from one that has not taken its
-- answers, one that does not take them at all is closed, and log lines that it is too slow for are left out.
-- @module clua.control.connection

local core = require "clua.core.control"
local cjson = require "cjson.safe"
local host = require "clua.core.host"
local requests = require "clua.control.requests"
local uv = require "luv"
local utf8 = require "clua.status.utf8"

local json = cjson.new()
json.encode_invalid_numbers "null"
json.decode_max_depth(32)

local Connection = {}
Connection.__index = Connection

local LINE_BYTES = 65536
local UNDER_WAY_MAX = 32 -- requests of one client that have no answer yet
local EVENT_BYTES = 262144 -- what may wait for a client before events are left out
local STALL_S = 30 -- in which a client must take what waits for it

--- A client that has just been accepted.
-- @tparam Control control has `master`, `clients`, `count`
-- @param pipe of luv
function Connection.new(control, pipe)
  local stall = uv.new_timer()
  uv.unref(stall)
  return setmetatable({
    control = control, pipe = pipe, rest = "", under_way = 0, left_out = 0, on_close = {}, noted = {}, stall = stall,
  }, Connection)
end

--- Ends it, and the streams that it had begun.
function Connection:close()
  if self.closed then return end
  self.closed = true
  self.control.clients[self] = nil
  self.control.count = self.control.count - 1
  self.pipe:close()
  self.stall:close()
  for _, fn in ipairs(self.on_close) do fn() end
end

-- All that waited has been taken.
local function drained(self)
  self.stall:stop()
  if self.left_out > 0 then
    local count = self.left_out
    self.left_out = 0
    self:send { id = self.follows, event = "lost", count = count }
  end
  if self.paused and not self.closed then
    self.paused = false
    self:read()
  end
end

--- Bytes that the client has not taken yet.
function Connection:waiting()
  return self.pipe:get_write_queue_size()
end

--- Sends one line.
function Connection:send(message)
  if self.closed then return end
  local line, why = json.encode(message)
  if not line then
    line = json.encode { id = message.id, ok = false, error = "the answer cannot be sent: " .. why, code = "EBADMSG" }
  end
  self.pipe:write(utf8.valid(line) .. "\n", function(err)
    if self.closed then return end
    if err then return self:close() end
    if self:waiting() == 0 then drained(self) end
  end)
  if self:waiting() == 0 or self.paused then return end
  self.paused = true
  self.pipe:read_stop()
  self.stall:start(STALL_S * 1000, 0, function() self:close() end)
end

--- Sends a line that may be left out when the client is slow.
function Connection:event(message)
  if self.closed then return end
  if self.left_out > 0 or self:waiting() > EVENT_BYTES then
    self.left_out = self.left_out + 1
    return
  end
  self:send(message)
end

--- Says why and closes: one that speaks another language is told so; it is not guessed where its next line would begin.
function Connection:give_up(message, code)
  self:send { ok = false, error = message, code = code }
  self:close()
end

local function handle(self, request)
  local answered = false
  local function answer(result, message, code)
    if answered then return end
    answered = true
    self.under_way = self.under_way - 1
    if result == nil then
      self:send { id = request.id, ok = false, error = message, code = code }
    else
      self:send { id = request.id, ok = true, result = result }
    end
  end
  self.under_way = self.under_way + 1
  if self.under_way > UNDER_WAY_MAX then
    return answer(nil, ("%d requests are under way on this connection"):format(UNDER_WAY_MAX), "EBUSY")
  end
  local stream = {}
  function stream.begin(stop) -- one stream a connection
    if self.follows ~= nil then return false end
    self.follows = request.id == nil and cjson.null or request.id
    self.on_close[#self.on_close + 1] = stop
    return true
  end
  function stream.send(message)
    message.id = request.id
    self:event(message)
  end
  function stream.note(what) -- logged once a connection
    if self.noted[what] then return end
    self.noted[what] = true
    local uid, pid = core.peer(self.pipe:fileno())
    host.log("warn", ("control socket: user %s (pid %s) %s"):format(tostring(uid), tostring(pid), what))
  end
  host.spawn(function()
    local ok, err = xpcall(requests.run, function(err)
      return type(err) == "table" and err or debug.traceback(err, 2)
    end, self.control.master, request, answer, stream)
    if ok then return end
    if type(err) == "table" then
      return answer(nil, (err.message:gsub("^clua/[%w_/-]+%.lua:%d+: ", "")), err.code) -- no line of the user's
    end
    host.log("error", ("request '%s' of the control socket: %s"):format(tostring(request.op), err))
    answer(nil, "a bug of clua: see the log of the master", "EFAULT")
  end)
end

local function take_line(self, line)
  local request = json.decode(line)
  if type(request) ~= "table" or type(request.op) ~= "string" then
    self:send { ok = false, code = "EINVAL", error = 'a request is a line of JSON, such as {"id": 1, "op": "status"}' }
    return
  end
  if type(request.id) == "table" then request.id = nil end
  handle(self, request)
end

-- What has been read is cut once: a copy of the rest for each line would hold up the master.
local function take_lines(self)
  local text, from = self.rest, 1
  self.rest = ""
  while not self.closed and not self.paused do
    local newline = text:find("\n", from, true)
    if (newline or #text) - from >= LINE_BYTES then
      return self:give_up(("a line has at most %d bytes"):format(LINE_BYTES), "EMSGSIZE")
    end
    if not newline then break end
    local line = text:sub(from, newline - 1)
    from = newline + 1
    if line:find("%S") then take_line(self, line) end
  end
  self.rest = text:sub(from)
end

--- Begins, or goes on, to take what the client asks.
function Connection:read()
  take_lines(self)
  if self.closed or self.paused then return end
  self.pipe:read_start(function(err, bytes)
    if self.closed then return end
    if err or not bytes then return self:close() end
    self.rest = self.rest .. bytes
    take_lines(self)
  end)
end

return Connection
