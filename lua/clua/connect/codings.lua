--- Content codings: zlib through lua-zlib, brotli through libbrotlienc, as streams.
-- @module clua.connect.codings

local library = require "clua.connect.library"

local codings = {}

local GZIP, ZLIB, EITHER = 15 + 16, 15, 15 + 32 -- windowBits of zlib
local SLICE_BYTES = 1024 -- inflated at a time: at most 1032 times that, some 1 MiB, comes out of it

-- ---- out -------------------------------------------------------------------------------------------------------

local function zlib_stream(window, level)
  local zlib = library.load("zlib", "connect.compress")
  local deflate = zlib.deflate(level, window)
  return {
    push = function(_, bytes) return bytes == "" and "" or (deflate(bytes)) end,
    flush = function() return (deflate("", "sync")) end,
    finish = function(_, bytes) return (deflate(bytes, "finish")) end,
  }
end

local brotli -- false when the library is not there

local function load_brotli()
  if brotli ~= nil then return brotli end
  local ffi = require "ffi"
  local ok, lib = pcall(ffi.load, "libbrotlienc.so.1")
  if not ok then ok, lib = pcall(ffi.load, "brotlienc") end
  brotli = ok and lib
  if not ok then return false end
  ffi.cdef [[
    typedef struct BrotliEncoderStateStruct BrotliEncoderState;
    BrotliEncoderState *BrotliEncoderCreateInstance(void *, void *, void *);
    int BrotliEncoderSetParameter(BrotliEncoderState *, int, uint32_t);
    int BrotliEncoderCompressStream(BrotliEncoderState *, int, size_t *, const uint8_t **, size_t *, uint8_t **,
      size_t *);
    const uint8_t *BrotliEncoderTakeOutput(BrotliEncoderState *, size_t *);
    int BrotliEncoderHasMoreOutput(BrotliEncoderState *);
    void BrotliEncoderDestroyInstance(BrotliEncoderState *);
  ]]
  return brotli
end

local PARAM_QUALITY, PARAM_LGWIN = 1, 2
local PROCESS, FLUSH, FINISH = 0, 1, 2

local function brotli_stream(quality)
  local ffi, lib = require "ffi", load_brotli()
  local state = lib.BrotliEncoderCreateInstance(nil, nil, nil)
  if state == nil then error("brotli: no memory for an encoder", 0) end
  state = ffi.gc(state, lib.BrotliEncoderDestroyInstance)
  lib.BrotliEncoderSetParameter(state, PARAM_QUALITY, quality)
  lib.BrotliEncoderSetParameter(state, PARAM_LGWIN, 18) -- 256 KiB of window: enough for pages, little per answer
  local left, room, taken = ffi.new "size_t[1]", ffi.new "size_t[1]", ffi.new "size_t[1]"
  local input = ffi.new "const uint8_t *[1]"

  local function run(operation, bytes)
    local parts = {}
    left[0], input[0] = #bytes, ffi.cast("const uint8_t *", bytes)
    repeat
      room[0] = 0
      if lib.BrotliEncoderCompressStream(state, operation, left, input, room, nil, nil) == 0 then
        error("brotli: the encoder has failed", 0)
      end
      taken[0] = 0
      local out = lib.BrotliEncoderTakeOutput(state, taken)
      if taken[0] > 0 then parts[#parts + 1] = ffi.string(out, taken[0]) end
    until left[0] == 0 and lib.BrotliEncoderHasMoreOutput(state) == 0
    return table.concat(parts)
  end

  return {
    push = function(_, bytes) return run(PROCESS, bytes) end,
    flush = function() return run(FLUSH, "") end,
    finish = function(_, bytes) return run(FINISH, bytes) end,
  }
end

--- Is a library for this coding there?
function codings.has(name)
  if name == "br" then return load_brotli() and true or false end
  return name == "gzip" or name == "deflate"
end

--- A new stream that encodes: `push(bytes)`, `flush()`, `finish(bytes)` return what is to be sent.
-- @tparam string name "gzip", "deflate" (the zlib format, RFC 9110 8.4.1.2) or "br"
-- @tparam number level of zlib, 0 to 9, or quality of brotli, 0 to 11
function codings.encoder(name, level)
  if name == "br" then return brotli_stream(level) end
  return zlib_stream(name == "gzip" and GZIP or ZLIB, level)
end

-- ---- in --------------------------------------------------------------------------------------------------------

--- Is the library that decodes there?
function codings.can_decode()
  return (pcall(require, "zlib"))
end

--- A new stream that decodes gzip and zlib.
-- @tparam string who needs it, for the message of a missing library
-- @treturn function(bytes, sink) -> true; calls sink(bytes) with what comes out, in pieces of 1 MiB at most, until
--   that returns false: then false. nil, message: it is malformed, or there is more behind its end
-- @treturn function() -> is the stream complete?
function codings.decoder(who)
  local inflate = library.load("zlib", who).inflate(EITHER)
  local ended, fed = false, 0
  local function feed(bytes, sink)
    for at = 1, #bytes, SLICE_BYTES do
      local slice = bytes:sub(at, at + SLICE_BYTES - 1)
      if ended then return nil, "there is more behind the end of the compressed body" end
      local ok, out, eof, taken = pcall(inflate, slice)
      if not ok then return nil, "the compressed body is malformed" end
      fed = fed + #slice
      ended = eof
      if ended and taken < fed then return nil, "there is more behind the end of the compressed body" end
      if out ~= "" and not sink(out) then return false end
    end
    return true
  end
  return feed, function() return ended end
end

return codings
