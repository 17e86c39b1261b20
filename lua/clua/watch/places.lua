--- Where a path leads: the directories in which something may happen that makes it another file, and what tells one
-- content from another.
-- @module clua.watch.places

local uv = require "luv"

local places = {}

local LINKS_MAX = 40 -- as the kernel
local ENTRIES_MAX = 5000 -- of a directory with all below it

places.MISSING = "missing"

-- Names that editors make beside the file, and what is hidden, are no content.
local function is_noise(name)
  return name:sub(1, 1) == "." or name:find("~$") or name:find("%.sw.$") or name:find("^#.*#$") or name == "4913"
end

local function of_stat(stat)
  return ("%d:%d:%d:%d.%09d"):format(stat.dev, stat.ino, stat.size, stat.mtime.sec, stat.mtime.nsec)
end

local function walk(directory, visit, budget)
  local request = uv.fs_scandir(directory)
  if not request then return end
  for name, kind in function() return uv.fs_scandir_next(request) end do
    budget.left = budget.left - 1
    if budget.left < 0 then return end
    local path = directory .. "/" .. name
    if not is_noise(name) then
      visit(path, kind)
      if kind == "directory" then walk(path, visit, budget) end
    end
  end
end

--- What a file, or all that is in a directory, is now: equal when nothing has changed.
-- @tparam string path
-- @treturn string places.MISSING when it is not there
function places.signature(path)
  local stat = uv.fs_stat(path)
  if not stat then return places.MISSING end
  if stat.type ~= "directory" then return of_stat(stat) end
  local parts = {}
  walk(path, function(entry, kind)
    local known = kind ~= "directory" and uv.fs_stat(entry)
    if known then parts[#parts + 1] = entry .. "=" .. of_stat(known) end
  end, { left = ENTRIES_MAX })
  table.sort(parts)
  return "directory\n" .. table.concat(parts, "\n")
end

local function split(path)
  local list = {}
  for part in path:gmatch("[^/]+") do list[#list + 1] = part end
  return list
end

-- Goes along a path as the kernel does; visit(directory) for each that holds a link, and for that of the file itself.
local function follow(path, visit)
  local todo, at, links = split(path), "", 0
  while #todo > 0 do
    local part = table.remove(todo, 1)
    if part == ".." then
      at = at:match("^(.*)/[^/]*$") or ""
    elseif part ~= "." then
      local here = at .. "/" .. part
      local target = uv.fs_readlink(here)
      if target or #todo == 0 then visit(at == "" and "/" or at) end
      if target and links < LINKS_MAX then
        links = links + 1
        if target:sub(1, 1) == "/" then at = "" end
        local rest = split(target)
        for _, one in ipairs(todo) do rest[#rest + 1] = one end
        todo = rest
      else
        at = here
      end
    end
  end
  return at
end

--- The directories to watch for a path: that of the file, of each link on the way, and, of a directory, all below it.
-- @tparam string path absolute
-- @treturn table array
function places.of(path)
  local list, known = {}, {}
  local function visit(directory)
    local stat = not known[directory] and uv.fs_stat(directory)
    if not stat then return end
    known[directory] = true
    list[#list + 1] = directory
  end
  local real = follow(path, visit)
  local stat = uv.fs_stat(real)
  if stat and stat.type == "directory" then
    visit(real)
    walk(real, function(entry, kind)
      if kind == "directory" then visit(entry) end
    end, { left = ENTRIES_MAX })
  end
  return list
end

--- What tells a directory from another one of the same name.
function places.inode(directory)
  local stat = uv.fs_stat(directory)
  return stat and stat.dev .. ":" .. stat.ino
end

--- Whether it is still that one; true when nothing is known of it.
function places.same_directory(directory, inode)
  local now = places.inode(directory)
  return now ~= nil and (inode == nil or now == inode)
end

return places
