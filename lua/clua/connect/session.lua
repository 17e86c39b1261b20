--- Sessions on the server: the client holds an id and nothing else.
-- @module clua.connect.session

local cjson = require "cjson"

local cookie = require "clua.http.cookie"
local host = require "clua.core.host"
local memory_store = require "clua.connect.memory_store"
local options = require "clua.options"
local secure = require "clua.connect.secure"
local session_cookie = require "clua.connect.session_cookie"
local usage = require "clua.usage"

local NAME = "session(options)"
local KNOWN = options.complete(session_cookie.KNOWN, { store = "table", save_uninitialized = "boolean" })
local DEFAULTS = options.complete(session_cookie.DEFAULTS, { save_uninitialized = false })

-- What belongs to a session and is no data of it. Weak: a session lives as long as its request.
local states = setmetatable({}, { __mode = "k" })

local function check(ok, message)
  if not ok then error("session: the store has failed: " .. tostring(message), 0) end
end

local Session = {}
Session.__index = Session

--- The id. It is a secret: who knows it is who it belongs to.
function Session:id()
  return states[self].id
end

--- A new id for the same data; the old one is worth nothing any more. To be called when somebody logs in or gets more
-- rights: an id that an attacker has planted before (fixation) is then not theirs.
function Session:regenerate()
  local state = states[self]
  if state.stored then check(state.store:destroy(state.id)) end
  state.id, state.stored, state.destroyed = secure.token(), false, false
  return self
end

--- Forgets data and id, here and in the browser. What is set afterwards is a new session.
function Session:destroy()
  local state = states[self]
  if state.stored then check(state.store:destroy(state.id)) end
  for key in pairs(self) do self[key] = nil end
  state.id, state.stored, state.saved = secure.token(), false, nil
  return self
end

--- Stores it now. It is stored by itself when the head of the answer goes out; what is changed later needs this.
function Session:save()
  local state = states[self]
  local text = cjson.encode(self)
  check(state.store:set(state.id, text, state.max_age, not state.stored))
  state.stored, state.saved = true, text
  return self
end

local function open(req, settings)
  local id = cookie.parse(req.headers.cookie)[settings.name]
  local session = setmetatable({}, Session)
  local state = { store = settings.store, max_age = settings.max_age, sent = id }
  states[session] = state
  if id and id:find("^[%w_-]+$") and #id == 32 then
    local text, message = settings.store:get(id)
    if text then
      for key, value in pairs(cjson.decode(text)) do session[key] = value end
      state.id, state.stored = id, true
      state.saved = cjson.encode(session)
      return session
    end
    if message then return nil, message end
  end
  -- An id that the store does not know is never taken over: somebody else may have chosen it.
  state.id = secure.token()
  return session
end

local function on_head(req, res, session, settings)
  local state = states[session]
  if req.session == nil then session:destroy() end
  local is_wanted = state.stored or settings.save_uninitialized or next(session) ~= nil
  if not is_wanted then
    if state.sent then res:clearCookie(settings.name, settings.attributes) end
    return
  end
  if not state.stored or cjson.encode(session) ~= state.saved then
    session:save()
  elseif state.store.touch then
    check(state.store:touch(state.id, settings.max_age))
  end
  if state.id ~= state.sent or settings.rolling then
    res:setCookie(settings.name, state.id, settings.attributes)
  end
end

local function check_store(store)
  for _, method in ipairs { "get", "set", "destroy" } do
    if type(store[method]) ~= "function" then
      usage.fail(2, "%s: option 'store' has no method %s; see clua.connect.memory_store", NAME, method)
    end
  end
end

--- Makes the middleware. `req.session` is a table for what JSON can hold, with the methods `id()`, `regenerate()`,
-- `destroy()` (so does `req.session = nil`), `save()`. It is stored, and a cookie sent, when something
-- is in it; of requests in parallel the last wins.
--
-- **The default store is the memory of one worker**: with more than one, a visitor is known to one of them only. Use
-- cookieSession, or a store that they share: clua.connect.file_store; its interface is in clua.connect.memory_store.
-- @tparam[opt] table given options:
-- @tparam[opt] table given.store
-- @tparam[opt=false] boolean given.save_uninitialized store, and send a cookie for, sessions with nothing in them
-- @tparam[opt="session"] string given.name of the cookie
-- @tparam[opt=86400] number given.max_age seconds without a visit after which the store forgets it
-- @tparam[opt=false] boolean given.rolling a cookie with every answer; else the browser forgets it max_age after the
--   first
-- @tparam[opt="/"] string given.path
-- @tparam[opt] string given.domain
-- @tparam[opt=false] boolean given.secure only over https: switch it on where there is https
-- @tparam[opt=true] boolean given.http_only
-- @tparam[opt="Lax"] string given.same_site
-- @treturn function(req, res, next) a store that cannot be read is next{ status = 503 }; one that cannot be written is
--   an error of the handler
-- @raise wrong options
return function(given)
  local settings = options.complete(options.check(given, KNOWN, NAME), DEFAULTS)
  settings.attributes = session_cookie.attributes(settings, NAME)
  if settings.store then
    check_store(settings.store)
  else
    settings.store = memory_store()
    if os.getenv("CLUA_ENV") == "production" then
      host.log("warn", "connect.session keeps sessions in the memory of this worker alone; give it a store:"
        .. " clua.connect.file_store")
    end
  end

  return function(req, res, next)
    local session, message = open(req, settings)
    if not session then return next { status = 503, message = "session: the store has failed: " .. message } end
    req.session = session
    res:onHead(function() on_head(req, res, session, settings) end)
    return next()
  end
end
