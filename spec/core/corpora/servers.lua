-- luacheck: no max line length
-- Requests of the test suites of waitress (tests/test_parser.py), Puma (test/test_request_invalid.rb), h11
-- (h11/tests/test_io.py), aiohttp (tests/test_http_parser.py) and h1spec (http_test.ts), where no other corpus has them.
-- Rows as in gunicorn.lua.

local CHUNKS = "1\r\nH\r\n4\r\nello\r\n5\r\nWorld\r\n0\r\n\r\n"
local function get(head, body) return "GET /foobar HTTP/1.1\r\nHost: a\r\n" .. head .. "\r\n\r\n" .. (body or "") end
local function chunked(body) return get("Transfer-Encoding: chunked", body) end

local rows = {
  { "waitress: nothing but a version in front", "HTTP/1.0 GET /foobar\r\n\r\n", "invalid" },
  { "waitress: folded Host", "HTTP/1.0 GET /foobar\r\n Host: foo\r\n\r\n", "invalid" },
  { "waitress: duplicate Host", "GET / HTTP/1.1\r\nHOST: test1.com\r\nHost: test2.com\r\n\r\n", "invalid" },
  { "waitress: chunk with an empty extension", chunked "1d;\r\nThis string has 29 characters\r\n0\r\n\r\n", "invalid" },
  { "waitress: 29 bytes", chunked "1d\r\nThis string has 29 characters\r\n0\r\n\r\n", "valid" },
  { "waitress: garbage for a chunk", chunked "garbage\r\n", "invalid" },
  { "waitress: HTTP/8.4", "GET /foobar HTTP/8.4\r\nfoo: bar\r\n\r\n", "invalid" },
  { "waitress: 0x85 in front of chunked", get("Transfer-Encoding:\133chunked", "0\r\n\r\n"), "invalid" },
  { "waitress: Kelvin sign for the k", get("Transfer-Encoding: chun\226\132\170ed", "0\r\n\r\n"), "invalid" },
  { "waitress: LF in front of a value", get "foo: \nbar", "invalid" },
  { "waitress: LF in the request line", "GET /foobar\n HTTP/1.1\r\nHost: a\r\n\r\n", "invalid" },
  { "waitress: vertical tab in front of a value", get "foo:\11bar", "invalid" },
  { "waitress: folded with a vertical tab", get "foo: bar\r\n\t\11baz", "invalid" },
  { "waitress: control byte at the end", get("foo: bar\r\nfoo: " .. ("x"):rep(35) .. "\16"), "invalid" },
  { "waitress: 0xa0 and 0x85 around a value", get "foo: \160something\133", "valid" },
  { "waitress: list", get "foo: bar, whatever, more, please, yes", "valid" },
  { "waitress: comment", get "foo: abrowser/0.001 (C O M M E N T)", "valid" },
  { "waitress: no version, only a dot", "GET /foobar HTTP/.1.\r\n\r\n", "invalid" },
  { "waitress: NUL in the method", "GE\0 /foobar HTTP/1.1\r\n\r\n", "invalid" },
  { "waitress: not HTTP", "GET / bleh\r\n\r\n", "invalid" },

  { "Puma: oversize path", "GET /" .. ("a"):rep(8500) .. " HTTP/1.1\r\nHost: a\r\n\r\n", "invalid", long = true },
  { "Puma: Content-Length 5 twice", get("Content-Length: 5\r\nContent-Length: 5", "Hello\r\n\r\n"), "invalid" },
  { "Puma: Content-Length 5.01", get("Content-Length: 5.01", "Hello\r\n\r\n"), "invalid" },
  { "Puma: Content-Length 5 test", get("Content-Length: 5 test", "Hello\r\n\r\n"), "invalid" },
  { "Puma: chunked, then gzip", get("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip", CHUNKS), "invalid" },
  { "Puma: chunked, gzip, chunked",
    get("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked", CHUNKS), "invalid" },
  { "Puma: xchunked", get("Transfer-Encoding: xchunked", CHUNKS), "invalid" },
  { "Puma: x_gzip, gzip, chunked",
    get("Transfer-Encoding: x_gzip\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked", CHUNKS), "invalid" },
  { "Puma: gzip", get("Transfer-Encoding: gzip", CHUNKS), "invalid" },
  { "Puma: chunk size 5.01", chunked "1\r\nh\r\n5.01\r\nHello\r\n0\r\n\r\n", "invalid" },
  { "Puma: chunk size 5 bad", chunked "1\r\nh\r\n5 bad\r\nHello\r\n0\r\n\r\n", "invalid" },
  { "Puma: chunk size 0xA", chunked "1\r\nh\r\n0xA\r\nHelloHello\r\n0\r\n\r\n", "invalid" },
  { "Puma: chunk too long", chunked "5\r\nHello\r\n4\r\nWorld\r\n0\r\n\r\n", "invalid" },
  { "Puma: chunk too short", chunked "5\r\nHello\r\n6\r\nWorld\r\n0\r\n\r\n", "invalid" },

  { "h11: HTTP/1.0 with a field", "HEAD /foo HTTP/1.0\r\nSome: header\r\n\r\n", "valid", bare = true },
  { "h11: HTTP/1.0 without", "HEAD /foo HTTP/1.0\r\n\r\n", "valid", bare = true },
  { "h11: folded", "HEAD /foo HTTP/1.1\r\nHost: example.com\r\nSome: multi-line\r\n header\r\n\tnonsense\r\n\r\n", "invalid" },
  { "h11: folded first line", "HEAD /foo HTTP/1.1\r\n  folded: line\r\n\r\n", "invalid" },
  { "h11: blanks in front of the colon", "HEAD /foo HTTP/1.1\r\nfoo  : line\r\n\r\n", "invalid" },
  { "h11: tab in front of the colon", "HEAD /foo HTTP/1.1\r\nfoo\t: line\r\n\r\n", "invalid" },
  { "h11: no name", "HEAD /foo HTTP/1.1\r\n: line\r\n\r\n", "invalid" },
  { "h11: garbage behind the version", "HEAD /foo HTTP/1.1 xxxxxx\r\nHost: a\r\n\r\n", "invalid" },
  { "h11: size 0xaA", chunked("aA\r\n" .. ("x"):rep(0xaa) .. "\r\n0\r\n\r\n"), "valid" },
  { "h11: hundred digits of a size", chunked(("9"):rep(100) .. "\r\nxxx"), "invalid" },
  { "h11: NUL behind a size", chunked "10\0\r\nxxx", "invalid" },
  { "h11: extensions", chunked '5; hello=there\r\nxxxxx\r\n0; random="junk"; some=more; canbe=lonnnnngg\r\n\r\n', "valid" },
  { "h11: blanks behind a size", chunked "5   \t \r\n01234\r\n0\r\n\r\n", "valid", "refused: as the suites of others want it",
    refuse = true },
  { "h11: no line end behind a chunk", chunked "3\r\nxxx__1a\r\n", "invalid" },
  { "h11: CR alone behind a chunk", chunked "3\r\nxxx\r_1a\r\n", "invalid" },
  { "h11: LF after a byte behind a chunk", chunked "3\r\nxxx_\n1a\r\n", "invalid" },

  { "aiohttp: folded Content-Length", get "test: line\r\n Content-Length: 48\r\ntest2: data", "invalid" },
  { "aiohttp: 0x01 in Set-Cookie", get "Set-Cookie: abc\1def", "invalid" },
  { "aiohttp: LF behind Host", "GET /world HTTP/1.1\r\nHost: 127.0.0.1\n\r\n", "invalid" },
  { "aiohttp: CR, then a hidden field", get "X-Abc: \rxTransfer-Encoding: chunked", "invalid" },
  { "aiohttp: superscript one", get "Content-Length: \194\185", "invalid" },
  { "aiohttp: double-struck one", get "Content-Length: \240\157\159\153", "invalid" },
  { "aiohttp: 0xff in a name", get "\255oo: bar", "invalid" },
  { "aiohttp: 0x1f in a value", get "Foo: abc\31def", "invalid" },
  { "aiohttp: 0x01 in Host", "GET /test HTTP/1.1\r\nHost: trusted.example\1@bad.test\r\n\r\n", "invalid" },
  { "aiohttp: a line of one byte", get "\255", "invalid" },
  { "aiohttp: length beside an unknown coding", get("Content-Length: 5\r\nTransfer-Encoding: a", "apple\r\n"), "invalid" },
  { "aiohttp: strange method", "#smol //a HTTP/1.1\r\n\r\n", "valid", "501: an unknown method", refuse = true },
  { "aiohttp: empty line in front", "\r\nGET /test HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody", "valid" },
  { "aiohttp: close and keep-alive", get "connection: close, keep-alive", "valid" },

  { "h1spec: text in front", "Extra lineGET / HTTP/1.1\r\nHost: example.com\r\n\r\n", "invalid" },
  { "h1spec: negative and long", get "Content-Length: -123456789123456789123456789", "invalid" },
  { "h1spec: tab in front of Host", "GET / HTTP/1.1\r\nhoSt:\texample.com\r\nempty:\r\n\r\n", "valid" },
  { "h1spec: bare CR in front of a field", "GET / HTTP/1.1\r\nHost: example.com\r\n\rSome-Header: Test\r\n\r\n", "invalid" },
  { "h1spec: Expect", get "Expect: 100-continue", "valid" },
  { "h1spec: no version", "GET / \r\n\r\n", "invalid" },
}

for byte in ('"(),/;<=>?@[\\]{}'):gmatch "." do
  rows[#rows + 1] = { "aiohttp: a name with " .. byte, get("head" .. byte .. "er: val"), "invalid" }
end
return rows
