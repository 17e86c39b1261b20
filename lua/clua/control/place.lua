--- Where control sockets are: `NAME-PID.control` in a folder of the user's, or beside the pid file.
--
-- A socket that is elsewhere gets a link in that folder, so that `clua ps` finds every cluster of the user.
-- @module clua.control.place

local core = require "clua.core.control"
local uv = require "luv"

local place = {}

place.SUFFIX = ".control"

local WRITABLE_BY_OTHERS = tonumber("022", 8)
local PRIVATE, PUBLIC = tonumber("700", 8), tonumber("755", 8)

-- The folders that are looked at, in this order, and the mode of one that is made: { path =, mode =, parent = }.
local function candidates()
  local uid = core.uid()
  local explicit, xdg = os.getenv "CLUA_RUNTIME_DIR", os.getenv "XDG_RUNTIME_DIR"
  if explicit and explicit ~= "" then return { { path = explicit, mode = PRIVATE } } end
  local list = {}
  if xdg and xdg:sub(1, 1) == "/" then list[1] = { path = xdg .. "/clua", mode = PRIVATE, parent = xdg } end
  local of_unit = (os.getenv "RUNTIME_DIRECTORY" or ""):match("^[^:]+") -- systemd.exec(5)
  if of_unit then list[#list + 1] = { path = of_unit, mode = PRIVATE } end
  if uid == 0 then list[#list + 1] = { path = "/run/clua", mode = PUBLIC } end
  list[#list + 1] = { path = ("/run/user/%d/clua"):format(uid), mode = PRIVATE,
    parent = ("/run/user/%d"):format(uid) }
  list[#list + 1] = { path = ("/tmp/clua-%d"):format(uid), mode = PRIVATE }
  return list
end

local function is_ours(path)
  local stat = uv.fs_lstat(path)
  return stat and stat.type == "directory" and stat.uid == core.uid()
    and require("bit").band(stat.mode, WRITABLE_BY_OTHERS) == 0
end

--- The folder that sockets of this user are made in; it is made if it must be.
-- @treturn string|nil nil, message
function place.folder()
  local list, why = candidates(), "no folder for it"
  for _, candidate in ipairs(list) do
    if not candidate.parent or is_ours(candidate.parent) then
      local _, message, code = uv.fs_mkdir(candidate.path, candidate.mode)
      if is_ours(candidate.path) then return candidate.path end
      why = code == "EEXIST" and candidate.path .. " is another user's, or others may write there" or message
    end
  end
  return nil, why
end

--- What a cluster is called: its dispatch script, or the folder of one that has the usual name.
-- @tparam string script path
function place.name_of(script)
  local path = uv.fs_realpath(script) or script
  local folder, base = path:match("([^/]*)/([^/]*)$")
  base = (base or path):gsub("%.lua$", "")
  if (base == "dispatch" or base == "main") and folder and folder ~= "" then base = folder end
  return (base:gsub("[^%w._-]", "_"):sub(1, 40))
end

--- The path of this process's socket in the user's folder.
-- @treturn string|nil nil, message
function place.own(name)
  local folder, why = place.folder()
  if not folder then return nil, why end
  return ("%s/%s-%d%s"):format(folder, name, uv.os_getpid(), place.SUFFIX)
end

local function scan(folder, found, deeper)
  local request = uv.fs_scandir(folder)
  for name, kind in function() if request then return uv.fs_scandir_next(request) end end do
    local label, pid = name:match("^(.+)%-(%d+)%.control$")
    local path = folder .. "/" .. name
    if pid and core.sweep(path) then
      found[#found + 1] = { path = path, name = label, pid = tonumber(pid) }
    elseif deeper and kind == "directory" then
      scan(path, found, false) -- /run/clua/UNIT of clua@.service
    end
  end
end

--- The clusters of this user that live. What dead ones have left is removed.
-- @treturn table array of { path, name, pid }, by name and pid
function place.list()
  local found, seen, unique = {}, {}, {}
  for _, candidate in ipairs(candidates()) do scan(candidate.path, found, true) end
  for _, entry in ipairs(found) do
    if not seen[entry.path] then unique[#unique + 1] = entry end
    seen[entry.path] = true
  end
  table.sort(unique, function(a, b)
    if a.name ~= b.name then return a.name < b.name end
    return a.pid < b.pid
  end)
  return unique
end

return place
