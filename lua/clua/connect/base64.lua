--- Base64 (RFC 4648), the plain and the URL alphabet. Strict: what is not canonical is refused.
-- @module clua.connect.base64

local base64 = {}

local PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local URL = PLAIN:gsub("%+/", "-_")

local function codes_of(alphabet)
  local to, from = {}, {}
  for i = 1, 64 do
    to[i - 1] = alphabet:byte(i)
    from[alphabet:byte(i)] = i - 1
  end
  return { to = to, from = from }
end

local plain, url = codes_of(PLAIN), codes_of(URL)

local function encode(bytes, codes)
  local to, parts = codes.to, {}
  for i = 1, #bytes, 3 do
    local a, b, c = bytes:byte(i, i + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    local quad = string.char(to[math.floor(n / 262144)], to[math.floor(n / 4096) % 64], to[math.floor(n / 64) % 64],
      to[n % 64])
    parts[#parts + 1] = quad:sub(1, c and 4 or b and 3 or 2)
  end
  return table.concat(parts)
end

local function decode(text, codes)
  local from, parts = codes.from, {}
  if #text % 4 == 1 then return nil end
  for i = 1, #text, 4 do
    local w, x, y, z = text:byte(i, i + 3)
    local a, b, c, d = from[w], from[x], y and from[y] or not y and 0, z and from[z] or not z and 0
    if not (a and b and c and d) then return nil end
    local n = a * 262144 + b * 4096 + c * 64 + d
    local triple = string.char(math.floor(n / 65536), math.floor(n / 256) % 256, n % 256)
    local unused = not y and n % 65536 or not z and n % 256 or 0
    if unused ~= 0 then return nil end -- bits that mean nothing: another spelling of the same
    parts[#parts + 1] = triple:sub(1, z and 3 or y and 2 or 1)
  end
  return table.concat(parts)
end

--- With "+", "/" and padding.
function base64.encode(bytes)
  local text = encode(bytes, plain)
  return text .. ("="):rep(-#text % 4)
end

--- @treturn string|nil nil when malformed; padding may be left out
function base64.decode(text)
  local body, padding = text:match("^([^=]*)(=*)$")
  if not body or (padding ~= "" and (#padding > 2 or #text % 4 ~= 0)) then return nil end
  return decode(body, plain)
end

--- With "-" and "_", without padding.
function base64.url_encode(bytes)
  return encode(bytes, url)
end

--- @treturn string|nil nil when malformed
function base64.url_decode(text)
  return decode(text, url)
end

return base64
