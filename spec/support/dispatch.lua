-- Dispatch scripts for cluster specs.

local uv = require "luv"

local dispatch = {}

local root = uv.cwd()

--- Absolute path of spec/fixtures/NAME.lua.
function dispatch.fixture(name)
  local path = ("%s/spec/fixtures/%s.lua"):format(root, name)
  assert(uv.fs_stat(path), "no such fixture: " .. path)
  return path
end

-- Lua source of a plain value.
local function source(value)
  if type(value) ~= "table" then return type(value) == "string" and ("%q"):format(value) or tostring(value) end
  local parts = {}
  for i, item in ipairs(value) do parts[i] = source(item) end
  for key, item in pairs(value) do
    if type(key) == "string" then parts[#parts + 1] = ("[%q] = %s"):format(key, source(item)) end
  end
  return "{ " .. table.concat(parts, ", ") .. " }"
end
dispatch.source = source

--- Source of a dispatch script up to its dispatch(). Each registration: { name, app, options }.
-- @tparam table registrations
-- @tparam[opt] table options of Master()
function dispatch.registering(registrations, options)
  local lines = { ('local master = require("clua").Master(%s)'):format(source(options or {})) }
  for _, registration in ipairs(registrations) do
    local name, app, given = unpack(registration)
    if not app:find("%.lua$") then app = dispatch.fixture(app) end
    lines[#lines + 1] = ("master:register(%s, %q, %s)"):format(source(name), app, source(given or {}))
  end
  return table.concat(lines, "\n") .. "\n"
end

--- Source of a dispatch script that registers one worker script (options: see cluster.start), and prints the wanted
-- events as lines "event NAME ARGUMENTS".
function dispatch.script(options)
  local app = options.app
  if not app:find("%.lua$") then app = dispatch.fixture(app) end
  local lines = { ('local master = require("clua").Master(%s)'):format(source(options.master or {})) }
  for _, event in ipairs(options.events or {}) do
    lines[#lines + 1] = ([[master:on(%q, function(...)
  local words = { "event", %q }
  for i = 1, select("#", ...) do words[#words + 1] = tostring((select(i, ...))) end
  io.stderr:write(table.concat(words, " ") .. "\n")
end)]]):format(event, event)
  end
  lines[#lines + 1] = ("master:register(%s, %q, %s)"):format(source(options.name or "127.0.0.1:0"), app,
    source(options.options or {}))
  lines[#lines + 1] = "master:dispatch()"
  return table.concat(lines, "\n") .. "\n"
end

return dispatch
