-- The servers of the bench: how each is started on a port. All answer the same paths (servers/).
local uv = require "luv"
local process = dofile(__dirname .. "/process.lua")

local CLUA = os.getenv "CLUA" or "build/clua"
local DIR = process.DIR

--- nginx with options: deferred (false), nopush ("on"), workers (1).
local function nginx(name, options)
  return function(port)
    local dir = uv.cwd() .. "/" .. DIR .. "/" .. name
    os.execute(("mkdir -p '%s'"):format(dir))
    local values = {
      DIR = dir, PORT = port, WORKERS = options.workers or 1,
      DEFER = options.deferred and "deferred" or "", NOPUSH = options.nopush or "on",
      FILE = os.getenv "BENCH_FILE", FOLDER = os.getenv "BENCH_FOLDER",
      WORK = uv.fs_realpath(__dirname .. "/servers/work.lua"),
    }
    return { "nginx", "-c",
      process.fill(__dirname .. "/servers/nginx.conf", ("%s/%s.conf"):format(DIR, name), values) }
  end
end

--- clua with options: workers (1), defer_accept, linger, sched_batch.
local function clua(options)
  return function(port)
    return { CLUA, __dirname .. "/servers/clua_dispatch.lua", tostring(port), tostring(options.workers or 1),
      tostring(options.defer_accept ~= false), tostring(options.linger or 0.2), tostring(options.sched_batch ~= false) }
  end
end

local function only(...)
  local set = {}
  for _, name in ipairs { ... } do set[name] = true end
  return set
end

local CLOSE = "connection per request"

local servers = {
  clua = clua,
  nginx = nginx,
  -- In the order in which they are measured and printed; `only`: the cases that they take part in.
  list = {
    { name = "clua", command = clua {} },
    { name = "clua, not deferred", command = clua { defer_accept = false }, only = only(CLOSE) },
    { name = "nginx+lua", needs = "nginx", command = nginx("nginx", {}) },
    { name = "nginx+lua, deferred", needs = "nginx", only = only(CLOSE),
      command = nginx("nginx_deferred", { deferred = true }) },
    { name = "nginx, tcp_nopush off", needs = "nginx", only = only("1 MiB file", "static, 1 KiB"),
      command = nginx("nginx_nopush_off", { nopush = "off" }) },
    { name = "node", needs = "node", slow = true, command = function(port)
      return { "node", __dirname .. "/servers/node.js", tostring(port) }
    end },
    { name = "node cluster", needs = "node", slow = true, only = only("keep-alive", CLOSE), command = function(port)
      return { "node", __dirname .. "/servers/node.js", tostring(port), "1" }
    end },
    { name = "raw epoll", needs = DIR .. "/raw_epoll", only = only("keep-alive", "pipelined x16", CLOSE),
      command = function(port) return { DIR .. "/raw_epoll", tostring(port) } end },
  },
}

return servers
