--- Lists directories: `app:use(connect.static(root), connect.directory(root))`.
-- @module clua.connect.directory

local uv = require "luv"
local accept = require "clua.connect.accept"
local async = require "clua.async"
local date = require "clua.connect.date"
local final = require "clua.connect.final"
local html = require "clua.connect.html"
local options = require "clua.options"
local paths = require "clua.connect.path"
local root_of = require "clua.connect.root"
local trace = require "clua.trace"
local vary = require "clua.connect.vary"

local NAME = "directory(root, options)"
local KNOWN = { hidden = "boolean", fallthrough = "boolean" }
local OFFERS = { "text/html", "application/json", "text/plain" }

local function before(a, b)
  local a_dir, b_dir = a.type == "directory", b.type == "directory"
  if a_dir ~= b_dir then return a_dir end
  return a.name < b.name
end

-- What is in the open directory: it, and not what has its name by now. Links are listed, but not followed: what they
-- lead to may lie outside.
local function read(fd, hidden)
  local place = "/proc/self/fd/" .. fd
  local request, message = async.call(uv.fs_scandir, place)
  if not request then return nil, message end
  local list = {}
  for name in function() return uv.fs_scandir_next(request) end do
    local stat = (hidden or name:sub(1, 1) ~= ".") and async.call(uv.fs_lstat, place .. "/" .. name)
    if stat then
      local is_file = stat.type == "file"
      list[#list + 1] = {
        name = name, type = stat.type, size = is_file and stat.size or nil, modified = stat.mtime.sec,
      }
    end
  end
  table.sort(list, before)
  return list
end

-- ---- the three forms -------------------------------------------------------------------------------------------

local function encode(name)
  return (name:gsub("[^%w._~-]", function(byte) return ("%%%02X"):format(byte:byte()) end))
end

local UNITS = { "bytes", "KiB", "MiB", "GiB", "TiB" }

-- For a person; JSON has the bytes.
local function size_of(bytes)
  local unit = 1
  while bytes >= 1024 and unit < #UNITS do bytes, unit = bytes / 1024, unit + 1 end
  return (unit == 1 and "%d %s" or "%.1f %s"):format(bytes, UNITS[unit])
end

local function as_html(list, title, is_top)
  local rows = {}
  if not is_top then rows[1] = '<tr><td><a href="../">../</a></td><td></td><td></td></tr>' end
  for _, entry in ipairs(list) do
    local slash = entry.type == "directory" and "/" or ""
    local size = entry.size and size_of(entry.size) or ""
    rows[#rows + 1] = ('<tr><td><a href="./%s%s">%s%s</a></td><td>%s</td><td>%s</td></tr>'):format(encode(entry.name),
      slash, html.escape(entry.name), slash, size, date.format(entry.modified))
  end
  title = html.escape(title)
  return ([[
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>%s</title>
<style>
%s
table { border-collapse: collapse; width: 100%% }
td { padding: .2em .8em; border-bottom: 1px solid #8884; overflow-wrap: anywhere }
td + td { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
</style>
</head>
<body>
<h1>%s</h1>
<table>
%s
</table>
</body>
</html>
]]):format(title, html.STYLE, title, table.concat(rows, "\n"))
end

local function as_json(list)
  local cjson = require "cjson"
  return (#list == 0 and "[]" or cjson.encode(list)) .. "\n"
end

-- A name may hold a line end: one line is one name.
local function as_text(list)
  local lines = {}
  for i, entry in ipairs(list) do
    lines[i] = entry.name:gsub("%c", "?") .. (entry.type == "directory" and "/" or "") .. "\n"
  end
  return table.concat(lines)
end

local function answer(req, res, list)
  local form = accept.best(req.headers.accept, OFFERS)
  local _, raw = paths.split(req.originalUrl or req.url)
  local _, below = paths.split(req.url)
  local body
  if form == "text/html" then
    body = as_html(list, paths.decode(raw), not below:find("[^/]"))
  else
    body = form == "application/json" and as_json(list) or as_text(list)
  end
  vary(res, "Accept")
  res:setHeader("Content-Type", form == "application/json" and form or (form or "text/plain") .. "; charset=utf-8")
  res:setHeader("Content-Security-Policy", trace.PAGE_POLICY)
  res:setHeader("X-Content-Type-Options", "nosniff")
  res:finish(body)
end

local function serve(req, res, directory, hidden)
  local _, raw = paths.split(req.url)
  local relative, status = paths.relative(raw, hidden)
  if not relative then return status, "refused path" end
  local fd, kind, message = root_of.open(directory, relative)
  if not fd then return kind, message end
  local _, original = paths.split(req.originalUrl or req.url)
  local list
  if kind == "directory" and original:sub(-1) == "/" then
    local ok
    ok, list, message = pcall(read, fd, hidden)
    if not ok then list, message = nil, list end
  end
  root_of.close(fd)
  if kind ~= "directory" then return 404, "not a directory" end
  if original:sub(-1) ~= "/" then return paths.add_slash(req, res) end
  if not list then return 500, message end
  answer(req, res, list)
end

--- Makes a middleware that lists the directories below root to GET and HEAD: as a page, as JSON (a list of `name`,
-- `type`, `size` in bytes, `modified` in seconds since 1970) or as text, by Accept. Directories first, then by name.
-- Links are listed as such.
-- @tparam string root
-- @tparam[opt] table given options:
-- @tparam[opt=false] boolean given.hidden whether names that begin with a dot are listed
-- @tparam[opt=true] boolean given.fallthrough whether what is no directory is left to the next middleware; false: 404,
-- 403, 400 or 405
-- @treturn function(req, res, next)
-- @raise wrong arguments, an unknown option, a root that is no directory
return function(root, given)
  given = options.check(given, KNOWN, NAME)
  local directory = root_of.real(NAME, root, 1)
  return function(req, res, next)
    next = next or final.handler(req, res)
    local status, message
    if req.method == "GET" or req.method == "HEAD" then
      status, message = serve(req, res, directory, given.hidden)
    else
      status, message = 405, "method " .. tostring(req.method)
    end
    if not status then return end
    if status < 500 and given.fallthrough ~= false then return next() end
    if status == 405 then res:setHeader("Allow", "GET, HEAD") end
    return next { status = status, message = message }
  end
end
