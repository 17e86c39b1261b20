--- A terminal that is drawn on: its size, its keys, and giving it back as it was.
-- @module clua.control.screen

local uv = require "luv"

local Screen = {}
Screen.__index = Screen

local ENTER, LEAVE = "\27[?1049h\27[?25l", "\27[?25h\27[?1049l" -- the other page without a cursor, and back
local HOME, TO_LINE_END, TO_END = "\27[H", "\27[K", "\27[J"
local REVERSE, NORMAL = "\27[7m", "\27[m"
local STDIN, STDOUT = 0, 1

--- Whether standard output is a terminal.
function Screen.is_there()
  return uv.guess_handle(STDOUT) == "tty"
end

--- Whether it shows UTF-8, as the locale says.
function Screen.is_utf8()
  for _, name in ipairs { "LC_ALL", "LC_CTYPE", "LANG" } do
    local value = os.getenv(name)
    if value and value ~= "" then return value:lower():find "utf%-?8" ~= nil end
  end
  return false
end

local signals = { sigint = 2, sigterm = 15, sighup = 1 }

--- Takes the terminal.
-- @tparam table on `key(text)`, `resize()`, `signal(number)`
function Screen.enter(on)
  local self = setmetatable({ out = assert(uv.new_tty(STDOUT, false)), handles = {} }, Screen)
  if uv.guess_handle(STDIN) == "tty" then
    self.keys = assert(uv.new_tty(STDIN, true))
    self.keys:set_mode(1)
    self.keys:read_start(function(_, bytes)
      if bytes then on.key(bytes) end
    end)
  end
  for name, number in pairs(signals) do
    local handle = uv.new_signal()
    handle:start(name, function() on.signal(number) end)
    self.handles[#self.handles + 1] = handle
  end
  local handle = uv.new_signal()
  handle:start("sigwinch", on.resize)
  self.handles[#self.handles + 1] = handle
  io.stdout:write(ENTER)
  return self
end

--- Columns and rows.
function Screen:size()
  local width, height = self.out:get_winsize()
  if not width or width < 1 or height < 1 then return 80, 24 end
  return width, height
end

--- Shows lines instead of what is there, without a flicker.
-- @tparam table lines
-- @tparam number reversed which of them is shown in reverse
function Screen:draw(lines, reversed) -- luacheck: ignore self
  local parts = {}
  for i, line in ipairs(lines) do
    parts[i] = (i == reversed and REVERSE .. line .. NORMAL or line) .. TO_LINE_END
  end
  io.stdout:write(HOME, table.concat(parts, "\r\n"), TO_END)
  io.stdout:flush()
end

--- Gives it back. Once.
function Screen:leave()
  if self.left then return end
  self.left = true
  if self.keys then
    self.keys:set_mode(0)
    self.keys:close()
  end
  for _, handle in ipairs(self.handles) do handle:close() end
  self.out:close()
  io.stdout:write(LEAVE)
  io.stdout:flush()
end

return Screen
