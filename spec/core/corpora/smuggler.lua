-- luacheck: no max line length
-- The mutations of defparam/smuggler (https://github.com/defparam/smuggler, configs/default.py, exhaustive.py and
-- doubles.py): ways to write "Transfer-Encoding: chunked" that one of two servers in a row might not see, always beside
-- a Content-Length. Each must be refused; the one that is a plain other field must be served by its Content-Length.
-- Rows as in gunicorn.lua.

local rows = {}

-- The body is complete for who believes either framing; what follows would be the smuggled request.
local function add(name, gadget, verdict)
  rows[#rows + 1] = { name, table.concat({ "POST /?cb=1 HTTP/1.1", gadget, "Host: a",
    "Content-type: application/x-www-form-urlencoded; charset=UTF-8", "Content-Length: 5", "", "0", "", "" }, "\r\n"),
    verdict or "invalid" }
end

local NAMED = {
  { "nameprefix1", " Transfer-Encoding: chunked" },
  { "tabprefix1", "Transfer-Encoding:\tchunked" },
  { "tabprefix2", "Transfer-Encoding\t:\tchunked" },
  { "spacejoin1", "Transfer Encoding: chunked" },
  { "underjoin1", "Transfer_Encoding: chunked" },
  { "smashed", "Transfer Encoding:chunked" },
  { "space1", "Transfer-Encoding : chunked" },
  { "valueprefix1", "Transfer-Encoding:  chunked" },
  { "vertprefix1", "Transfer-Encoding:\11chunked" },
  { "commaCow", "Transfer-Encoding: chunked, cow" },
  { "cowComma", "Transfer-Encoding: cow, chunked" },
  { "contentEnc", "Content-Encoding: chunked", "valid" },
  { "linewrapped1", "Transfer-Encoding:\n chunked" },
  { "quoted", 'Transfer-Encoding: "chunked"' },
  { "aposed", "Transfer-Encoding: 'chunked'" },
  { "lazygrep", "Transfer-Encoding: chunk" },
  { "sarcasm", "TrAnSFer-EnCODinG: cHuNkeD" },
  { "yelling", "TRANSFER-ENCODING: CHUNKED" },
  { "0dsuffix", "Transfer-Encoding: chunked\r" },
  { "tabsuffix", "Transfer-Encoding: chunked\t" },
  { "revdualchunk", "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked" },
  { "0dspam", "Transfer\r-Encoding: chunked" },
  { "nested", "Transfer-Encoding: cow chunked bar" },
  { "spaceFF", "Transfer-Encoding:\255chunked" },
  { "accentCH", "Transfer-Encoding: ch\150nked" },
  { "accentTE", "Transf\130r-Encoding: chunked" },
  { "x-rout", "X:X\rTransfer-Encoding: chunked" },
  { "x-nout", "X:X\nTransfer-Encoding: chunked" },
}
for _, row in ipairs(NAMED) do add(row[1], row[2], row[3]) end

local PATTERNS = {
  { "midspace", "Transfer-Encoding:@chunked" },
  { "postspace", "Transfer-Encoding@: chunked" },
  { "prespace", "@Transfer-Encoding: chunked" },
  { "endspace", "Transfer-Encoding: chunked@" },
  { "1-2", "@Transfer-Encoding@: chunked" },
  { "1-3", "@Transfer-Encoding:@chunked" },
  { "1-4", "@Transfer-Encoding: chunked@" },
  { "2-3", "Transfer-Encoding@:@chunked" },
  { "2-4", "Transfer-Encoding@: chunked@" },
  { "3-4", "Transfer-Encoding:@chunked@" },
}

-- Bytes as they are, and above 127 as UTF-8 too.
local function each_byte(code)
  for _, pattern in ipairs(PATTERNS) do
    add(("%s-%02x"):format(pattern[1], code), (pattern[2]:gsub("@", { ["@"] = string.char(code) })))
    if code > 127 then
      local utf8 = string.char(192 + math.floor(code / 64), 128 + code % 64)
      add(("%s-u%02x"):format(pattern[1], code), (pattern[2]:gsub("@", { ["@"] = utf8 })))
    end
  end
end
for code = 0x01, 0x20 do each_byte(code) end
for code = 0x7f, 0xff do each_byte(code) end

return rows
