-- The parser of HTTP responses, fed as a whole, byte by byte, and cut in two at every position: always the same result.

local core = require "clua.core.http_client"

local OK = "HTTP/1.1 200 OK\r\n"
local CHUNKED = OK .. "Transfer-Encoding: chunked\r\n\r\n"
local MALFORMED = "EPROTO"

-- { bytes, what comes of them, may the connection be used again; or the code of the error }
-- `rest`: what does not belong to it, `ends`: the server has to close, `head`: answers HEAD
local CASES = {
  { "a length", OK .. "Content-Length: 5\r\n\r\nhello", body = "hello", reusable = true },
  { "a length, and more behind it", OK .. "Content-Length: 5\r\n\r\nhelloHTTP", body = "hello", rest = "HTTP" },
  { "no length: to the end", OK .. "\r\nabc", body = "abc", ends = true, reusable = false },
  { "HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", body = "ab", reusable = false },
  { "HTTP/1.0 with keep-alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab", body = "ab",
    reusable = true },
  { "Connection: close", OK .. "Connection: close\r\nContent-Length: 2\r\n\r\nab", body = "ab", reusable = false },
  { "chunks", CHUNKED .. "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", body = "abc0123456789", reusable = true },
  { "chunks with extensions (RFC 9112 §7.1.1)", CHUNKED .. "3;a=b;c;d=\"e;\\\"f\"\r\nabc\r\n0;x\r\n\r\n", body = "abc",
    reusable = true },
  { "trailers", CHUNKED .. "1\r\na\r\n0\r\nX: 1\r\nY:\t2 \r\n\r\n", body = "a", reusable = true,
    trailers = { x = "1", y = "2" } },
  { "204", "HTTP/1.1 204 No Content\r\n\r\n", body = "", reusable = true },
  { "204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", body = "", rest = "hello",
    reusable = false },
  { "304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", body = "", reusable = true },
  { "HEAD with a length", OK .. "Content-Length: 5\r\n\r\n", head = true, body = "", reusable = true },
  { "HEAD with chunks", CHUNKED, head = true, body = "", reusable = true },
  { "an interim response", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", body = "", status = 103 },
  { "a switch of protocols", "HTTP/1.1 101 Ok\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nbytes", status = 101,
    body = "", rest = "bytes" },
  { "no reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", body = "", reusable = true },
  { "bytes above 127", OK .. "A: \xc3\xa9\r\nContent-Length: 0\r\n\r\n", body = "", headers = { a = "\xc3\xa9" } },
  { "equal names", OK .. "A: 1\r\nSet-Cookie: x\r\na: 2\r\nset-cookie: y\r\nContent-Length: 0\r\n\r\n", body = "",
    headers = { a = "1, 2", ["set-cookie"] = { "x", "y" } } },
  -- framing that two readers could understand in two ways
  { "two lengths", OK .. "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", code = MALFORMED },
  { "the same length twice", OK .. "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", code = MALFORMED },
  { "a list of lengths", OK .. "Content-Length: 5, 5\r\n\r\nhello", code = MALFORMED },
  { "a signed length", OK .. "Content-Length: +5\r\n\r\nhello", code = MALFORMED },
  { "a negative length", OK .. "Content-Length: -5\r\n\r\nhello", code = MALFORMED },
  { "a hexadecimal length", OK .. "Content-Length: 0x5\r\n\r\nhello", code = MALFORMED },
  { "a length beyond 64 bits", OK .. "Content-Length: 18446744073709551621\r\n\r\nhello", code = MALFORMED },
  { "length and chunks", OK .. "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", code = MALFORMED },
  { "chunks and length", OK .. "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", code = MALFORMED },
  { "an unknown coding", OK .. "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", code = MALFORMED },
  { "chunked not last", OK .. "Transfer-Encoding: chunked, gzip\r\n\r\nabc", code = MALFORMED },
  { "chunked twice", OK .. "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    code = MALFORMED },
  { "chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", code = MALFORMED },
  { "an interim response with a body", "HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\nabc", code = MALFORMED },
  { "a bad chunk size", CHUNKED .. "xyz\r\nabc\r\n0\r\n\r\n", code = MALFORMED },
  { "an empty chunk size", CHUNKED .. "\r\nabc\r\n0\r\n\r\n", code = MALFORMED },
  { "a chunk size with a space", CHUNKED .. "3 \r\nabc\r\n0\r\n\r\n", code = MALFORMED },
  { "a chunk size beyond 64 bits", CHUNKED .. "FFFFFFFFFFFFFFFFF\r\nabc", code = MALFORMED },
  { "a chunk longer than its size", CHUNKED .. "3\r\nabcd\r\n0\r\n\r\n", code = MALFORMED },
  { "a chunk size that LF ends", CHUNKED .. "3\nabc\r\n0\r\n\r\n", code = MALFORMED },
  { "a bad chunk extension", CHUNKED .. "3;=b\r\nabc\r\n0\r\n\r\n", code = MALFORMED },
  -- the head
  { "a folded line", OK .. "A: b\r\n c\r\nContent-Length: 0\r\n\r\n", code = MALFORMED },
  { "a line that LF ends", OK .. "A: b\nContent-Length: 0\r\n\r\n", code = MALFORMED },
  { "a status line that LF ends", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", code = MALFORMED },
  { "a bare CR", OK .. "A: b\rc\r\nContent-Length: 0\r\n\r\n", code = MALFORMED },
  { "NUL", OK .. "A: b\0c\r\nContent-Length: 0\r\n\r\n", code = MALFORMED },
  { "a space before the colon", OK .. "A : b\r\nContent-Length: 0\r\n\r\n", code = MALFORMED },
  { "no name", OK .. ": b\r\nContent-Length: 0\r\n\r\n", code = MALFORMED },
  { "a name with a bad byte", OK .. "A(b: c\r\nContent-Length: 0\r\n\r\n", code = MALFORMED },
  { "a status below 100", "HTTP/1.1 099 Hm\r\n\r\n", code = MALFORMED },
  { "a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", code = MALFORMED },
  { "another version", "HTTP/2.0 200 OK\r\n\r\n", code = MALFORMED },
  { "another protocol", "ICY 200 OK\r\n\r\n", code = MALFORMED },
  { "a request", "GET / HTTP/1.1\r\n\r\n", code = MALFORMED },
  -- limits: 4 KiB, 20 fields
  { "a long header", OK .. "A: " .. ("x"):rep(5000) .. "\r\n\r\n", code = "EMSGSIZE" },
  { "a long reason", "HTTP/1.1 200 " .. ("x"):rep(5000) .. "\r\n\r\n", code = "EMSGSIZE" },
  { "spaces without end", OK .. "A: " .. (" "):rep(5000), code = "EMSGSIZE" },
  { "many headers", OK .. ("A: b\r\n"):rep(21) .. "\r\n", code = "EMSGSIZE" },
  { "many trailers", CHUNKED .. "0\r\n" .. ("A: b\r\n"):rep(21) .. "\r\n", code = "EMSGSIZE" },
  { "a long chunk extension", CHUNKED .. "3;" .. ("x"):rep(5000), code = "EMSGSIZE" },
  -- cut off
  { "nothing", "", code = "EOF", ends = true },
  { "half a head", OK .. "A: ", code = "EOF", ends = true },
  { "a short body", OK .. "Content-Length: 5\r\n\r\nhell", code = "EOF", ends = true },
  { "no last chunk", CHUNKED .. "3\r\nabc\r\n", code = "EOF", ends = true },
  { "half a chunk", CHUNKED .. "3\r\nab", code = "EOF", ends = true },
}

-- Feeds the pieces: status, headers, body, trailers, rest, reusable; or the code of the error.
local function parse(case, pieces)
  local parser = core.parser(4096, 20)
  parser:start(case.head)
  local body, state = {}, "head"
  local rest = ""
  for _, piece in ipairs(pieces) do
    if state == "complete" then
      rest = rest .. piece
    else
      local more, bytes
      state, more, bytes = parser:feed(piece)
      if not state then return { code = bytes } end
      rest = more or ""
      body[#body + 1] = bytes
    end
  end
  if case.ends then
    assert.not_equal("complete", state)
    local message, code
    state, message, code = parser:finish()
    if not state then return { code = code, message = message } end
  end
  local status, _, headers = parser:head()
  return { state = state, status = status, headers = headers, body = table.concat(body), trailers = parser:trailers(),
    rest = rest, reusable = parser:reusable() }
end

local function check(case, pieces, how)
  local found = parse(case, pieces)
  assert.equal(case.code, found.code, how .. ": " .. tostring(found.message))
  if case.code then return end
  assert.equal("complete", found.state, how)
  assert.equal(case.status or tonumber(case[2]:match(" (%d+)")), found.status, how)
  assert.equal(case.body, found.body, how)
  assert.equal(case.rest or "", found.rest, how)
  if case.reusable ~= nil then assert.equal(case.reusable, found.reusable, how) end
  for name, value in pairs(case.headers or {}) do assert.same(value, found.headers[name], how) end
  assert.same(case.trailers or {}, found.trailers, how)
end

describe("the parser of HTTP responses:", function()
  for _, case in ipairs(CASES) do
    it(case[1], function()
      local bytes = case[2]
      check(case, { bytes }, "as a whole")
      for cut = 1, #bytes - 1, math.max(1, math.floor(#bytes / 150)) do
        check(case, { bytes:sub(1, cut), bytes:sub(cut + 1) }, "cut after " .. cut)
      end
      local single = {}
      for i = 1, #bytes do single[i] = bytes:sub(i, i) end
      check(case, single, "byte by byte")
    end)
  end

  it("starts again for the next response", function()
    local parser = core.parser(4096, 20)
    for i = 1, 3 do
      parser:start(false)
      assert.is_false(parser:begun())
      assert.equal("complete", (parser:feed(OK .. "A: " .. i .. "\r\nContent-Length: 0\r\n\r\n")))
      assert.is_true(parser:begun())
      local status, reason, headers, version = parser:head()
      assert.same({ 200, "OK", { a = tostring(i), ["content-length"] = "0" }, "1.1" },
        { status, reason, headers, version })
      assert.same({ { "A", tostring(i) }, { "Content-Length", "0" } }, parser:raw())
    end
  end)
end)
