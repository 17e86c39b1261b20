--- Answers /favicon.ico from memory, before anything is logged or looked up.
-- @module clua.connect.favicon

local condition = require "clua.connect.condition"
local mime = require "clua.mime"
local options = require "clua.options"
local path = require "clua.connect.path"
local usage = require "clua.usage"
local uv = require "luv"

local NAME = "favicon(path, options)"
local KNOWN = { max_age = "number" }
local LIMIT = 1024 * 1024 -- bytes; a bigger one is no icon

local function load(name)
  if type(name) ~= "string" then usage.fail(2, "%s: path must be a string, got %s", NAME, type(name)) end
  local file, message = io.open(name, "rb")
  if not file then usage.fail(2, "%s: %s", NAME, message) end
  local bytes = file:read(LIMIT + 1)
  file:close()
  if not bytes then usage.fail(2, "%s: %s cannot be read, or is empty", NAME, name) end
  if #bytes > LIMIT then usage.fail(2, "%s: %s has more than %d bytes", NAME, name, LIMIT) end
  local stat = uv.fs_stat(name)
  return bytes, condition.etag(stat), stat.mtime.sec
end

--- Makes the middleware. The file is read once, now.
-- @tparam string name path of the icon; its extension tells the type
-- @tparam[opt] table given options:
-- @tparam[opt=604800] number given.max_age seconds that a browser may keep it
-- @treturn function(req, res, next)
-- @raise wrong arguments, an unknown option, a file that cannot be read
return function(name, given)
  given = options.check(given, KNOWN, NAME)
  local bytes, etag, modified = load(name)
  local content_type = name:find("%.ico$") and "image/x-icon" or mime.type(name)
  local cache_control = ("public, max-age=%d"):format(given.max_age or 7 * 24 * 3600)
  return function(req, res, next)
    local _, raw = path.split(req.url)
    if raw ~= "/favicon.ico" then return next() end
    if req.method ~= "GET" and req.method ~= "HEAD" then
      res.statusCode = req.method == "OPTIONS" and 204 or 405
      res:setHeader("Allow", "GET, HEAD, OPTIONS")
      return res:finish()
    end
    res:setHeader("ETag", etag)
    res:setHeader("Cache-Control", cache_control)
    res.statusCode = condition.status(req.headers, etag, modified)
    if res.statusCode ~= 200 then return res:finish() end
    res:setHeader("Content-Type", content_type)
    res:finish(bytes)
  end
end
