--- What all parsers of request bodies share: is there one of my type, and may I have it? Limits, codings, charset.
-- @module clua.connect.body

local codings = require "clua.connect.codings"
local content_type = require "clua.connect.content_type"
local utf8 = require "clua.connect.utf8"

local body = {}

-- What reading a body can end with, when the server has not answered that itself.
local READ_STATUS = { ETOOBIG = 413, EPROTO = 400, ETIMEDOUT = 408 }

--- Has this request a body that nobody has parsed?
function body.is_open(req)
  local headers = req.headers
  if type(req.body) ~= "function" then return false end
  return headers["transfer-encoding"] ~= nil or (tonumber(headers["content-length"]) or 0) > 0
end

--- The parameters of the request's Content-Type if it is one of those wanted and the body is open, else nil.
-- A Content-Type that cannot be parsed is none of them.
function body.wanted(req, types)
  if not body.is_open(req) then return nil end
  local kind, parameters = content_type.parse(req.headers["content-type"])
  if kind and content_type.is(kind, types) then return parameters end
end

--- An error for next().
function body.refusal(status, message)
  return { status = status, message = message }
end

-- Name of the content coding that has to be undone, false for none; or nil, refusal.
local function coding_of(req, inflate)
  local name = (req.headers["content-encoding"] or "identity"):lower():match("^%s*(.*%S)") or ""
  if name == "identity" or name == "" then return false end
  local is_known = name == "gzip" or name == "x-gzip" or name == "deflate"
  if is_known and inflate and codings.can_decode() then return name end
  return nil, body.refusal(415, "the content coding '" .. name .. "' is not taken")
end

--- Reads the body piece by piece, without its content coding.
-- @tparam table req
-- @tparam table settings limit: bytes, before and after decoding; inflate: take gzip and deflate
-- @tparam string who for the message of a missing library
-- @tparam function sink function(bytes) -> nil, or a refusal
-- @treturn boolean|nil true; nil, refusal
function body.stream(req, settings, who, sink)
  local coding, refusal = coding_of(req, settings.inflate)
  if refusal then return nil, refusal end
  local limit, total = settings.limit, 0
  local function too_large() return body.refusal(413, ("the body is larger than %d bytes"):format(limit)) end
  if (tonumber(req.headers["content-length"]) or 0) > limit then return nil, too_large() end

  local function take(bytes)
    total = total + #bytes
    refusal = total > limit and too_large() or sink(bytes)
    return refusal == nil
  end

  local decode, is_complete
  if coding then decode, is_complete = codings.decoder(who) end
  while true do
    local chunk, message, code = req:read()
    if not chunk then
      if message then return nil, body.refusal(READ_STATUS[code] or 400, message) end
      if coding and not is_complete() then return nil, body.refusal(400, "the compressed body is cut off") end
      return true
    end
    if coding then
      local ok, why = decode(chunk, take)
      if ok == nil then return nil, body.refusal(400, why) end
    else
      take(chunk)
    end
    if refusal then return nil, refusal end
  end
end

--- Reads a body of text as a whole: well-formed UTF-8 of which a byte order mark is taken off.
-- @treturn string|nil nil, refusal
function body.text(req, parameters, settings, who)
  local charset = (parameters.charset or "utf-8"):lower()
  if charset ~= "utf-8" and charset ~= "utf8" and charset ~= "us-ascii" then
    return nil, body.refusal(415, "the charset '" .. charset .. "' is not taken: UTF-8 is")
  end
  local parts = {}
  local ok, refusal = body.stream(req, settings, who, function(bytes) parts[#parts + 1] = bytes end)
  if not ok then return nil, refusal end
  local text = table.concat(parts)
  if not utf8.is_valid(text) then return nil, body.refusal(400, "the body is not UTF-8") end
  return (text:gsub("^\239\187\191", ""))
end

return body
