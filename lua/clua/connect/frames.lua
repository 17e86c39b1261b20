--- Where an error came from, as a person wants to see it: functions of the application, with their source lines.
-- @module clua.connect.frames

local frames = {}

local FRAMES_MAX = 40
local CONTEXT = 3 -- lines before and after

--- The frames of the running coroutine that are Lua and not clua's own, the innermost first. For a handler of xpcall.
-- @tparam number level of the first one, as for debug.getinfo() in the caller
-- @treturn table list of { file =, line =, name = }
function frames.collect(level)
  local list = {}
  for i = level + 1, level + 200 do
    local info = debug.getinfo(i, "Sln")
    if not info or #list >= FRAMES_MAX then break end
    local file = info.source:match("^@(.+)$")
    if file and info.currentline > 0 and not file:find("^clua/") then
      list[#list + 1] = { file = file, line = info.currentline, name = info.name }
    end
  end
  return list
end

--- One frame in a line: "/srv/app/users.lua:12 in find".
function frames.text(frame)
  return ("%s:%d%s"):format(frame.file, frame.line, frame.name and " in " .. frame.name or "")
end

--- The lines around a frame, from its file as it is now.
-- @tparam table frame
-- @treturn ?table list of { number =, text =, here = }; nil when the file cannot be read
function frames.source(frame)
  local file = io.open(frame.file, "r")
  if not file then return nil end
  local lines, number = {}, 0
  for text in file:lines() do
    number = number + 1
    if number > frame.line + CONTEXT then break end
    if number >= frame.line - CONTEXT then
      lines[#lines + 1] = { number = number, text = text, here = number == frame.line }
    end
  end
  file:close()
  return #lines > 0 and lines or nil
end

return frames
