--- res:sendFile: a file as the answer, with all that RFC 9110 has for files: validators, conditions, ranges, stored
-- compressed variants. The bytes go from the page cache to the socket by sendfile(2).
-- @module clua.http.file

local uv = require "luv"
local core = require "clua.core.http"
local condition = require "clua.connect.condition"
local date = require "clua.connect.date"
local encoding = require "clua.http.encoding"
local head = require "clua.http.head"
local mime = require "clua.mime"
local options = require "clua.options"
local range = require "clua.http.range"

local file = {}

local NONE = {}

local known = {
  root = "string",
  type = "string",
  maxAge = "number",
  precompressed = "boolean",
  fallthrough = "boolean",
}

-- The variant that the client wants most and that is stored beside the file: its coding, and what core.open_file
-- returns. nil when there is none.
local function open_variant(path, accept)
  for _, coding in ipairs(encoding.acceptable(accept)) do
    local fd, size, modified, etag = core.open_file(path .. coding.extension)
    if fd then return coding.name, fd, size, modified, etag end
  end
end

local function under_root(root, path)
  if path:find("%z") then return nil, "the path contains NUL", "EINVAL" end
  for segment in path:gmatch("[^/]+") do
    if segment == ".." then return nil, "the path leaves the root", "EACCES" end
  end
  return root .. "/" .. path
end

local statuses = {
  ENOENT = 404, ENOTDIR = 404, EISDIR = 404, ENAMETOOLONG = 404, EINVAL = 404, EACCES = 403, EPERM = 403,
}

local function refuse(res, given, message, code)
  if not given.fallthrough then
    res:writeHead(statuses[code] or 500, { ["Content-Type"] = "text/plain" })
    res:finish(res.statusMessage .. "\n")
  end
  return nil, message, code
end

-- In C, unless a middleware has put a setHeader of its own in place.
local function default_header(res, name, value)
  if res.setHeader == core.response.setHeader then return core.default_header(res, name, value) end
  if not res:getHeader(name) then res:setHeader(name, value) end
end

-- Does If-Range allow the range? A tag must match strongly, a date exactly (RFC 9110, section 13.1.5).
local function range_is_current(header, etag, modified)
  if not header then return true end
  if header:find('"', 1, true) then return header == etag end
  return date.parse(header) == modified
end

-- A part of the file as body bytes. Where a middleware has put a write of its own in place, the bytes go through that.
-- Returns true; nil, message, code when the client has gone.
local function send_bytes(res, fd, first, length)
  head.settle(res)
  if res.write == core.response.write then return res:sendDescriptor(fd, first, length) end
  return head.send_pieces(res, fd, first, length)
end

local function send_ranges(res, fd, size, list, content_type)
  local boundary = ("%08x%08x"):format(math.random(0, 0x7fffffff), uv.hrtime() % 0x100000000)
  local heads, length = {}, 0
  for i, part in ipairs(list) do
    heads[i] = ("\r\n--%s\r\nContent-Type: %s\r\nContent-Range: %s\r\n\r\n"):format(boundary, content_type,
      range.content_range(part, size))
    length = length + #heads[i] + part[2] - part[1] + 1
  end
  local tail = ("\r\n--%s--\r\n"):format(boundary)
  res:setHeader("Content-Type", "multipart/byteranges; boundary=" .. boundary)
  res:setHeader("Content-Length", length + #tail)
  for i, part in ipairs(list) do
    local ok, message, code = res:write(heads[i])
    if ok ~= nil then ok, message, code = send_bytes(res, fd, part[1], part[2] - part[1] + 1) end
    if not ok then return nil, message, code end
  end
  return res:finish(tail)
end

local function send_part(res, fd, first, length, method)
  res:setHeader("Content-Length", length)
  if method ~= "HEAD" then
    local ok, message, code = send_bytes(res, fd, first, length)
    if not ok then return nil, message, code end
  end
  return res:finish()
end

-- 412, 304, 416 or parts, where the client has asked for that; what is returned is the answer's. Nothing: send it all.
local function conditional(res, fd, size, etag, modified, content_type, method, headers)
  local status = condition.status(headers, etag, modified)
  if status ~= 200 then
    res.statusCode = status
    return res:finish()
  end
  local list = method == "GET" and range_is_current(headers["if-range"], etag, modified)
    and range.parse(headers.range, size)
  if not list then return end
  if #list == 0 then
    res.statusCode = 416
    res:setHeader("Content-Range", "bytes */" .. ("%d"):format(size))
    return res:finish()
  end
  res.statusCode = 206
  if #list > 1 then return send_ranges(res, fd, size, list, content_type) end
  local part = list[1]
  default_header(res, "Content-Type", content_type)
  res:setHeader("Content-Range", range.content_range(part, size))
  return send_part(res, fd, part[1], part[2] - part[1] + 1, method)
end

--- The fields of a request that may make less of a file the answer, and perhaps others.
-- @param req
-- @treturn table|nil names in lower case; nil when it has none of them
function file.conditions(req)
  if type(req) == "userdata" then return core.conditions(req) end
  return req.headers
end

-- All of the file in one call of C, where nobody wants a say. Returns true; nil, message, code; or false: not so.
local function answer_at_once(res, fd, size, etag, modified, content_type)
  local sent, ended, code = core.answer_file(res, fd, size, etag, date.format(modified), content_type)
  if sent and not ended then return res:finish() end
  if sent then return true end
  return sent, ended, code
end

--- The answer from an open file; it stays the caller's to close. Waits until all has been handed to the kernel, but for
-- a small one, which lies with its head in the output.
-- @param res
-- @tparam number fd
-- @tparam number size bytes
-- @tparam string etag see clua.connect.condition
-- @tparam number modified seconds since 1970
-- @tparam string content_type
-- @tparam string method of the request
-- @tparam ?table headers see file.conditions
-- @treturn boolean|nil true; nil, message, code
-- @raise only where a middleware has its own res:write: the file cannot be read to the end
function file.answer(res, fd, size, etag, modified, content_type, method, headers)
  if not headers and type(res) == "userdata" then
    local sent, message, code = answer_at_once(res, fd, size, etag, modified, content_type)
    if sent ~= false then return sent, message, code end
  end
  default_header(res, "ETag", etag)
  default_header(res, "Last-Modified", date.format(modified))
  default_header(res, "Accept-Ranges", "bytes")
  if headers and (method == "GET" or method == "HEAD") and res.statusCode == 200 then
    local ok, message, code = conditional(res, fd, size, res:getHeader "ETag", modified, content_type, method, headers)
    if ok ~= nil or message then return ok, message, code end
  end
  default_header(res, "Content-Type", content_type)
  return send_part(res, fd, 0, size, method)
end

local function answer(res, path, given, coding, fd, size, etag, modified, method, headers)
  if coding then
    res:setHeader("Content-Encoding", coding)
    res:setHeader("Vary", "Accept-Encoding")
  end
  if given.maxAge then default_header(res, "Cache-Control", ("max-age=%d"):format(given.maxAge)) end
  return file.answer(res, fd, size, etag, modified, given.type or mime.type(path), method, headers)
end

--- Answers with a file. Waits until it has been handed to the kernel, so it must be called in a coroutine.
-- @param res
-- @tparam string path
-- @tparam ?table given
--   root: directory that the path may not leave; type: Content-Type (default: by extension, clua.mime);
--   maxAge: Cache-Control: max-age, seconds; precompressed: send path.br, path.zst or path.gz when it is there and the
--   client takes it (default true); fallthrough: on an error send nothing (default: 404, 403 or 500)
-- @treturn boolean|nil true; nil, message, code
function file.send(res, path, given)
  if type(path) ~= "string" then error("sendFile: path must be a string, got " .. type(path), 3) end
  given = given and options.check(given, known, "sendFile", 3) or NONE
  local coding, message, code
  if given.root then
    path, message, code = under_root(given.root, path)
    if not path then return refuse(res, given, message, code) end
  end
  local method, accept, headers = core.asks(res)
  local fd, size, modified, etag
  if accept and given.precompressed ~= false then coding, fd, size, modified, etag = open_variant(path, accept) end
  if not fd then fd, size, modified, etag = core.open_file(path) end
  if not fd then return refuse(res, given, size, modified) end
  local ok, sent
  ok, sent, message, code = pcall(answer, res, path, given, coding, fd, size, etag, modified, method, headers)
  core.close_file(fd)
  if not ok then error(sent, 0) end
  return sent, message, code
end

return file
