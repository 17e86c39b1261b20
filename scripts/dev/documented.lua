-- Every public function has its entry in lua/README.md and occurs in a spec. Run by `make lint` under build/clua.
--
--     build/clua scripts/dev/documented.lua
--
-- Public is what the public modules return and what the methods of their classes are, but for names that begin with
-- "_". A module file at the top of lua/clua must be in one of the two lists below: a new one cannot be forgotten.
-- Prints each function that is missing, and where; ends with 1 if there was one.
local uv = require "luv"

local ROOT = __filename:match("^(.*)scripts/dev/[^/]+$")
ROOT = ROOT and ROOT ~= "" and ROOT or "./"

-- What users call a module or an object, and where to find its functions.
local PUBLIC = {
  init = { cluster = "clua" },
  async = { async = "clua.async" },
  connect = {
    connect = "clua.connect",
    app = function() return getmetatable(require("clua.connect")()).__index end,
  },
  emitter = { emitter = "clua.emitter" },
  http = {
    http = "clua.http",
    server = function() return require("clua.http").Server end,
    req = function() return require("clua.core.http").request end,
    res = function() return require("clua.core.http").response end,
  },
  master = { master = "clua.master" },
  mime = { mime = "clua.mime" },
  net = { net = "clua.net", server = function() return require("clua.net").Server end },
  options = { options = "clua.options" },
  repl = { repl = "clua.repl" },
  socket = { socket = "clua.socket" },
  testing = { testing = "clua.testing", app = function() return require("clua.testing").Cluster end },
  timer = {
    timer = "clua.timer",
    t = function()
      local one = require("clua.timer").after(0, function() end)
      one:stop()
      return getmetatable(one).__index
    end,
  },
  usage = { usage = "clua.usage" },
  worker = { worker = "clua.worker" },
}

-- Parts of the others, that no script requires.
local INTERNAL = {
  access_log = true, admin = true, blame = true, callable = true, cli = true, control = true,
  evaluate = true, livereload = true, logs = true, memo = true, names = true, quarantine = true, registration = true,
  replies = true, restart = true, serve = true, status = true, supervisor = true, systemd = true, trace = true,
  upgrade = true, watch = true, wire = true,
}

-- Functions that users do not call, with the reason.
local EXCEPT = {
  ["emitter.new"] = "of classes", ["master.new"] = "cluster.Master() is documented",
  ["worker.new"] = "cluster.Worker() is documented",
  ["socket.from_fd"] = "for the modules that make sockets",
}

local function read(path)
  local file = assert(io.open(ROOT .. path))
  local text = file:read("*a")
  file:close()
  return text
end

local function files_of(folder, list)
  local request = assert(uv.fs_scandir(ROOT .. folder))
  for name, kind in function() return uv.fs_scandir_next(request) end do
    local path = folder .. "/" .. name
    if kind == "directory" then files_of(path, list) elseif name:find("%.lua$") then list[#list + 1] = path end
  end
  return list
end

-- "text" with every mention of a function that is called or named: .name, :name, `name, ["name"]
local function mentions(text)
  local set = {}
  for name in text:gmatch("[.:`\"]([%a][%w_]*)") do set[name] = true end
  for name in text:gmatch("[%s,{(]([%a][%w_]*)%s*[({\"]") do set[name] = true end
  return set
end

local problems = 0

local function complain(...)
  problems = problems + 1
  io.stderr:write(("documented: " .. (...) .. "\n"):format(select(2, ...)))
end

local readme = mentions(read "lua/README.md")
local specs = {}
for _, path in ipairs(files_of("spec", {})) do specs[#specs + 1] = read(path) end
specs = mentions(table.concat(specs, "\n"))

local count = 0
local function check(object, members)
  local names = {}
  for name, value in pairs(members) do
    local public = type(name) == "string" and name:find("^%a") and type(value) == "function"
    if public and not EXCEPT[object .. "." .. name] then names[#names + 1] = name end
  end
  table.sort(names)
  count = count + #names
  for _, name in ipairs(names) do
    if not readme[name] then complain("%s.%s has no entry in lua/README.md", object, name) end
    if not specs[name] then complain("%s.%s occurs in no spec", object, name) end
  end
end

local function check_module(module)
  local objects = PUBLIC[module]
  local names = {}
  for object in pairs(objects) do names[#names + 1] = object end
  table.sort(names)
  for _, object in ipairs(names) do
    local where = objects[object]
    check(object, type(where) == "string" and require(where) or where())
  end
end

-- The middlewares are files of their own, loaded when they are asked for.
local function check_middlewares()
  local connect, middlewares = require "clua.connect", {}
  for _, path in ipairs(files_of("lua/clua/connect", {})) do
    local name = path:match("([^/]+)%.lua$")
    local known, middleware = pcall(function() return connect[name] end)
    if known and middleware then middlewares[name] = middleware end
  end
  check("connect", middlewares)
end

local request = assert(uv.fs_scandir(ROOT .. "lua/clua"))
local modules = {}
for name, kind in function() return uv.fs_scandir_next(request) end do
  if kind == "file" then modules[#modules + 1] = name:match("^(.*)%.lua$") end
end
table.sort(modules)
for _, module in ipairs(modules) do
  if PUBLIC[module] then
    check_module(module)
  elseif not INTERNAL[module] then
    complain("lua/clua/%s.lua is neither public nor internal: put it into a list of this script", module)
  end
end
check_middlewares()

if count < 100 then complain("only %d functions found: this script looks in the wrong place", count) end
os.exit(problems == 0 and 0 or 1)
