--- Conditional requests (RFC 9110, section 13): may the answer be "you have it already"?
-- Pure functions of the request's headers and of what the file is now.
-- @module clua.connect.condition

local core = require "clua.core.http"
local date = require "clua.connect.date"

local condition = {}

--- A strong validator of a file: another content has another tag.
-- The change time in nanoseconds is as fine as the file system's clock; the inode catches the file that was renamed
-- over another of the same size and time, as deployment tools do.
-- @tparam table stat what uv.fs_fstat returns
-- @treturn string the quoted tag
function condition.etag(stat)
  return core.etag(stat.ino, stat.size, stat.mtime.sec, stat.mtime.nsec)
end

-- Is the tag in the list of a header? weak: W/"a" and "a" are the same (for caching); otherwise only strong tags match.
local function in_list(list, etag, weak)
  local at = 1
  while true do
    local mark, tag, after = list:match('^[%s,]*(W?/?)("[^"]*")()', at)
    if not mark then return false end
    local is_weak = mark == "W/"
    if tag == etag and (weak or not is_weak) and (is_weak or mark == "") then return true end
    at = after
  end
end

local function is_any(list)
  return list:match("^%s*(.-)%s*$") == "*"
end

-- Steps 1 and 2 of section 13.2.2: does the client insist on a state that is gone?
local function fails(headers, etag, modified)
  local match = headers["if-match"]
  if match then return not is_any(match) and not in_list(match, etag, false) end
  local since = date.parse(headers["if-unmodified-since"])
  return since ~= nil and modified > since
end

-- Steps 3 and 4: a tag outranks a date, since a date is only exact to the second.
local function is_fresh(headers, etag, modified)
  local none_match = headers["if-none-match"]
  if none_match then return is_any(none_match) or in_list(none_match, etag, true) end
  local since = date.parse(headers["if-modified-since"])
  return since ~= nil and modified <= since
end

--- Decides a GET or HEAD of a file that exists.
-- @tparam table headers the request's, names in lower case
-- @tparam string etag the current one, quoted
-- @tparam number modified seconds since 1970, whole (the time in Last-Modified)
-- @treturn number the status: 200 send it, 304 not modified, 412 precondition failed
function condition.status(headers, etag, modified)
  if fails(headers, etag, modified) then return 412 end
  return is_fresh(headers, etag, modified) and 304 or 200
end

return condition
