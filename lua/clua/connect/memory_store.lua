--- Where connect.session keeps sessions by default: the memory of this one worker.
--
-- Per worker: another worker does not know them, and they end with it (a reload ends it). Good for a prototype with one
-- worker. What replaces it is any table with these methods, each of which may wait:
--
--     store:get(id)                     -> text; nil when there is none; nil, message when it cannot tell
--     store:set(id, text, ttl, is_new)  -> true; nil, message. ttl: seconds. Unless is_new, an unknown id (destroyed
--                                          meanwhile by another request) must stay unknown
--     store:touch(id, ttl)              -> as set, for the time alone; may be missing
--     store:destroy(id)                 -> as set; an unknown id is no error
-- @module clua.connect.memory_store

local usage = require "clua.usage"
local uv = require "luv"

local Store = {}
Store.__index = Store

local function now() return uv.hrtime() / 1e9 end

local function unlink(self, entry)
  entry.before.after, entry.after.before = entry.after, entry.before
  self.entries[entry.id] = nil
  self.count = self.count - 1
end

-- A ring with a head: behind it the entry that was used last, before it the one that was used first.
local function link(self, entry)
  entry.before, entry.after = self.head, self.head.after
  entry.after.before, self.head.after = entry, entry
  self.entries[entry.id] = entry
  self.count = self.count + 1
end

-- The entry, or nil when there is none any more.
local function find(self, id)
  local entry = self.entries[id]
  if entry and entry.expires <= self.clock() then
    unlink(self, entry)
    return nil
  end
  return entry
end

-- Makes room: the oldest go when they have expired, or when there are too many.
local function prune(self)
  local time = self.clock()
  while self.count > 0 and (self.head.before.expires <= time or self.count >= self.max) do
    unlink(self, self.head.before)
  end
end

function Store:get(id)
  local entry = find(self, id)
  return entry and entry.text
end

function Store:set(id, text, ttl, is_new)
  local old = find(self, id)
  if not old and not is_new then return true end
  if old then unlink(self, old) end
  prune(self)
  link(self, { id = id, text = text, expires = self.clock() + ttl })
  return true
end

function Store:touch(id, ttl)
  local entry = find(self, id)
  return self:set(id, entry and entry.text, ttl, false)
end

function Store:destroy(id)
  local entry = self.entries[id]
  if entry then unlink(self, entry) end
  return true
end

--- Makes a store.
-- @tparam[opt=10000] number max sessions; one more, and the one that was not used for the longest time goes
-- @tparam[opt] function clock seconds, for specs
return function(max, clock)
  if max ~= nil and not (type(max) == "number" and max >= 1) then
    usage.fail(1, "memory_store(max): a number of sessions, 1 or more, is expected, got %s", tostring(max))
  end
  local head = { expires = math.huge }
  head.before, head.after = head, head
  return setmetatable({ entries = {}, count = 0, head = head, max = max or 10000, clock = clock or now }, Store)
end
