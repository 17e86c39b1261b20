-- Texts in the files of a directory: one writer at a time wins, no reader sees half a text. All workers share it.
local async = require "clua.async"
local uv = require "luv"

local Store = {}
Store.__index = Store

function Store.new(directory)
  return setmetatable({ directory = directory }, Store)
end

local function random()
  return (uv.random(9):gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

Store.random = random

-- Only names that we have made, or that look like them.
function Store:path(id)
  if type(id) ~= "string" or not id:find("^[%w_-]+$") then return nil end
  return self.directory .. "/" .. id
end

function Store:get(id)
  local path = self:path(id)
  local fd = path and async.call(uv.fs_open, path, "r", 0)
  if not fd then return nil end
  local stat = async.call(uv.fs_fstat, fd)
  local text, message = async.call(uv.fs_read, fd, stat.size, 0)
  async.call(uv.fs_close, fd)
  return text, message
end

function Store:set(id, text)
  local path = self:path(id)
  if not path then return nil, "no id" end
  local temporary = path .. "." .. random()
  local fd, message = async.call(uv.fs_open, temporary, "w", tonumber("600", 8))
  if not fd then return nil, message end
  local written
  written, message = async.call(uv.fs_write, fd, text, 0)
  async.call(uv.fs_close, fd)
  if written ~= #text then
    async.call(uv.fs_unlink, temporary)
    return nil, message or "disk full"
  end
  return async.call(uv.fs_rename, temporary, path)
end

-- Whether there was one.
function Store:destroy(id)
  local path = self:path(id)
  return path ~= nil and async.call(uv.fs_unlink, path) ~= nil
end

function Store:ids()
  local list = {}
  local request = assert(async.call(uv.fs_scandir, self.directory))
  for name in function() return uv.fs_scandir_next(request) end do
    if self:path(name) then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

return Store
