--- res:onHead(fn): a last word before the head of an answer goes out, and a filter for its body.
--
-- An answer that nobody watches runs through C alone. The first onHead() puts the functions below into this one answer
-- as fields of its own, which win over methods; when the hooks have run and no filter is wanted, they are taken out
-- again, so that the rest of the body goes the short way.
-- @module clua.http.head

local uv = require "luv"
local async = require "clua.async"
local core = require "clua.core.http"
local host = require "clua.core.host"
local is_callable = require "clua.callable"
local usage = require "clua.usage"

local head = {}

local METHODS = { "write", "finish", "flushHeaders", "flush", "sendDescriptor" }
local PIECE_BYTES = 65536

local hooked = {}

-- What a middleware has put over a method since is its own business, and ends up here.
local function uninstall(res, state)
  for _, name in ipairs(METHODS) do
    if res[name] == hooked[name] then
      local inner = state.inner[name]
      res[name] = inner ~= core.response[name] and inner or nil
    end
  end
end

-- Calls the hooks that have not been called, the last one first. One that fails does not take the others along: they
-- are called when its caller, or the error middleware, writes again.
local function run(res, state, body)
  local hooks, co = state.hooks, coroutine.running()
  if state.runner and state.runner ~= co and coroutine.status(state.runner) == "suspended" then
    error("another coroutine writes this answer already, and waits in an onHead hook", 0)
  end
  state.runner = co
  while #hooks > 0 do
    local filter = table.remove(hooks)(res, body)
    if filter then
      if state.filter then error("onHead: the body of this answer has a filter already", 0) end
      state.filter = filter
    end
  end
  state.runner = nil
  state.over = true
  if not state.filter then uninstall(res, state) end
end

local function begin(res, body)
  local state = res._head
  if not state.over then run(res, state, body) end
  return state.inner, state.filter
end

function hooked.write(res, bytes)
  local inner, filter = begin(res)
  if not filter or res.finished then return inner.write(res, bytes) end
  if type(bytes) ~= "string" then error("write: a string is expected, got " .. type(bytes), 2) end
  return inner.write(res, filter:push(bytes))
end

function hooked.finish(res, bytes)
  local inner, filter = begin(res, bytes or "")
  if not filter or res.finished then return inner.finish(res, bytes) end
  if bytes ~= nil and type(bytes) ~= "string" then error("finish: a string is expected, got " .. type(bytes), 2) end
  return inner.finish(res, filter:finish(bytes or ""))
end

function hooked.flushHeaders(res)
  return begin(res).flushHeaders(res)
end

function hooked.flush(res)
  local inner, filter = begin(res)
  if not filter or res.finished then return inner.flush(res) end
  return inner.write(res, filter:flush())
end

function hooked.sendDescriptor(res, fd, offset, length)
  local inner, filter = begin(res)
  if not filter then return inner.sendDescriptor(res, fd, offset, length) end
  return head.send_pieces(res, fd, offset, length)
end

--- Sends a part of a file through res:write, for answers whose body is changed on the way.
-- @treturn boolean|nil true; nil, message, code when the client has gone
-- @raise the file cannot be read to the end
function head.send_pieces(res, fd, first, length)
  local sent = 0
  while sent < length do
    local piece, message = async.call(uv.fs_read, fd, math.min(PIECE_BYTES, length - sent), first + sent)
    if not piece then error("cannot read: " .. message, 0) end
    if piece == "" then error(("the file has shrunk to %d of %d bytes while it was sent"):format(sent, length), 0) end
    sent = sent + #piece
    local ok, why, code = res:write(piece)
    if ok == nil then return nil, why, code end
  end
  return true
end

--- Runs the hooks now, if there are any: for who has to know the final headers, or whether the body is filtered.
function head.settle(res)
  local state = res._head
  if state and not state.over then run(res, state) end
end

--- Has fn called once, just before the head of this answer is sent, whoever sends it: status and headers are as the
-- handler left them and may still be changed. The function that was added last is called first. Not called for answers
-- that the server gives without a handler (408, 413, ...) and for interim ones.
-- @param res
-- @tparam function fn fn(res, body): body is the whole body when it is known by now (an answer by finish() alone), else
--   nil. It may return a filter through which the body goes from then on: a table with the methods `push(bytes)`,
--   `flush()`, and `finish(bytes)`, each of which returns what is to be sent now, or "". Who returns one has to mend
--   Content-Length. An error in it is an error of who writes.
-- @treturn table res; nil, message, code: too late, the head has been sent
function head.on(res, fn)
  if not is_callable(fn) then usage.fail(1, "onHead: a function is expected, got %s", type(fn)) end
  if res.headersSent then
    host.log("error", debug.traceback("res:onHead was called after the head had been sent", 2))
    return nil, "the head has been sent", "ECLOSED"
  end
  local state = res._head
  if not state or state.over then
    state = { hooks = {}, inner = {}, filter = state and state.filter }
    for _, name in ipairs(METHODS) do
      local inner = res[name]
      if inner == hooked[name] then inner = res._head.inner[name] end
      state.inner[name] = inner
    end
    res._head = state
    for _, name in ipairs(METHODS) do res[name] = hooked[name] end
  end
  table.insert(state.hooks, fn)
  return res
end

return head
