-- The memory of the chat: numbers messages, appends them to a file, tells every worker of the registration arg[2].
--
-- It may be killed at any moment: the file is read again at the start, and a worker repeats what has not been
-- confirmed. A message that comes twice is known by its key. During a reload there are two hubs: the one that has the
-- lock of the file answers, the other is silent until it gets it, when the first has ended.
local cluster = require "clua"
local ffi = require "ffi"
local json = require "cjson"
local timer = require "clua.timer"
local uv = require "luv"

local path, audience = arg[1], arg[2]
local KEPT = 500 -- messages that a client can catch up on
local messages, by_key, last = {}, {}, 0

ffi.cdef "int flock(int fd, int operation);"
local LOCK_EX, LOCK_NB = 2, 4

local worker = cluster.Worker()
local fd = assert(uv.fs_open(path, "a+", tonumber("600", 8)))

local function keep(message)
  last = message.id
  messages[#messages + 1] = message
  by_key[message.key] = message
  if #messages > KEPT then by_key[table.remove(messages, 1).key] = nil end
end

local function load()
  local text = assert(uv.fs_read(fd, uv.fs_fstat(fd).size, 0))
  for line in text:gmatch("[^\n]+") do
    local ok, message = pcall(json.decode, line)
    if ok then keep(message) end -- one that was cut off has not been confirmed
  end
  if text ~= "" and text:sub(-1) ~= "\n" then assert(uv.fs_write(fd, "\n", -1)) end
end

-- In pieces: a message between processes has at most 64 KiB.
local function send_history(name, pid, after)
  local piece = {}
  for _, message in ipairs(messages) do
    if message.id > after then piece[#piece + 1] = message end
    if #piece == 20 then
      worker:broadcast(name, { kind = "history", messages = piece }, pid)
      piece = {}
    end
  end
  worker:broadcast(name, { kind = "history", messages = piece, complete = true }, pid)
end

local function answer(message, from, pid)
  if message.kind == "catch up" then return send_history(from, pid, message.after) end
  if message.kind ~= "say" then return end
  local known = by_key[message.key]
  if not known then
    known = { id = last + 1, key = message.key, name = message.name, text = message.text, time = os.time() }
    assert(uv.fs_write(fd, json.encode(known) .. "\n", -1))
    keep(known)
  end
  worker:broadcast(audience, { kind = "said", message = known })
end

local function take_over()
  if ffi.C.flock(fd, LOCK_EX + LOCK_NB) ~= 0 then return false end
  load()
  worker:on("message", answer)
  return true
end

local answering = take_over()
if not answering then
  timer.every(0.02, function(waiting)
    answering = take_over()
    if answering then waiting:stop() end
  end)
end

-- Who has missed something, the last message even, asks for it.
timer.every(1, function()
  if answering then worker:broadcast(audience, { kind = "state", last = last }) end
end)
worker:ready()
