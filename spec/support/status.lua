-- A cluster whose master writes its status into the log when the spec asks for it (SIGWINCH means nothing to a master).

local cjson = require "cjson"
local dispatch = require "spec.support.dispatch"

local status = {}

--- Source of a dispatch script. Each registration: { name, app, options }.
-- @tparam table registrations
-- @tparam[opt] table options of Master()
function status.script(registrations, options)
  return dispatch.registering(registrations, options) .. [[
    master:dispatch()
    require("luv").new_signal():start("sigwinch", function()
      local registrations, itself = master:status()
      io.stderr:write("status " .. require("cjson").encode { registrations, itself } .. "\n")
    end)
  ]]
end

--- What master:status() returns now. A registration's position becomes its name, too.
function status.of(c)
  local mark = c:mark()
  c:signal("sigwinch")
  local registrations, itself = unpack(cjson.decode(c:wait_log("^status (.+)$", mark)))
  for _, registration in ipairs(registrations) do registrations[registration.name] = registration end
  return registrations, itself
end

return status
