--- Libraries that only some middlewares need: loaded on first use, with an error that says what to install.
-- @module clua.connect.library

local usage = require "clua.usage"

local library = {}

local PACKAGES = {
  ["openssl.cipher"] = "lua-luaossl", ["openssl.hmac"] = "lua-luaossl", ["openssl.kdf"] = "lua-luaossl",
  zlib = "lua-zlib",
}

--- A Lua module from a Debian package.
-- @tparam string name of the module
-- @tparam string who wants it, for the message
-- @treturn table the module
-- @raise it is not installed
function library.load(name, who)
  local ok, module = pcall(require, name)
  if ok then return module end
  usage.refuse(("%s needs the Lua module '%s': install %s (Debian), or put it where LuaJIT finds it\n%s"):format(who,
    name, PACKAGES[name], tostring(module)), "ENOENT", 111)
end

return library
