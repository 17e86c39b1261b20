--- A worker tells its master which files it has loaded, when the registration is watched (clua.watch). Loaded by
-- clua.worker in that case alone.
--
-- Modules are told before they are compiled: one that does not even load is one whose fix is awaited.
-- @module clua.watch.report

local core = require "clua.core.worker"
local uv = require "luv"
local wire = require "clua.wire"

local TOPIC = "=watch" -- clua.watch.TOPIC

local boot = core.boot()
local told = {}

local function tell(path)
  if path:sub(1, 1) ~= "/" then path = uv.cwd() .. "/" .. path:gsub("^%./+", "") end
  if told[path] then return end
  told[path] = true
  local bytes = wire.encode(path, boot.name, uv.os_getpid())
  if bytes then core.broadcast(TOPIC, bytes) end
end

local function tell_module(name)
  local path = type(name) == "string" and package.searchpath(name, package.path)
  if path then tell(path) end
end

-- Lua's own loader of files is the one that looks along package.path.
local function wrap_loaders()
  table.insert(package.loaders, 2, function(name)
    if not package.preload[name] then tell_module(name) end
    return nil
  end)
end

local function wrap(name)
  local original = _G[name]
  _G[name] = function(path, ...)
    if type(path) == "string" then tell(path) end
    return original(path, ...)
  end
end

for name in pairs(package.loaded) do tell_module(name) end
wrap_loaders()
-- Scripts may read a part of themselves so.
wrap "loadfile"
wrap "dofile"
