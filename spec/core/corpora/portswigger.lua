-- luacheck: no max line length
-- The permutations of PortSwigger's HTTP Request Smuggler (https://github.com/PortSwigger/http-request-smuggler,
-- DesyncBox.java) on Transfer-Encoding and on Content-Length, each beside the other field, and its chunk terminators
-- (ChunkSizeScan.java; the names are those of "Funky chunks", w4ke.info, 2025). Rows as in gunicorn.lua.

local rows = {}
local SPECIAL = { 0, 9, 11, 12, 13, 127 }

local function add(name, head, body, verdict)
  rows[#rows + 1] = { name, "POST / HTTP/1.1\r\nHost: a\r\n" .. head .. "\r\n\r\n" .. body, verdict or "invalid" }
end

-- name -> what becomes of "Name: value"
local function permute(field, value)
  local header = field .. ": "
  local all = {
    vanilla = header .. value,
    underjoin1 = header:gsub("%-", "_") .. value,
    spacejoin1 = header:gsub("%-", " ") .. value,
    space1 = field .. " : " .. value,
    nameprefix1 = "Foo: bar\r\n " .. header .. value,
    nameprefix2 = "Foo: bar\r\n\t" .. header .. value,
    valueprefix1 = header .. " " .. value,
    nospace1 = field .. ":" .. value,
    linewrapped1 = field .. ":\n " .. value,
    gareth1 = field .. "\n : " .. value,
    badsetupCR = "Foo: bar\r" .. header .. value,
    badsetupLF = "Foo: bar\n" .. header .. value,
    vertwrap = header .. "\n\11" .. value,
    tabwrap = header .. "\r\n\t" .. value,
    multiCase = header:sub(1, 1):lower() .. header:sub(2):upper() .. value,
    UPPERCASE = header:upper() .. value,
    ["0dwrap"] = "Foo: bar\r\n\r" .. header .. value,
    ["0dspam"] = header:sub(1, 3) .. "\r" .. header:sub(4) .. value,
    connection = "Connection: " .. field .. "\r\n" .. header .. value,
    spjunk = field .. " x: " .. value,
    backslash = header:gsub("%-", "\\") .. value,
    spaceFF = field .. ":\255" .. value,
    unispace = field .. ":\160" .. value,
  }
  for _, code in ipairs(SPECIAL) do
    all["spacefix1:" .. code] = field .. ":" .. string.char(code) .. value
    all["prefix1:" .. code] = header .. string.char(code) .. value
    all["suffix1:" .. code] = header .. value .. string.char(code)
  end
  return all
end

local BODY = "0\r\n\r\n"
for name, text in pairs(permute("Transfer-Encoding", "chunked")) do
  add("TE " .. name, text .. "\r\nContent-Length: 5", BODY)
  add("TE in front, " .. name, "Content-Length: 5\r\n" .. text, BODY)
end
for name, text in pairs(permute("Content-Length", "5")) do
  add("CL " .. name, text .. "\r\nTransfer-Encoding: chunked", BODY)
  add("CL in front, " .. name, "Transfer-Encoding: chunked\r\n" .. text, BODY)
end

for name, text in pairs {
  commaCow = "Transfer-Encoding: chunked, identity",
  cowComma = "Transfer-Encoding: identity, chunked",
  quoted = 'Transfer-Encoding: "chunked"',
  aposed = "Transfer-Encoding: 'chunked'",
  dualchunk = "Transfer-Encoding: chunked\r\nTransfer-encoding: identity",
  lazygrep = "Transfer-Encoding: chunk",
  revdualchunk = "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
  bodysplit = "X: y\r\nFoo: barn\n\nTransfer-Encoding: chunked",
  nested = "Transfer-Encoding: identity, chunked, identity",
  accentTE = "Transf\130r-Encoding: chunked",
  accentCH = "Transfer-Encoding: ch\150nked",
} do
  add("TE " .. name, text .. "\r\nContent-Length: 5", BODY)
end
-- Other fields, and nothing else: the length counts.
add("TE contentEnc", "Content-Encoding: chunked\r\nContent-Length: 5", BODY, "valid")
add("TE encode", "Transfer-%45ncoding: chunked\r\nContent-Length: 5", BODY, "valid")
rows[#rows + 1] = { "TE badwrap", "POST / HTTP/1.1\r\n Transfer-Encoding: chunked\r\nHost: a\r\nX-Blah-Ignore: chunked\r\n"
  .. "Content-Length: 5\r\n\r\n" .. BODY, "invalid" }

local CHUNKED = "Transfer-Encoding: chunked"
for _, terminator in ipairs { "\n", "\r", "\rX", "\r\r" } do
  local name = (terminator:gsub("\r", "CR"):gsub("\n", "LF"))
  add("TERM.EXT " .. name, CHUNKED, "2;" .. terminator .. "xx\r\n10\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n0\r\n\r\n")
  add("EXT.TERM " .. name, CHUNKED, "10;" .. terminator .. "AA\r\nxxxxxxxxxxxxxxxx\r\n0\r\n\r\n")
end
for _, terminator in ipairs { "\n", "\r", "", "XX", "\rX", "\r\r" } do
  local name = (terminator:gsub("\r", "CR"):gsub("\n", "LF"))
  add("TERM.SPILL " .. name, CHUNKED, "5\r\nAAAAA" .. terminator .. "2\r\nXX\r\n0\r\n\r\n")
  add("SPILL.TERM " .. name, CHUNKED, "5\r\nAAAAA" .. terminator .. "0\r\n\r\n")
end
for _, terminator in ipairs { "\n", "\r", "" } do
  local name = (terminator:gsub("\r", "CR"):gsub("\n", "LF"))
  add("ONE.TWO " .. name, CHUNKED, "1\r\nA" .. terminator .. "\r\n0\r\n\r\n", terminator == "" and "valid" or "invalid")
  add("TWO.ONE " .. name, CHUNKED, "2\r\nAA" .. terminator .. "0\r\n\r\n")
  add("ZERO.TWO " .. name, CHUNKED, "0\r\n" .. terminator .. "X: y\r\n\r", "invalid")
end

return rows
