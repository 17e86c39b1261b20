--- `clua new DIR`: a small project to begin with.
-- @module clua.cli.new

local uv = require "luv"

local new = { summary = "make a small project: app, dispatch script, spec" }

local EXIT_USAGE, EXIT_SYSTEM = 100, 111

function new.configure(parser)
  local names = require("clua.cli.templates").names
  parser:argument("dir", "a directory that is not there yet, or empty")
  parser:option("-t --template", table.concat(names, ", ")):choices(names):default(names[1])
end

local function fail(status, format, ...)
  io.stderr:write("clua new: " .. format:format(...) .. "\n")
  return status
end

local function make_directory(path)
  local ok, message, code = uv.fs_mkdir(path, tonumber("755", 8))
  if ok or code == "EEXIST" then return true end
  return nil, message
end

local function is_empty(dir)
  local request = uv.fs_scandir(dir)
  return not request or uv.fs_scandir_next(request) == nil
end

local function write(path, text)
  local file, message = io.open(path, "w")
  if not file then return nil, message end
  local ok
  ok, message = file:write(text)
  local closed, why = file:close()
  return ok and closed, message or why
end

function new.run(args)
  local dir = args.dir:gsub("(.)/+$", "%1")
  local stat = uv.fs_stat(dir)
  if stat and stat.type ~= "directory" then return fail(EXIT_USAGE, "%s is there already", dir) end
  if stat and not is_empty(dir) then return fail(EXIT_USAGE, "%s is not empty: nothing was written", dir) end
  local name = (uv.fs_realpath(stat and dir or ".") or ""):match("[^/]*$")
  if not stat then name = dir:match("[^/]*$") end
  for _, path in ipairs { dir, dir .. "/spec" } do
    local ok, message = make_directory(path)
    if not ok then return fail(EXIT_SYSTEM, "cannot make %s: %s", path, message) end
  end
  for _, file in ipairs(require("clua.cli.templates").files(args.template, name)) do
    local path = dir .. "/" .. file.name
    local ok, message = write(path, file.text)
    if not ok then return fail(EXIT_SYSTEM, "cannot write %s: %s", path, message) end
    print("  " .. path)
  end
  print(("\ncd %s\nclua test              # passes\nclua dispatch.lua      # README.md says more"):format(dir))
  return 0
end

return new
