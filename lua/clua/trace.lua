--- Errors as a person wants them: message, the source line, and the functions of the application that led there,
-- without clua's own. The one place where errors become text: what is logged, printed, and shown in a browser.
--
--     app.lua:12: attempt to index local 'user' (a nil value)
--        12 |  return user.name
--     stack traceback:
--         app.lua:12: in function 'greet'
--         app.lua:20: in function <app.lua:18>
--
-- lua_host.c calls describe() for every error that nobody has caught.
-- @module clua.trace

local trace = {}

local FRAMES_MAX = 40
local LEVELS_MAX = 200
local CONTEXT = 3 -- lines before and after
local FILE_MAX = 1024 * 1024 -- bytes; who generates longer ones finds the line without us

--- Whether who asks may see what went wrong: unless the environment has CLUA_ENV=production.
-- @treturn boolean
function trace.development()
  return os.getenv("CLUA_ENV") ~= "production"
end

-- ---- frames --------------------------------------------------------------------------------------------------------

-- LuaJIT forgets the line of a function that has failed in the middle of its own code: the message still has it.
local function line_of(info, message)
  if info.currentline > 0 then return info.currentline end
  local prefix = info.short_src .. ":"
  return message and message:sub(1, #prefix) == prefix and tonumber(message:match("^%d+", #prefix + 1)) or nil
end

local function add_frame(list, info, message)
  local file, line = info.source:match("^@(.+)$"), line_of(info, message)
  if not file or not line or #list >= FRAMES_MAX then return end
  list[#list + 1] = {
    file = file, line = line, name = info.name, short = info.short_src, what = info.what,
    defined = info.linedefined,
  }
end

local function is_own(info)
  return info.source:find("^@clua/") ~= nil
end

-- get(level) -> info. Own frames are left out.
local function collect(get, message)
  local list = {}
  for level = 0, LEVELS_MAX do
    local info = get(level)
    if not info then break end
    if not is_own(info) then add_frame(list, info, message) end
  end
  return list
end

--- The frames of the running coroutine that are Lua and not clua's own, the innermost first. For a handler of xpcall.
-- @tparam number level of the first one, as for debug.getinfo() in the caller
-- @treturn table list of { file =, line =, name = }
function trace.frames(level)
  return collect(function(i) return debug.getinfo(level + 2 + i, "Sln") end)
end

--- The same of a coroutine that has ended with an error.
-- @tparam thread co
-- @tparam[opt] string message of the error
function trace.frames_of(co, message)
  return collect(function(i) return debug.getinfo(co, i, "Sln") end, message)
end

--- One frame in a line: "/srv/app/users.lua:12 in find".
function trace.frame(frame)
  return ("%s:%d%s"):format(frame.file, frame.line, frame.name and " in " .. frame.name or "")
end

-- ---- source --------------------------------------------------------------------------------------------------------

--- The lines around a place, from its file as it is now.
-- @tparam table place { file =, line = }
-- @tparam[opt=3] number context lines before and after
-- @treturn ?table list of { number =, text =, here = }; nil when the file cannot be read
function trace.source(place, context)
  context = context or CONTEXT
  local file = io.open(place.file, "r")
  if not file then return nil end
  local bytes = file:read(FILE_MAX + 1) -- nil for a directory
  file:close()
  if not bytes or #bytes > FILE_MAX then return nil end
  local lines, number = {}, 0
  for text in (bytes .. "\n"):gmatch("(.-)\r?\n") do
    number = number + 1
    if number > place.line + context then break end
    if number >= place.line - context then
      lines[#lines + 1] = { number = number, text = text, here = number == place.line }
    end
  end
  return lines[1] and lines or nil
end

local function source_line(place)
  local lines = trace.source(place, 0)
  local text = lines and lines[1].here and lines[1].text:match("^%s*(.-)%s*$")
  if not text or text == "" then return "" end
  return ("\n%6d |  %s"):format(place.line, text)
end

-- Where an error was raised: the frame that its message names. Only what stands on the stack is believed: a message may
-- be made of what a client has sent, and must not name a file to be shown.
local function place_of(message, frames)
  for _, frame in ipairs(frames) do
    local prefix = frame.short .. ":" .. frame.line .. ":"
    if message:sub(1, #prefix) == prefix then return frame end
  end
  return nil
end

-- ---- errors --------------------------------------------------------------------------------------------------------

local function frame_text(frame)
  local where = ("\n\t%s:%d: in "):format(frame.file, frame.line)
  if frame.name then return where .. ("function '%s'"):format(frame.name) end
  if frame.what == "main" then return where .. "main chunk" end
  return where .. ("function <%s:%d>"):format(frame.file, frame.defined or frame.line)
end

local function text_of(message, frames)
  local parts = { message }
  local place = place_of(message, frames)
  if place then parts[2] = source_line(place) end
  parts[#parts + 1] = "\nstack traceback:"
  for _, frame in ipairs(frames) do parts[#parts + 1] = frame_text(frame) end
  return table.concat(parts)
end

-- A mistake of clua itself is told with everything, as is one that no frame of an application led to.
local function is_bug(message, frames)
  return #frames == 0 or message:find("^clua/[%w_/]+%.lua:%d+:") ~= nil
end

--- Text of an error of the running coroutine, for a handler of xpcall: message, source line, traceback.
-- @tparam string message
-- @tparam[opt=1] number level of the first frame, as for debug.traceback() in the caller
-- @treturn string
function trace.text(message, level)
  level = (level or 1) + 1
  local frames = trace.frames(level)
  if is_bug(message, frames) then return debug.traceback(message, level) end
  return text_of(message, frames)
end

--- For xpcall: the text of whatever was raised.
function trace.handler(err)
  local ok, message = pcall(tostring, err)
  return trace.text(ok and message or ("(error object is a %s value)"):format(type(err)), 2)
end

--- Text of an error that has ended a coroutine; lua_host.c asks.
-- @tparam string message
-- @tparam thread co
-- @treturn string
function trace.describe(message, co)
  local frames = trace.frames_of(co, message)
  if is_bug(message, frames) then return debug.traceback(co, message) end
  local text = text_of(message, frames)
  trace.last = { text = text, message = message, frames = frames }
  return text
end

--- Text of an error of loadfile(), or of require() for a file that does not compile: message and the line itself.
-- @tparam string message of ours, never one that a client has a part in: its file is read
-- @tparam[opt] string path of the file, which a message may have shortened
-- @treturn string
function trace.syntax(message, path)
  local short = message:match("^error loading module .-:\n%s*(.*)$") or message
  if path then short = short:gsub("^[^\n]-(:%d+: )", function(rest) return path .. rest end) end
  local file, line = short:match("^([^\n]-):(%d+): ")
  if not file then return short end
  local shown = source_line { file = file, line = tonumber(line) }
  if shown == "" then shown = source_line { file = file, line = tonumber(line) - 1 } end -- at the end of the file
  return short .. shown
end

-- ---- the page ------------------------------------------------------------------------------------------------------

local PAGE = [[
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>%d %s</title>
<style>
%s
pre { background: #8882; padding: .8em; overflow: auto }
b { background: #f003; display: block }
</style>
</head>
<body>
<h1>%d %s</h1>
%s</body>
</html>
]]

--- What a page of page() needs: nothing from elsewhere, no script.
trace.PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

local function source_html(frame, escape)
  local lines = {}
  for i, line in ipairs(trace.source(frame) or {}) do
    local text = ("%5d  %s"):format(line.number, escape(line.text))
    lines[i] = line.here and "<b>" .. text .. "</b>" or text .. "\n"
  end
  return #lines > 0 and "<pre>" .. table.concat(lines) .. "</pre>\n" or ""
end

--- A page that shows an error.
-- @tparam table details `status`, `reason`; as far as they are to be shown `message` and `frames`
-- @treturn string HTML
function trace.page(details)
  local html = require "clua.connect.html"
  local escape, parts = html.escape, {}
  if details.message then parts[1] = "<pre>" .. escape(details.message) .. "</pre>\n" end
  local list = details.frames or {}
  if list[1] then
    local shown = place_of(details.message or "", list) or list[1]
    parts[#parts + 1] = ("<p>%s</p>\n%s<ol>\n"):format(escape(trace.frame(shown)), source_html(shown, escape))
    for _, frame in ipairs(list) do parts[#parts + 1] = "<li>" .. escape(trace.frame(frame)) .. "</li>\n" end
    parts[#parts + 1] = "</ol>\n"
  end
  local reason = escape(details.reason)
  return PAGE:format(details.status, reason, html.STYLE, details.status, reason, table.concat(parts))
end

--- Answers an error with a page, while developing and to a client that asks for HTML by name; else does nothing.
-- @tparam table req
-- @tparam table res nothing of it has been sent
-- @tparam table details as for page()
-- @treturn boolean whether it has answered
function trace.answer(req, res, details)
  local wanted = req.headers and req.headers.accept
  if not trace.development() or not wanted or not wanted:lower():find("text/html", 1, true) then return false end
  res.statusCode = details.status
  res:setHeader("Content-Type", "text/html; charset=utf-8")
  res:setHeader("Cache-Control", "no-store")
  res:setHeader("Content-Security-Policy", trace.PAGE_POLICY)
  res:finish(trace.page(details))
  return true
end

--- Message and frames of an error whose text describe() has made just now.
-- @tparam string text
-- @treturn table { message =, frames = }
function trace.details(text)
  local last = trace.last
  if last and last.text == text then return { message = last.message, frames = last.frames } end
  return { message = text }
end

return trace
