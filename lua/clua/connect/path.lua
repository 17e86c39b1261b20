--- From the path of a URL to the path of a file below a root, and to nothing outside it.
-- @module clua.connect.path

local path = {}

local SLASH = ("/"):byte()

--- Splits a request target.
-- @tparam string url "/a/b?c", or the absolute form "http://host/a/b?c" that proxies send
-- @treturn string scheme and host of the absolute form, else ""
-- @treturn string the path, still encoded; begins with "/" unless the target is "*" or empty
-- @treturn string what follows the path, "?" included, or ""
function path.split(url)
  if url:byte() == SLASH and not url:find("?", 1, true) and not url:find("#", 1, true) then return "", url, "" end
  local origin = url:match("^%a[%w+.-]*://[^/?#]*") or ""
  local rest = url:sub(#origin + 1)
  local raw, query = rest:match("^([^?#]*)(.*)$")
  return origin, raw, query
end

local function byte(hex)
  return string.char(tonumber(hex, 16))
end

--- Decodes %XX once.
-- @tparam string text
-- @treturn ?string nil when a % is not followed by two hexadecimal digits
function path.decode(text)
  if text:gsub("%%%x%x", ""):find("%", 1, true) then return nil end
  return (text:gsub("%%(%x%x)", byte))
end

-- Judged after its one decoding, so that no encoding of a bad segment is overlooked; a slash in it was encoded.
local function refusal(segment, dotfiles)
  if segment:find("[%z/\\]") then return 400 end
  if segment == "." or segment == ".." then return 403 end
  if segment:sub(1, 1) == "." and not dotfiles then return 403 end
end

--- The file that a URL's path names.
-- @tparam string raw the path as sent, still encoded
-- @tparam[opt=false] boolean dotfiles whether segments that begin with a dot are allowed (".." never is)
-- @treturn ?string the path relative to the root, "" for the root itself, with a "/" at the end if the URL has one
-- @treturn ?number instead: 400 when the path is malformed (bad %XX, NUL, backslash, encoded slash), 403 when refused
function path.relative(raw, dotfiles)
  if raw:sub(1, 1) ~= "/" then return nil, 400 end
  local segments = {}
  for encoded in raw:gmatch("[^/]+") do
    local segment = path.decode(encoded)
    local status = segment and refusal(segment, dotfiles)
    if not segment or status then return nil, status or 400 end
    segments[#segments + 1] = segment
  end
  local slash = #segments > 0 and raw:sub(-1) == "/" and "/" or ""
  return table.concat(segments, "/") .. slash
end

--- Redirects to the same path with a slash, so that relative links in a directory work. Only ever to a path of this
-- host: "//evil" at the start would name another one.
function path.add_slash(req, res)
  local _, raw, query = path.split(req.originalUrl or req.url)
  local location = raw:gsub("^[/\\]+", "/") .. "/" .. query
  local text = "Moved to " .. location .. "\n"
  res.statusCode = 301
  res:setHeader("Location", location)
  res:setHeader("Content-Type", "text/plain; charset=utf-8")
  res:setHeader("Content-Length", #text)
  res:finish(text)
end

return path
