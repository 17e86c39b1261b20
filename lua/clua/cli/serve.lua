--- `clua serve app.lua`, `clua serve DIR`: a cluster without a dispatch script.
-- @module clua.cli.serve

local names = require "clua.names"
local uv = require "luv"

local serve = { summary = "serve an app, a worker script or a directory" }

local EXIT_USAGE = 100
local DEFAULT_ADDRESS = "127.0.0.1:8080"

local function count(word)
  if word:find "^%d+$" then return tonumber(word) end
  return nil, ("-w: the number of workers must be a whole number, got '%s'"):format(word)
end

function serve.configure(parser)
  parser:argument("path", "a Lua file that returns function(req, res), an app of clua.connect or that calls"
    .. " cluster.ready(); or a directory")
  parser:argument("args", "what the file gets as its `...`"):args "*"
  parser:option("-p --port", "port, host:port or path of a unix socket; may be given again (default: "
    .. DEFAULT_ADDRESS .. ")"):argname("PORT"):count "*"
  parser:option("-w --workers", "how many (default: one for each processor)"):argname("N"):convert(count)
  parser:flag("--watch", "reload when the file, or a module that it has loaded, is changed")
  parser:option("--also", "watch this file or directory, too"):argname("PATH"):count "*"
  parser:flag("--livereload", "with --watch, and the page in the browser loads itself again")
  parser:flag("--listing", "list directories that have no index.html")
end

local function fail(format, ...)
  io.stderr:write("clua serve: " .. format:format(...) .. "\n")
  return EXIT_USAGE
end

local function url(bound)
  if bound:find("/", 1, true) then return bound end
  return "http://" .. bound:gsub("^0%.0%.0%.0:", "localhost:"):gsub("^%[::%]:", "localhost:") .. "/"
end

local function announce(master, args, watched)
  local registration = master.registrations[1]
  print(("%s is served by %d worker%s on"):format(args.path, registration.options.cnum,
    registration.options.cnum == 1 and "" or "s"))
  for _, spec in ipairs(registration.specs) do print("  " .. url(spec.bound)) end
  print(watched and "An edit reloads it. Ctrl-C ends it." or "Ctrl-C ends it; --watch would reload it on every edit.")
  io.stdout:flush()
end

local function words_of(args, is_directory)
  local words = {}
  if is_directory then words[#words + 1] = "directory" end
  if args.listing then words[#words + 1] = "listing" end
  if args.livereload then words[#words + 1] = "livereload" end
  return table.concat(words, ",")
end

-- What is watched, or nil.
local function watched(args, path)
  if not (args.watch or args.livereload or #args.also > 0) then return nil end
  return { path, unpack(args.also) }
end

function serve.run(args)
  local trace = require "clua.trace"
  local path, message = uv.fs_realpath(args.path)
  if not path then return fail("cannot read %s: %s", args.path, message) end
  local is_directory = uv.fs_stat(path).type == "directory"
  if args.listing and not is_directory then return fail("--listing is for directories, %s is a file", args.path) end
  if not is_directory then
    path = require("clua.registration").absolute(args.path) -- links are seen as they are named
    local chunk, problem = loadfile(path)
    if not chunk then return fail("%s", trace.syntax(problem, path)) end
  end
  for _, also in ipairs(args.also) do
    local there, why = uv.fs_stat(also)
    if not there then return fail("--also: cannot watch %s: %s", also, why) end
  end
  local ports = {}
  for i, port in ipairs(#args.port > 0 and args.port or { DEFAULT_ADDRESS }) do
    ports[i] = tonumber(port) or port
    local specs = names.parse(ports[i])
    if specs and #specs == 0 and not uv.os_getenv "LISTEN_FDS" then
      return fail("-p %s: no address, and no socket of systemd's is there that could have this name: give a port, "
        .. "host:port or the path of a unix socket", port)
    end
  end
  local master = require("clua").Master()
  local watch = watched(args, path)
  local ok, problem = pcall(master.register, master, #ports == 1 and ports[1] or ports, "=clua.serve", {
    cnum = args.workers, watch = watch, args = { path, words_of(args, is_directory), unpack(args.args) },
  })
  if not ok then
    if type(problem) ~= "table" then error(problem, 0) end
    return fail("%s", (problem.message:gsub("^.-register: ", "")))
  end
  local told
  master:on("ready", function()
    if not told then announce(master, args, watch) end
    told = true
  end)
  master:dispatch()
end

return serve
