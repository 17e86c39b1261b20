--- Takes multipart/form-data (RFC 7578, RFC 2046 5.1) apart as it comes, in pieces of any size. Knows no files.
--
-- Strict where two readers could understand two things: a line that begins like the delimiter and goes on is no data,
-- a header is never folded, nothing has two values. Kept is at most one piece and the headers of one part.
-- @module clua.connect.multipart_parser

local content_type = require "clua.connect.content_type"

local multipart_parser = {}

local PADDING_MAX = 256 -- blanks behind a delimiter

local Parser = {}
Parser.__index = Parser

local function malformed(what) return { status = 400, message = "multipart: " .. what } end

--- Is this a boundary that RFC 2046 allows?
function multipart_parser.is_boundary(text)
  return text ~= nil and #text >= 1 and #text <= 70 and text:find("^[%w'()+_,./:=? -]+$") ~= nil
    and text:sub(-1) ~= " "
end

-- ---- the headers of a part -------------------------------------------------------------------------------------

local IDENTITY = { ["7bit"] = true, ["8bit"] = true, binary = true }

local function fields_of(block, max)
  local fields, count = {}, 0
  for line in (block .. "\r\n"):gmatch("(.-)\r\n") do
    local name, value = line:match("^([%w!#$%%&'*+.^_`|~-]+):[ \t]*(.*)$")
    value = value and (value:match("^.*[^ \t]") or "")
    if not name or value:find("[%z\r\n]") then return nil, malformed "a malformed header" end
    count = count + 1
    if count > max then return nil, { status = 413, message = "multipart: too many headers of a part" } end
    name = name:lower()
    if fields[name] then return nil, malformed("two headers " .. name) end
    fields[name] = value
  end
  return fields
end

-- As browsers write what a quoted string cannot hold (HTML, "multipart/form-data encoding algorithm").
local function undo_escapes(text)
  return (text:gsub("%%22", '"'):gsub("%%0[dD]", "\r"):gsub("%%0[aA]", "\n"))
end

local function byte(hex) return string.char(tonumber(hex, 16)) end

-- UTF-8''%e2%82%ac (RFC 8187); nil for what is none.
local function extended(value)
  local charset, text = (value or ""):match("^([%w-]+)'[%w-]*'([%w!#$&+.^_`|~%%-]*)$")
  if not charset or text:gsub("%%%x%x", ""):find("%", 1, true) then return nil end
  text = text:gsub("%%(%x%x)", byte)
  charset = charset:lower()
  if charset == "utf-8" then return text end
  if charset ~= "iso-8859-1" then return nil end
  return (text:gsub("[\128-\255]", function(c)
    return string.char(192 + math.floor(c:byte() / 64), 128 + c:byte() % 64)
  end))
end

-- What is known of a part: name, filename (nil for a field), type, charset.
local function describe(block, max)
  local fields, refusal = fields_of(block, max)
  if not fields then return nil, refusal end
  local disposition = fields["content-disposition"] or ""
  local at = disposition:match("^[fF][oO][rR][mM]%-[dD][aA][tT][aA]()")
  local parameters = at and content_type.parameters(disposition, at, true)
  if not parameters or not parameters.name then return nil, malformed "a part without a name" end
  local encoding = (fields["content-transfer-encoding"] or "binary"):lower()
  if not IDENTITY[encoding] then
    return nil, { status = 415, message = "multipart: Content-Transfer-Encoding is not taken" }
  end
  local kind, more = content_type.parse(fields["content-type"])
  return {
    name = undo_escapes(parameters.name),
    filename = extended(parameters["filename*"]) or parameters.filename and undo_escapes(parameters.filename),
    type = kind,
    charset = more and more.charset,
  }
end

-- ---- the states ------------------------------------------------------------------------------------------------

-- Each takes what it can of self.rest, from self.at on; true: something has been taken, go on; false: more bytes are
-- needed; nil and a refusal. (Cutting off what is taken would copy the whole piece for each of its parts.)
local states = {}

-- Everything before the next delimiter goes to `consume`; what could be the beginning of one is kept.
local function up_to_delimiter(self, consume)
  local first, last = self.rest:find(self.delimiter, self.at, true)
  local stop = first and first - 1 or #self.rest - #self.delimiter + 1
  if stop >= self.at then
    local refusal = consume and consume(self.rest:sub(self.at, stop))
    if refusal then return nil, refusal end
    self.at = stop + 1
  end
  if not first then return false end
  self.at = last + 1
  return true
end

function states.preamble(self)
  local found, refusal = up_to_delimiter(self)
  if found then self.state = "delimiter" end
  return found, refusal
end

function states.data(self)
  local found, refusal = up_to_delimiter(self, self.on.data)
  if not found then return found, refusal end
  refusal = self.on.finish()
  if refusal then return nil, refusal end
  self.state = "delimiter"
  return true
end

function states.delimiter(self)
  local rest, at = self.rest, self.at
  if rest:sub(at, at + 1) == "--" then
    self.state = "epilogue"
    return true
  end
  local behind = rest:match("^[ \t]*\r\n()", at)
  if behind then
    self.state, self.at = "headers", behind
    return true
  end
  if rest:find("^%-?$", at) or (#rest - at < PADDING_MAX and rest:find("^[ \t]*\r?$", at)) then return false end
  return nil, malformed "something other than a line's end behind a boundary"
end

function states.headers(self)
  if self.rest:sub(self.at, self.at + 1) == "\r\n" then return nil, malformed "a part without headers" end
  local first, last = self.rest:find("\r\n\r\n", self.at, true)
  if (first or #self.rest + 1) - self.at > self.header_size then
    return nil, { status = 413, message = "multipart: the headers of a part are too long" }
  end
  if not first then return false end
  local part, refusal = describe(self.rest:sub(self.at, first - 1), self.headers)
  if not part then return nil, refusal end
  refusal = self.on.part(part)
  if refusal then return nil, refusal end
  self.state, self.at = "begin", last - 1
  return true
end

-- At the empty line behind the headers. In a part without any content, not even an empty one, the line's end of the
-- delimiter is this one.
function states.begin(self)
  local have = self.rest:sub(self.at, self.at + #self.delimiter - 1)
  if #have < #self.delimiter and self.delimiter:sub(1, #have) == have then return false end
  if have ~= self.delimiter then self.at = self.at + 2 end
  self.state = "data"
  return true
end

function states.epilogue(self)
  self.at = #self.rest + 1
  return false
end

--- Takes the next bytes.
-- @treturn table|nil a refusal: { status, message }
function Parser:push(bytes)
  self.rest, self.at = self.rest:sub(self.at) .. bytes, 1
  local go_on, refusal = true, nil
  while go_on do go_on, refusal = states[self.state](self) end
  return refusal
end

--- Is the last delimiter there?
-- @treturn table|nil a refusal
function Parser:finish()
  if self.state ~= "epilogue" then return malformed "the body is cut off" end
end

--- A parser.
-- @tparam string boundary
-- @tparam table limits header_size (bytes of a part's headers), headers (their number)
-- @tparam table on part(description), data(bytes), finish(): each returns nil, or a refusal that ends the parsing
function multipart_parser.new(boundary, limits, on)
  return setmetatable({
    -- The first delimiter has no line's end before it when there is no preamble.
    state = "preamble", rest = "\r\n", at = 1, delimiter = "\r\n--" .. boundary, on = on,
    header_size = limits.header_size, headers = limits.headers,
  }, Parser)
end

return multipart_parser
