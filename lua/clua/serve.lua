--- The worker of `clua serve`: runs a file as an app or as a worker script, or serves a directory.
--
-- arg: path, words separated by commas ("directory", "listing", "livereload"), then what the script is to have.
-- @module clua.serve

local is_callable = require "clua.callable"
local trace = require "clua.trace"
local uv = require "luv"

local path, words = arg[1], arg[2]
local flags = {}
for word in words:gmatch("[^,]+") do flags[word] = true end

local function directory_app()
  local connect = require "clua.connect"
  local app = connect(connect.static(path))
  if flags.listing then app:use(connect.directory(path)) end
  app:use(function(_, _, next) next { status = 404 } end)
  app:use(connect.errorHandler())
  return app
end

-- As the worker's main program would be run.
local function run_script()
  local directory = path:match("^(.*)/[^/]*$")
  package.path = ("%s/?.lua;%s/?/init.lua;%s"):format(directory, directory, package.path)
  package.cpath = ("%s/?.so;%s"):format(directory, package.cpath)
  _G.__filename, _G.__dirname = path, directory
  local rest = { [0] = path }
  for i = 3, #arg do rest[i - 2] = arg[i] end
  _G.arg = rest
  local chunk, message = loadfile(path)
  if not chunk then error(trace.syntax(message, path), 0) end
  return chunk(unpack(rest))
end

local function serve(app)
  local http = require "clua.http"
  local server = is_callable(app) and http.createServer(app) or app
  require("clua").ready(function(socket) server:emit("connection", socket) end)
end

-- Whether something of the script's goes on that may still call ready().
local function is_waiting()
  local active = false
  uv.walk(function(handle) active = active or handle:is_active() end)
  return active
end

return function()
  local worker = require("clua").Worker()
  if flags.livereload then require("clua.livereload").install() end
  local app = flags.directory and directory_app() or run_script()
  if is_callable(app) or (type(app) == "table" and type(app.emit) == "function") then
    serve(app)
  elseif not worker.has_called_ready and not is_waiting() then
    error(path .. " is no app: return a function(req, res) at its end, or call cluster.ready()", 0)
  end
end
