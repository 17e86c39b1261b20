--- Signatures, sealed texts and secrets. The cryptography is OpenSSL's, through lua-luaossl: HMAC-SHA256, AES-256-GCM.
--
-- lua-luaossl does AEAD but for additional data; what would go there (what the text is for) goes into the derivation of
-- the key instead, which binds it just as well. A FFI binding of our own to EVP would gain nothing over that, and would
-- have to follow OpenSSL's ABI.
-- @module clua.connect.secure

local uv = require "luv"

local base64 = require "clua.connect.base64"
local library = require "clua.connect.library"
local usage = require "clua.usage"

local secure = {}

local KEY_MIN_BYTES = 16
local SALT_BYTES, NONCE_BYTES, TAG_BYTES = 16, 12, 16
local CIPHER = "aes-256-gcm"

--- Bytes of the kernel's generator.
function secure.random(count)
  return assert(uv.random(count))
end

--- A secret that can stand in a cookie or a URL: 192 random bits, 32 characters.
function secure.token()
  return base64.url_encode(secure.random(24))
end

--- Are both the same? The time depends on the length of the first alone: give what has come from outside.
function secure.equal(given, secret)
  local difference = bit.bxor(#given, #secret)
  local length = math.max(#secret, 1)
  for i = 1, #given do
    difference = bit.bor(difference, bit.bxor(given:byte(i), secret:byte((i - 1) % length + 1) or 0))
  end
  return difference == 0
end

local function hmac(key, text)
  return library.load("openssl.hmac", "signing").new(key, "sha256"):final(text)
end

--- Checks keys: a string, or a list of which the first signs and seals and all are accepted, so that keys can change.
-- @treturn table list
-- @raise none, or one of less than 16 bytes
function secure.keys(given, where, level)
  local list = type(given) == "string" and { given } or given
  if type(list) ~= "table" or #list == 0 then
    usage.fail(level, "%s: a key, or a list of keys is needed: `openssl rand -base64 32` makes one", where)
  end
  for _, key in ipairs(list) do
    if type(key) ~= "string" or #key < KEY_MIN_BYTES then
      usage.fail(level, "%s: a key is a string of at least %d random bytes: `openssl rand -base64 32` makes one", where,
        KEY_MIN_BYTES)
    end
  end
  return list
end

-- ---- signatures ------------------------------------------------------------------------------------------------

local function signature(key, purpose, text)
  return base64.url_encode(hmac(hmac(key, "clua sign " .. purpose), text))
end

--- The text with a signature behind it, "text.signature".
-- @tparam table keys from secure.keys()
-- @tparam string purpose what it is for: a signature for one purpose is worth nothing for another
-- @tparam string text
function secure.sign(keys, purpose, text)
  return text .. "." .. signature(keys[1], purpose, text)
end

--- @treturn string|nil the text; nil when no key has signed it
function secure.verify(keys, purpose, signed)
  local text, mac = signed:match("^(.*)%.([%w_-]+)$")
  if not text then return nil end
  for _, key in ipairs(keys) do
    if secure.equal(mac, signature(key, purpose, text)) then return text end
  end
  return nil
end

-- ---- sealed texts ----------------------------------------------------------------------------------------------

-- A key for this purpose and this one text: a random nonce of 96 bits alone would not be safe for billions of texts.
local function sealing_key(key, purpose, salt)
  return hmac(hmac(key, "clua seal " .. purpose), salt)
end

--- Encrypts and authenticates a text.
-- @treturn string characters that can stand in a cookie: base64url of salt, nonce, ciphertext and tag
function secure.seal(keys, purpose, text)
  local salt, nonce = secure.random(SALT_BYTES), secure.random(NONCE_BYTES)
  local cipher = library.load("openssl.cipher", "encryption").new(CIPHER)
  cipher:encrypt(sealing_key(keys[1], purpose, salt), nonce)
  local sealed = assert(cipher:final(text))
  return base64.url_encode(salt .. nonce .. sealed .. cipher:getTag(TAG_BYTES))
end

--- @treturn string|nil the text; nil when it was sealed with none of the keys, for another purpose, or was changed
function secure.open(keys, purpose, token)
  local bytes = base64.url_decode(token)
  if not bytes or #bytes < SALT_BYTES + NONCE_BYTES + TAG_BYTES then return nil end
  local salt = bytes:sub(1, SALT_BYTES)
  local nonce = bytes:sub(SALT_BYTES + 1, SALT_BYTES + NONCE_BYTES)
  local sealed, tag = bytes:sub(SALT_BYTES + NONCE_BYTES + 1, -TAG_BYTES - 1), bytes:sub(-TAG_BYTES)
  for _, key in ipairs(keys) do
    local cipher = library.load("openssl.cipher", "encryption").new(CIPHER)
    cipher:decrypt(sealing_key(key, purpose, salt), nonce)
    cipher:setTag(tag)
    local text = cipher:final(sealed)
    if text then return text end
  end
  return nil
end

-- ---- masks -----------------------------------------------------------------------------------------------------

local function xor(a, b)
  local parts = {}
  for i = 1, #a do parts[i] = string.char(bit.bxor(a:byte(i), b:byte(i))) end
  return table.concat(parts)
end

--- The secret in another spelling each time, so that a compressed page does not give it away (BREACH).
function secure.mask(secret)
  local mask = secure.random(#secret)
  return base64.url_encode(mask .. xor(secret, mask))
end

--- @treturn string|nil the secret; nil when malformed
function secure.unmask(token)
  local bytes = base64.url_decode(token)
  if not bytes or #bytes % 2 ~= 0 then return nil end
  local half = #bytes / 2
  return xor(bytes:sub(1, half), bytes:sub(half + 1))
end

return secure
