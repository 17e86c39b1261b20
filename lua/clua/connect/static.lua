--- Serves the files of a directory: `app:use(connect.static(root, options))`.
--
-- Nothing outside of root is ever served: not by any spelling of "..", and not by a symbolic link. Answers carry ETag
-- and Last-Modified; conditional requests, ranges and HEAD are understood. The bytes go by sendfile(2), as the client
-- takes them.
-- @module clua.connect.static

local condition = require "clua.connect.condition"
local file = require "clua.http.file"
local final = require "clua.connect.final"
local memo = require "clua.memo"
local mime = require "clua.mime"
local options = require "clua.options"
local paths = require "clua.connect.path"
local root_of = require "clua.connect.root"
local usage = require "clua.usage"

-- ---- answers ---------------------------------------------------------------------------------------------------

local function send_file(req, res, method, settings, name, fd, size, modified, etag)
  local headers = file.conditions(req)
  if headers and condition.status(headers, etag, modified) == 412 then return 412 end
  if settings.cache_control then res:setHeader("Cache-Control", settings.cache_control) end
  file.answer(res, fd, size, etag, modified, mime.type(name), method, headers)
end

-- The file that a request names, relative to the root. A middleware mounted at /docs sees "/" for /docs too, whose
-- relative links would go astray: that is the directory without its slash.
local function name_of(req, settings)
  local _, raw = paths.split(req.url)
  local relative = settings.relative(raw)
  if type(relative) == "number" then return nil, relative, "refused path" end
  if relative ~= "" and relative:sub(-1) ~= "/" then return relative end
  if relative == "" and req.originalUrl then
    local _, original = paths.split(req.originalUrl)
    if original:sub(-1) ~= "/" then return "" end
  end
  if not settings.index then return nil, 404, "no index" end
  return relative .. settings.index
end

-- Answers, and returns nothing; or returns status and message of why it did not.
local function serve(req, res, method, settings)
  local name, status, message = name_of(req, settings)
  if not name then return status, message end
  local fd, kind, size, modified, etag = root_of.open(settings.root, name)
  if not fd then return kind, size end
  if kind == "directory" then
    root_of.close(fd)
    return paths.add_slash(req, res)
  end
  local ok, result = pcall(send_file, req, res, method, settings, name, fd, size, modified, etag)
  root_of.close(fd)
  if not ok then error(result, 0) end
  if result == 412 then return 412, "precondition failed" end
end

-- ---- options ---------------------------------------------------------------------------------------------------

local KNOWN = {
  dotfiles = "boolean", fallthrough = "boolean", index = "string|boolean", max_age = "number|boolean",
}
local DEFAULTS = { dotfiles = false, fallthrough = true, index = "index.html", max_age = 0 }

local NAME = "static(root, options)"

local function settings_of(root, given)
  given = options.check(given, KNOWN, NAME, 3)
  local settings = {}
  for name, default in pairs(DEFAULTS) do
    settings[name] = default
    if given[name] ~= nil then settings[name] = given[name] end
  end
  if settings.index == true or settings.index == "" or tostring(settings.index):find("/", 1, true) then
    usage.fail(2, "%s: option 'index' must be a file name or false", NAME)
  end
  if settings.max_age == true then usage.fail(2, "%s: option 'max_age' must be a number of seconds or false", NAME) end
  settings.relative = memo(function(raw)
    local relative, status = paths.relative(raw, settings.dotfiles)
    return relative or status
  end)
  settings.cache_control = settings.max_age and ("public, max-age=%d"):format(settings.max_age)
  settings.root = root_of.real(NAME, root, 2)
  return settings
end

--- Makes a middleware that serves files.
--
-- GET and HEAD of an existing file answer 200, 206, 304, 412 or 416 with Content-Type (clua.mime), Content-Length,
-- ETag and Last-Modified; a directory without its slash 301. Everything else is not for static: with `fallthrough` it
-- calls next(); without, next{ status = ... } with 400 (malformed path), 403 (refused), 404, or 405. A failing disk or
-- a lack of descriptors is next{ status = 500 } in both cases. Without a next (as sole handler of a server) it answers
-- itself.
-- @tparam string root path of the directory
-- @tparam[opt] table given options:
-- @tparam[opt="index.html"] string|false given.index file that stands for its directory; false: none does
-- @tparam[opt=false] boolean given.dotfiles whether names that begin with a dot are served
-- @tparam[opt=0] number|false given.max_age seconds for Cache-Control (0: ask each time); false: no such header
-- @tparam[opt=true] boolean given.fallthrough whether what is not found is left to the next middleware
-- @treturn function(req, res, next)
-- @raise wrong arguments, an unknown option, a root that is no directory
local function static(root, given)
  local settings = settings_of(root, given)
  return function(req, res, next)
    local status, message
    local method = req.method
    if method == "GET" or method == "HEAD" then
      status, message = serve(req, res, method, settings)
    else
      status, message = 405, "method " .. tostring(method)
    end
    if not status then return end
    next = next or final.handler(req, res)
    if status < 500 and status ~= 412 and settings.fallthrough then return next() end
    if status == 405 then res:setHeader("Allow", "GET, HEAD") end
    return next { status = status, message = message }
  end
end

return static
