--- Templates: `app:use(connect.views(__dirname .. "/views"))` gives `res:render(name, values)`.
--
-- The templates are Penlight's (pl.template): `@{expression}` is its value, escaped for HTML; a line that begins with
-- `%` is Lua. `@{raw(html)}` is not escaped, `@{render("name", values)}` is another template.
-- @module clua.connect.views

local uv = require "luv"
local html = require "clua.connect.html"
local options = require "clua.options"
local root_of = require "clua.connect.root"
local usage = require "clua.usage"

local NAME = "views(folder, options)"
local KNOWN = { cache = "boolean", extension = "string", globals = "table" }
local SYNTAX = { escape = "%%", inline_escape = "@", inline_brackets = "{}" }
local SIZE_MAX = 4 * 1024 * 1024

-- What a template sees besides its values: nothing that reads or changes the world.
local BASE = {
  ipairs = ipairs, pairs = pairs, next = next, select = select, tonumber = tonumber, tostring = tostring, type = type,
  math = math, string = string, table = table, date = os.date, escape = html.escape,
}

local Raw = {}

local function raw(value)
  return setmetatable({ text = tostring(value) }, Raw)
end

-- What stands for an expression.
local function show(value)
  if getmetatable(value) == Raw then return value.text end
  return html.escape(value)
end

-- Names with a dot at the beginning of a segment, ".." among them, backslashes, NUL and the like are none.
local function is_name(name)
  if type(name) ~= "string" or name:find("[^%w_./-]") then return false end
  return not (name:find("^[/.]") or name:find("/[/.]") or name == "" or name:find("/$"))
end

-- The text of a file below the folder. Not in the background: templates are small, and read once.
local function read(folder, file)
  local fd, message = uv.fs_open(folder .. "/" .. file, "r", 0)
  if not fd then return nil, message end
  local real, stat, text = uv.fs_readlink("/proc/self/fd/" .. fd), uv.fs_fstat(fd), nil
  if real and real:sub(1, #folder + 1) == folder .. "/" and stat and stat.type == "file" and stat.size <= SIZE_MAX then
    text = uv.fs_read(fd, stat.size, 0)
  end
  uv.fs_close(fd)
  if not text then return nil, file .. " is no file of the views folder that can be read" end
  return text, stat
end

local function compile(text, file)
  local template = require "pl.template"
  local syntax = { chunk_name = "=" .. file }
  for name, value in pairs(SYNTAX) do syntax[name] = value end
  local compiled, message = template.compile(text, syntax)
  if not compiled then error(("template %s: %s"):format(file, message), 0) end
  compiled.env.__tostring = show
  return compiled
end

local Views = {}
Views.__index = Views

-- The compiled template, again when the file has changed (inode, size and time); in production it is not looked at.
local function load(self, name)
  local file = name .. self.extension
  local known = self.known[file]
  if known and self.cache then return known end
  local stat = known and uv.fs_stat(self.folder .. "/" .. file)
  if stat and stat.ino == known.ino and stat.size == known.size and stat.mtime.sec == known.sec
    and stat.mtime.nsec == known.nsec then
    return known
  end
  local text, now = read(self.folder, file)
  if not text then error(("render: no template '%s': %s"):format(name, now), 0) end
  known = {
    file = file, text = text, compiled = compile(text, file), ino = now.ino, size = now.size, sec = now.mtime.sec,
    nsec = now.mtime.nsec,
  }
  self.known[file] = known
  return known
end

--- Renders a template.
-- @tparam string name below the folder, without the extension
-- @tparam[opt] table values
-- @treturn string
-- @raise an unknown or malformed name, an error in the template
function Views:render(name, values)
  if not is_name(name) then error(("render: '%s' is no name of a template"):format(tostring(name)), 0) end
  local known = load(self, name)
  -- A template has one environment: while it is being rendered (it waits, or has called itself) another copy is needed.
  local compiled = known.busy and compile(known.text, known.file) or known.compiled
  local is_first = not known.busy
  known.busy = true
  values = values or {}
  local scope = {
    raw = raw,
    render = function(other, its_values) return raw(self:render(other, its_values or values)) end,
  }
  setmetatable(scope, { __index = function(_, key)
    local value = values[key]
    if value ~= nil then return value end
    value = self.globals[key]
    if value ~= nil then return value end
    return BASE[key]
  end })
  local text, message = compiled:render(scope)
  if is_first then known.busy = nil end
  if not text then error(("template %s: %s"):format(known.file, message), 0) end
  return text
end

--- Makes the middleware that gives `res:render(name [, values [, status]])`: answers with a template, as text/html
-- unless Content-Type is set.
-- @tparam string folder
-- @tparam[opt] table given options:
-- @tparam[opt] boolean given.cache whether a file that has changed is not looked at again; default: in production
-- (CLUA_ENV)
-- @tparam[opt=".html"] string given.extension
-- @tparam[opt] table given.globals values that every template sees
-- @treturn function(req, res, next)
-- @raise wrong arguments, an unknown option, a folder that is none
return function(folder, given)
  given = options.check(given, KNOWN, NAME)
  local cache = given.cache
  if cache == nil then cache = os.getenv("CLUA_ENV") == "production" end
  if given.extension and not given.extension:find("^%.[%w.]+$") then
    usage.fail(1, "%s: option 'extension' is like '.html', got '%s'", NAME, given.extension)
  end
  local self = setmetatable({
    folder = root_of.real(NAME, folder, 1, "folder"), extension = given.extension or ".html", cache = cache, known = {},
    globals = given.globals or {},
  }, Views)
  local function render(res, name, values, status)
    local text = self:render(name, values)
    if status then res.statusCode = status end
    if not res:getHeader("Content-Type") then res:setHeader("Content-Type", "text/html; charset=utf-8") end
    return res:finish(text)
  end
  return function(_, res, next)
    res.render = render
    return next()
  end
end
