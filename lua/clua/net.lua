--- Stream sockets: connecting, and servers on the connections that a worker is lent or that a script accepts itself.
--
--     local net = require "clua.net"
--     local socket, message, code = net.connect { host = "db.example", port = 5432, timeout = 3 }
--     socket:write("hello\n")
--     local line = socket:readLine()
--
-- @module clua.net

local core = require "clua.core.net"
local uv = require "luv"
local Emitter = require "clua.emitter"
local Socket = require "clua.socket"
local options = require "clua.options"

local net = { Socket = Socket }

local BACKLOG = 511
local ACCEPTS_PER_TURN = 64
local SHORT_OF_DESCRIPTORS_MS = 100

-- ---- connecting ----------------------------------------------------------------------------------------------------

local connect_options = {
  host = "string", port = "integer", path = "string", timeout = "number", family = "string", allowHalfOpen = "boolean",
  noDelay = "boolean", keepAlive = "boolean|number",
}

local function once(seconds, fn)
  local timer = uv.new_timer()
  timer:start(math.ceil(seconds * 1000), 0, function()
    timer:close()
    fn()
  end)
  return timer
end

local function stop(timer)
  if timer and not timer:is_closing() then timer:close() end
end

-- The state of one net.connect(): which addresses are left, and until when.
local Attempt = {}
Attempt.__index = Attempt

function Attempt:settle(message, code)
  if self.settled then return end
  self.settled = true
  stop(self.whole)
  stop(self.share)
  if self.resolving then self.resolving:cancel() end
  if message or self.socket._ending then self.socket[1]:forget() end
  if message then
    message = ("cannot connect to %s: %s"):format(self.name, message)
  end
  self.socket:_settle(message, code)
end

-- Never inside net.connect(): who has called it must be able to add handlers first.
function Attempt:fail(message, code)
  once(0, function() self:settle(message, code) end)
end

-- An address that does not answer must not use up the time of those behind it: each gets its share of what is left.
function Attempt:next_address()
  stop(self.share)
  if self.settled or self.socket._ending then return end
  local address = table.remove(self.addresses, 1)
  if not address then return self:fail(self.message or "the name has no address", self.code or "ENOENT") end
  if self.deadline and #self.addresses > 0 then
    local rest = math.max(self.deadline - uv.now(), 0) / 1000
    self.share = once(rest / (#self.addresses + 1), function()
      self.message, self.code = "timed out", "ETIMEDOUT"
      self.socket[1]:forget()
      self:next_address()
    end)
  end
  local ok, message, code = core.connect(self.socket, address, self.port)
  if not ok then
    self.message, self.code = message, code
    return self:next_address()
  end
end

function Attempt:decide(message, code)
  if not message then return self:settle() end
  self.message, self.code = message, code
  if self.addresses then
    self:next_address()
  else
    self:settle(message, code)
  end
end

local RESOLVER_ERRORS = {
  EAI_NONAME = "unknown name", EAI_AGAIN = "the name cannot be looked up now", EAI_FAIL = "the name server has failed",
  EAI_NODATA = "the name has no address", EAI_ADDRFAMILY = "the name has no address of this family",
}

local FAMILIES = { ipv4 = "inet", ipv6 = "inet6" }

function Attempt:resolve(host, family)
  local function resolved(err, found)
    self.resolving = nil
    if self.settled then return end
    if err then
      local code = err:match("^(E[%u%d_]+)") or "EAI_FAIL"
      return self:fail(RESOLVER_ERRORS[code] or err, code)
    end
    local seen = {}
    for _, entry in ipairs(found) do
      if not seen[entry.addr] then self.addresses[#self.addresses + 1] = entry.addr end
      seen[entry.addr] = true
    end
    self:next_address()
  end
  local request, message, code = uv.getaddrinfo(host, nil, { socktype = "stream", family = FAMILIES[family] }, resolved)
  if not request then return self:fail(message, code) end
  self.resolving = request
end

function Attempt:start(given)
  local timeout = given.timeout or 0
  if timeout > 0 then
    uv.update_time()
    self.deadline = uv.now() + timeout * 1000
    self.whole = once(timeout, function() self:settle(("timed out after %g s"):format(timeout), "ETIMEDOUT") end)
  end
  if given.path then
    local ok, message, code = core.connect_unix(self.socket, given.path)
    if not ok then self:fail(message, code) end
    return
  end
  local host = given.host or "127.0.0.1"
  self.port, self.addresses = given.port, {}
  -- A literal address needs nobody to resolve it, and is one kind.
  if not given.family then
    local ok, message, code = core.connect(self.socket, host, given.port)
    if ok then return end
    if code ~= "EINVAL" then return self:fail(message, code) end
  end
  self:resolve(host, given.family)
end

local function where_of(given)
  if given.path then return "unix:" .. given.path end
  local host = given.host or "127.0.0.1"
  return (host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(host, given.port)
end

local function check_where(given, what, level)
  if type(given) == "number" then given = { port = given } end
  if type(given) == "string" then given = { path = given } end
  given = options.check(given, what == "listen" and net._listen_options or connect_options, what, level + 1)
  if given.path and given.port then error(what .. ": give a port or a path, not both", level + 1) end
  if not given.path and not (given.port and given.port <= 65535) then
    error(what .. ": a port (0 to 65535) or a path is needed", level + 1)
  end
  for _, text in ipairs { given.path or "", given.host or "" } do
    if text:find("%z") then error(what .. ": NUL in a name", level + 1) end
  end
  if given.path == "" or given.host == "" then error(what .. ": host and path must not be empty", level + 1) end
  return given
end

local function apply(socket, given)
  if given.allowHalfOpen then socket.allowHalfOpen = true end
  if given.noDelay then socket:setNoDelay() end
  local keep = given.keepAlive
  if keep then socket:setKeepAlive(true, type(keep) == "number" and keep or nil) end
end

--- Opens a connection.
-- In a coroutine and without fn it waits until it is open. With fn, or outside of a coroutine, it returns at once: then
-- come the events `connect` or `error`, and what is written meanwhile is kept.
-- @tparam number|string|table where a port of this machine, the path of a unix socket, or: `host` (name or address;
--   default 127.0.0.1), `port`, `path`, `timeout` (seconds for name and connection together; default: the system's),
--   `family` ("ipv4" or "ipv6" only), `allowHalfOpen`, `noDelay`, `keepAlive` (true, or seconds)
-- @tparam[opt] function fn fn(socket): handler of `connect`
-- @treturn Socket|nil nil, message, code: of the last address that was tried; "EAI_NONAME" for an unknown name
function net.connect(where, fn)
  if fn ~= nil and type(fn) ~= "function" then error("connect: fn must be a function, got " .. type(fn), 2) end
  local given = check_where(where, "connect", 2)
  if given.family and not FAMILIES[given.family] then error("connect: family must be ipv4 or ipv6", 2) end
  local attempt = setmetatable({ name = where_of(given) }, Attempt)
  local socket = Socket._new(function(message, code) attempt:decide(message, code) end)
  attempt.socket = socket
  apply(socket, given)
  -- Its destroy() ends the attempt.
  socket:once("close", function() attempt:settle() end)
  if fn then socket:on("connect", function() fn(socket) end) end
  attempt:start(given)
  local co, is_main = coroutine.running()
  if fn or not co or is_main then return socket end
  return socket:_connected()
end

-- ---- servers -------------------------------------------------------------------------------------------------------

local Server = Emitter.class("net.Server")
net.Server = Server

net._listen_options = { host = "string", port = "integer", path = "string", backlog = "integer" }

local server_options = {
  allowHalfOpen = "boolean", noDelay = "boolean", keepAlive = "boolean|number", timeout = "number",
}

--- server:emit("connection", socket) serves the socket: the handlers are called, in the coroutine of who emits.
function Server:emit(event, socket, ...)
  if event == "connection" then
    apply(socket, self.options)
    if self.options.timeout then socket:setTimeout(self.options.timeout) end
  end
  return Emitter.emit(self, event, socket, ...)
end

--- A server. It listens nowhere by itself: sockets come by server:emit("connection", socket).
-- @tparam[opt] table given for every socket: `allowHalfOpen`, `noDelay`, `keepAlive` (true, or seconds), `timeout` (see
--   Socket:setTimeout)
-- @tparam[opt] function handler fn(socket), in a coroutine
-- @treturn Server
function net.createServer(given, handler)
  if type(given) == "function" and handler == nil then
    given, handler = nil, given
  end
  if handler ~= nil and type(handler) ~= "function" then
    error("createServer: handler must be a function, got " .. type(handler), 2)
  end
  local self = setmetatable({ options = options.check(given, server_options, "createServer") }, Server)
  if handler then self:on("connection", handler) end
  return self
end

-- Each in a coroutine of its own.
local function accept_some(self)
  local host = require "clua.core.host"
  for _ = 1, ACCEPTS_PER_TURN do
    if not self._poll then return end
    local socket, message, code = core.accept(self._fd)
    if socket then
      host.spawn(self.emit, self, "connection", socket)
    elseif not message then
      return
    else
      -- Short of descriptors or memory: the connections wait in the kernel meanwhile.
      self._poll:stop()
      self._pause = once(SHORT_OF_DESCRIPTORS_MS / 1000, function()
        if self._poll then self:_accept() end
      end)
      self:emit("error", message, code)
      return
    end
  end
end

function Server:_accept()
  self._poll:start("r", function(err)
    if err then return self:emit("error", err, err:match("^E%u+")) end
    accept_some(self)
  end)
end

local function bind(given, level)
  local handle, ok, message, code
  if given.path then
    handle = uv.new_pipe(false)
    ok, message, code = handle:bind(given.path)
  else
    handle = uv.new_tcp()
    local host = given.host or "127.0.0.1"
    local is_address
    is_address, ok, message, code = pcall(handle.bind, handle, host, given.port)
    if not is_address then
      handle:close()
      error(("listen: host must be an address, such as 127.0.0.1 or ::, got '%s'"):format(host), level + 1)
    end
    -- libuv keeps EADDRINUSE to itself until later.
    if ok then ok, message, code = handle:getsockname() end
  end
  if ok then ok, message, code = core.listen(handle:fileno(), given.backlog or BACKLOG) end
  if ok then return handle end
  handle:close()
  return nil, message, code
end

--- Listens in this very process, for scripts and for workers that are registered by a plain word. (A port that a
-- cluster serves is registered in the dispatch script: there the master owns the connections.)
-- @tparam number|string|table where a port of 127.0.0.1, the path of a unix socket, or: `host` (an address), `port`
--   (0: any free one), `path`, `backlog` (511)
-- @treturn Server|nil self; nil, message, code
function Server:listen(where)
  local given = check_where(where, "listen", 2)
  if self._poll then error("listen: this server listens already", 2) end
  local handle, message, code = bind(given, 2)
  if not handle then return nil, ("cannot listen on %s: %s"):format(where_of(given), message), code end
  self._handle, self._fd = handle, handle:fileno()
  self._poll = uv.new_poll(self._fd)
  self:_accept()
  return self
end

--- Stops listening; connections go on. For what does not listen: nothing.
function Server:close()
  stop(self._pause)
  if not self._poll then return end
  self._poll:stop()
  self._poll:close()
  self._handle:close()
  self._poll, self._handle, self._fd = nil, nil, nil
end

--- @treturn string,number|nil address and port ("unix", 0) that it listens on; nil, message, "ECLOSED"
function Server:address()
  if not self._handle then return nil, "the server does not listen", "ECLOSED" end
  local name = self._handle:getsockname()
  if type(name) == "table" then return name.ip, name.port end
  return "unix", 0
end

--- net.createServer(fn):listen(where).
-- @return as Server:listen
function net.listen(where, fn)
  if fn ~= nil and type(fn) ~= "function" then error("listen: fn must be a function, got " .. type(fn), 2) end
  return net.createServer(fn):listen(where)
end

return net
