--- Parses forms with files, multipart/form-data. Files go to a temporary directory as they come.
-- @module clua.connect.multipart

local uv = require "luv"

local async = require "clua.async"
local body = require "clua.connect.body"
local filename = require "clua.connect.filename"
local form = require "clua.connect.form"
local multipart_parser = require "clua.connect.multipart_parser"
local options = require "clua.options"
local usage = require "clua.usage"
local utf8 = require "clua.connect.utf8"

local NAME = "multipart(options)"
local KNOWN = {
  dir = "string", limit = "integer", file_size = "integer", field_size = "integer", files = "integer",
  fields = "integer", header_size = "integer", headers = "integer", depth = "integer", inflate = "boolean",
}
local DEFAULTS = {
  limit = 8 * 1024 * 1024, file_size = 8 * 1024 * 1024, field_size = 65536, files = 10, fields = 100,
  header_size = 4096, headers = 16, depth = 5, inflate = true,
}

-- ---- files -----------------------------------------------------------------------------------------------------

-- Nobody waits for these: what is to be done has been done when the request ends.
local function close(upload)
  if not upload.fd then return end
  uv.fs_close(upload.fd, function() end)
  upload.fd = nil
end

local function remove_all(uploads)
  for i = #uploads, 1, -1 do
    close(uploads[i])
    uv.fs_unlink(uploads[i].path, function() end) -- the handler may have moved it
    uploads[i] = nil
  end
end

-- A failing disk is our trouble and not the client's.
local function fail(what, message)
  error(("multipart: cannot %s: %s"):format(what, message), 0)
end

local function create(upload, uploads, dir)
  local fd, path = async.call(uv.fs_mkstemp, dir .. "/clua-upload-XXXXXX")
  if not fd then fail("make a file in " .. dir, path) end
  upload.fd, upload.path = fd, path
  uploads[#uploads + 1] = upload
end

local function write(upload, bytes)
  while bytes ~= "" do
    local count, message = async.call(uv.fs_write, upload.fd, bytes, -1)
    if not count then fail("write " .. upload.path, message) end
    bytes = bytes:sub(count + 1)
  end
end

-- ---- parts -----------------------------------------------------------------------------------------------------

local function too_many(what, limit)
  return body.refusal(413, ("multipart: more than %d %s"):format(limit, what))
end

local function malformed(what) return body.refusal(400, "multipart: " .. what) end

-- The beginning of a field: what takes its bytes, and what its end.
local function begin_field(part, result, settings)
  result.field_count = result.field_count + 1
  if result.field_count > settings.fields then return nil, too_many("fields", settings.fields) end
  local charset = (part.charset or "utf-8"):lower()
  if charset ~= "utf-8" and charset ~= "us-ascii" then
    return nil, body.refusal(415, "multipart: the charset '" .. charset .. "' is not taken: UTF-8 is")
  end
  local pieces, size = {}, 0
  local function data(bytes)
    size = size + #bytes
    if size > settings.field_size then return too_many("bytes in a field", settings.field_size) end
    pieces[#pieces + 1] = bytes
  end
  local function finish()
    local value = table.concat(pieces)
    if not utf8.is_valid(value) then return malformed "a field is not UTF-8" end
    local ok, message = form.put(result.fields, part.name, value, result.names)
    if not ok then return malformed(message) end
  end
  return { data = data, finish = finish }
end

-- The same for a file. It is made when its first bytes come: a form without a file chosen sends an empty one.
local function begin_file(part, result, settings)
  result.file_count = result.file_count + 1
  if result.file_count > settings.files then return nil, too_many("files", settings.files) end
  local upload = {
    field = part.name, name = filename.sanitize(part.filename), size = 0,
    type = part.type or "application/octet-stream",
  }
  local function data(bytes)
    upload.size = upload.size + #bytes
    if upload.size > settings.file_size then return too_many("bytes in a file", settings.file_size) end
    if not upload.fd then create(upload, result.uploads, settings.dir) end
    write(upload, bytes)
  end
  local function finish()
    if part.filename == "" and upload.size == 0 then return end
    if not upload.fd then create(upload, result.uploads, settings.dir) end
    close(upload)
    result.files[#result.files + 1] = upload
  end
  return { data = data, finish = finish }
end

-- Reads the whole body into result; nil, or a refusal.
local function read(req, boundary, result, settings)
  local current
  local parser = multipart_parser.new(boundary, settings, {
    part = function(part)
      if not utf8.is_valid(part.name) then return malformed "a name is not UTF-8" end
      local begin = part.filename and begin_file or begin_field
      local refusal
      current, refusal = begin(part, result, settings)
      return refusal
    end,
    data = function(bytes) return current.data(bytes) end,
    finish = function() return current.finish() end,
  })
  local ok, refusal = body.stream(req, settings, "connect.multipart", function(bytes) return parser:push(bytes) end)
  if not ok then return refusal end
  return parser:finish()
end

-- ---- the middleware --------------------------------------------------------------------------------------------

local function check_dir(dir)
  local stat, message = uv.fs_stat(dir)
  if not stat then usage.fail(2, "%s: option 'dir': %s", NAME, message) end
  if stat.type ~= "directory" then usage.fail(2, "%s: option 'dir': %s is no directory", NAME, dir) end
end

--- Makes the middleware. `req.body` is then a table of the fields, as with urlencoded; `req.files` a list of the files
-- in their order: `{ field, name, type, size, path }`. `name` is what the client calls it, made harmless; `type` is
-- what the client says, and proves nothing. The files belong to this request: they are removed when it ends, complete
-- or not; move (rename) what is to stay. A worker that is killed leaves those of its running requests behind.
--
-- next{ status = ... }: 400 malformed or cut off, 413 for more than a limit, 415 another charset or coding. A disk that
-- fails is an error, 500. The server's maxBodySize (8 MiB) holds too: raise both.
-- @tparam[opt] table given options:
-- @tparam[opt] string given.dir for the files; default: TMPDIR, or /tmp
-- @tparam[opt=8388608] number given.limit bytes of the whole body
-- @tparam[opt=8388608] number given.file_size bytes of one file
-- @tparam[opt=65536] number given.field_size bytes of one field: they are kept in memory
-- @tparam[opt=10] number given.files how many, with those that are empty
-- @tparam[opt=100] number given.fields how many
-- @tparam[opt=4096] number given.header_size bytes of the headers of a part
-- @tparam[opt=16] number given.headers how many a part may have
-- @tparam[opt=5] number given.depth of brackets in names
-- @tparam[opt=true] boolean given.inflate take bodies with Content-Encoding gzip or deflate, with lua-zlib
-- @treturn function(req, res, next)
-- @raise wrong options, no such directory
return function(given)
  local settings = options.complete(options.check(given, KNOWN, NAME), DEFAULTS)
  settings.dir = settings.dir or uv.os_tmpdir()
  check_dir(settings.dir)

  return function(req, res, next)
    local parameters = body.wanted(req, { "multipart/form-data" })
    if not parameters then return next() end
    if not multipart_parser.is_boundary(parameters.boundary) then
      return next(malformed "no boundary, or a malformed one")
    end
    local result = {
      fields = {}, field_count = 0, names = { depth = settings.depth, lists = {} },
      files = {}, file_count = 0, uploads = {},
    }
    local function cleanup() remove_all(result.uploads) end
    res:once("finish", cleanup)
    res:once("close", cleanup)
    local ok, refusal = xpcall(read, debug.traceback, req, parameters.boundary, result, settings)
    if not ok or refusal then cleanup() end
    if not ok then error(refusal, 0) end
    if refusal then return next(refusal) end
    req.body, req.files = result.fields, result.files
    return next()
  end
end
