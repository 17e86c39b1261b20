--- Event emitter with luvit's names. Handlers run in the order they were added, in the coroutine of who emits.
-- @module clua.emitter

local is_callable = require "clua.callable"

local Emitter = {}
Emitter.__index = Emitter

--- Makes an object an emitter of its own class, or a new plain emitter.
-- @tparam[opt] table object
-- @treturn Emitter
function Emitter.new(object)
  return setmetatable(object or {}, Emitter)
end

--- A class table whose instances are emitters: `local Socket = Emitter.class("Socket")`.
-- @tparam string name shown by tostring()
function Emitter.class(name)
  local class = setmetatable({}, { __index = Emitter })
  class.__index = class
  class.__name = name
  return class
end

local function handlers_of(self, event)
  local all = rawget(self, "_handlers")
  return all and all[event]
end

--- Calls fn(...) at every emit of the event.
-- @tparam string event
-- @tparam function fn or whatever can be called
-- @tparam[opt=1] number level for a method that calls this one: whose line an error names, 1 is who calls on()
-- @return self
function Emitter:on(event, fn, level)
  level = (level or 1) + 1
  if type(event) ~= "string" then error("on: event must be a string, got " .. type(event), level) end
  if not is_callable(fn) then
    error("on: a function is expected for event '" .. event .. "', got " .. type(fn), level)
  end
  local all = rawget(self, "_handlers")
  if not all then
    all = {}
    rawset(self, "_handlers", all)
  end
  -- A new list each time: an emit that is under way goes on over the old one.
  local list = { unpack(all[event] or {}) }
  list[#list + 1] = fn
  all[event] = list
  return self
end

--- The same, once.
function Emitter:once(event, fn, level)
  if not is_callable(fn) then error("once: a function is expected, got " .. type(fn), (level or 1) + 1) end
  local function wrapper(...)
    self:off(event, wrapper)
    return fn(...)
  end
  return self:on(event, wrapper, level) -- a tail call: the level is the same
end

--- Removes one handler, or all of the event.
-- @tparam string event
-- @tparam[opt] function fn
function Emitter:off(event, fn)
  local list = handlers_of(self, event)
  if not list then return self end
  local kept = {}
  if fn then
    for _, handler in ipairs(list) do
      if handler ~= fn then kept[#kept + 1] = handler end
    end
  end
  self._handlers[event] = #kept > 0 and kept or nil
  return self
end

--- Number of handlers of an event.
function Emitter:listenerCount(event)
  local list = handlers_of(self, event)
  return list and #list or 0
end

--- Calls the handlers. An error in one is the caller's.
-- @treturn boolean whether there was one
function Emitter:emit(event, ...)
  local list = handlers_of(self, event)
  if not list then return false end
  for i = 1, #list do
    list[i](...)
  end
  return true
end

return Emitter
