--- Compresses answers: gzip and deflate through zlib, brotli where libbrotlienc is installed.
--
-- Compression and secrets: an answer that holds both a secret (a token) and text that an attacker chooses leaks the
-- secret through its length when it is compressed over TLS (BREACH). That is why clua.connect.csrf masks its tokens.
-- @module clua.connect.compress

local async = require "clua.async"
local codings = require "clua.connect.codings"
local encoding = require "clua.http.encoding"
local library = require "clua.connect.library"
local options = require "clua.options"
local usage = require "clua.usage"
local vary = require "clua.connect.vary"

local NAME = "compress(options)"
local KNOWN = {
  level = "integer", threshold = "integer", brotli = "boolean", quality = "integer", filter = "callable",
}
local DEFAULTS = { level = 6, threshold = 1024, brotli = true, quality = 4 }

local TURN_BYTES = 65536 -- of a large body that are encoded in one turn of the loop: a millisecond or two

-- Types whose bytes are worth it, whatever their parameters.
local COMPRESSIBLE = {
  "^text/", "[/+]json$", "[/+]xml$", "^application/javascript$", "^application/ecmascript$", "^application/wasm$",
  "^application/x%-javascript$", "^application/x%-ndjson$", "^application/manifest%+json$", "^image/svg%+xml$",
  "^image/bmp$", "^image/x%-icon$", "^image/vnd%.microsoft%.icon$", "^font/otf$", "^font/ttf$",
  "^application/vnd%.ms%-fontobject$", "^application/x%-www%-form%-urlencoded$",
}

local function media_type(res)
  local value = res:getHeader("Content-Type")
  return type(value) == "string" and value:match("^%s*([^;%s]+)") or ""
end

local function is_compressible(_, res)
  local wanted = media_type(res):lower()
  for _, pattern in ipairs(COMPRESSIBLE) do
    if wanted:find(pattern) then return true end
  end
  return false
end

-- The coding that the client wants most; of equal ones the first that is offered. nil: as it is. The second result:
-- does the client refuse the bytes as they are?
local function choose(header, offered)
  if not header then return nil, false end
  local weights = encoding.weights(header)
  local best, best_weight
  for _, name in ipairs(offered) do
    local weight = weights[name] or weights["*"] or 0
    if weight > 0 and (not best or weight > best_weight) then best, best_weight = name, weight end
  end
  local plain = weights.identity or (weights["*"] == 0 and 0) or nil
  if best and plain and plain > best_weight then return nil, false end
  return best, plain == 0
end

-- Answers of which no byte may be changed, or that have none.
local WITHOUT = { [204] = true, [205] = true, [206] = true, [304] = true }
local UNTOUCHABLE = { "Content-Range", "Content-Digest", "Repr-Digest", "Content-MD5", "Digest" }

local function joined(res, name)
  local value = res:getHeader(name)
  if type(value) == "table" then value = table.concat(value, ",") end
  return (value or ""):lower()
end

local function is_untouchable(res)
  local coding = joined(res, "Content-Encoding")
  if coding ~= "" and coding ~= "identity" then return true end
  if joined(res, "Cache-Control"):find("no-transform", 1, true) then return true end
  for _, name in ipairs(UNTOUCHABLE) do
    if res:getHeader(name) then return true end
  end
  return false
end

-- Is the body known to be too short? One whose length is not known yet is taken for long.
local function is_short(res, body, threshold, head_only)
  local declared = res:getHeader("Content-Length")
  local length = tonumber(declared) or (body and #body)
  if head_only and body == "" and not declared then return true end -- nothing is known
  return length ~= nil and (length < threshold or length == 0)
end

local function change_head(res, coding)
  res:setHeader("Content-Encoding", coding)
  res:removeHeader("Content-Length")
  res:removeHeader("Accept-Ranges") -- ranges are of the bytes before
  local etag = res:getHeader("ETag")
  if type(etag) == "string" and etag:sub(1, 1) == '"' then res:setHeader("ETag", "W/" .. etag) end
end

-- The answer to HEAD has the head of GET and no body.
local NOTHING = {
  push = function() return "" end,
  flush = function() return "" end,
  finish = function() return nil end,
}

-- Events are worth nothing while they wait for more.
local function flushing(stream)
  return {
    push = function(_, bytes) return stream:push(bytes) .. stream:flush() end,
    flush = function() return "" end,
    finish = function(_, bytes) return stream:finish(bytes) end,
  }
end

-- A whole body at once would hold up all other requests; whoever cannot wait pays for it in one piece.
local function in_turns(stream)
  local is_finishing = false
  local function check()
    if is_finishing then error("the answer is being finished already, by another coroutine", 0) end
  end
  return {
    push = function(_, bytes)
      check()
      return stream:push(bytes)
    end,
    flush = function()
      check()
      return stream:flush()
    end,
    finish = function(_, bytes)
      check()
      is_finishing = true
      if #bytes <= TURN_BYTES or not coroutine.running() then return stream:finish(bytes) end
      local parts, at = {}, 1
      while at + TURN_BYTES <= #bytes do
        parts[#parts + 1] = stream:push(bytes:sub(at, at + TURN_BYTES - 1))
        at = at + TURN_BYTES
        async.sleep(0)
      end
      parts[#parts + 1] = stream:finish(bytes:sub(at))
      return table.concat(parts)
    end,
  }
end

local function on_head(req, res, body, settings)
  local status = res.statusCode
  if status == 304 then vary(res, "Accept-Encoding") end
  if WITHOUT[status] or is_untouchable(res) or not settings.filter(req, res) then return end
  vary(res, "Accept-Encoding")
  local coding, needed = choose(req.headers["accept-encoding"], settings.offered)
  local head_only = req.method == "HEAD"
  if not coding or is_short(res, body, needed and 1 or settings.threshold, head_only) then return end
  local stream = not head_only
    and codings.encoder(coding, coding == "br" and settings.quality or settings.level)
  change_head(res, coding)
  if head_only then return NOTHING end
  if media_type(res):lower() == "text/event-stream" then return flushing(stream) end
  return in_turns(stream)
end

--- Makes the middleware. It stands before those whose answers it is to compress.
--
-- An answer is compressed when the client takes it (Accept-Encoding with weights; `identity;q=0` overrules the
-- threshold), its type is worth it, its body is not known to be shorter than the threshold, and nobody has encoded it:
-- not 204, 205, 206, 304, nor with Content-Encoding, Cache-Control: no-transform, Content-Range or a digest. It gets
-- Content-Encoding and a weak ETag, loses Content-Length and Accept-Ranges; Vary is set whether it is compressed or
-- not. HEAD gets the same fields as GET. A body written in pieces goes out as the encoder has enough of it, or by
-- `res:flush()`; text/event-stream goes out at every write. A large body that is given to `res:finish()` is encoded in
-- turns, and others are served between them; that call waits.
-- @tparam[opt] table given options:
-- @tparam[opt=6] number given.level of gzip and deflate, 0 to 9
-- @tparam[opt=1024] number given.threshold bytes; shorter bodies stay as they are
-- @tparam[opt=true] boolean given.brotli whether brotli is offered, where its library is installed
-- @tparam[opt=4] number given.quality of brotli, 0 to 11; above 5 it is slow
-- @tparam[opt] function given.filter function(req, res) -> should this answer be compressed? Default: by Content-Type
-- @treturn function(req, res, next)
-- @raise wrong options; lua-zlib is not installed
return function(given)
  given = options.check(given, KNOWN, NAME)
  local settings = options.complete(given, DEFAULTS)
  if settings.level > 9 then usage.fail(1, "%s: option 'level' must be from 0 to 9, got %d", NAME, settings.level) end
  if settings.quality > 11 then
    usage.fail(1, "%s: option 'quality' must be from 0 to 11, got %d", NAME, settings.quality)
  end
  settings.filter = settings.filter or is_compressible
  library.load("zlib", "connect.compress")
  settings.offered = { "gzip", "deflate" }
  if settings.brotli and codings.has("br") then table.insert(settings.offered, 1, "br") end
  return function(req, res, next)
    res:onHead(function(_, body) return on_head(req, res, body, settings) end)
    return next()
  end
end
