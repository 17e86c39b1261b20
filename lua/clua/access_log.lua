--- The option `access_log` of a registration: its formats, and what can be wrong with it.
-- @module clua.access_log

local core = require "clua.core.master"
local options = require "clua.options"
local usage = require "clua.usage"

local access_log = {}

local common = '$remote_addr - - [$time_local] "$request" $status $body_bytes_sent'

--- The formats that have a name.
access_log.formats = {
  common = common,
  combined = common .. ' "$http_referer" "$http_user_agent"',
  json = '{"time":"$time_iso8601","remote_addr":"$remote_addr","method":"$request_method","uri":"$request_uri",'
    .. '"protocol":"$server_protocol","status":$status,"body_bytes_sent":$body_bytes_sent,'
    .. '"request_time":$request_time,"host":"$host","referer":"$http_referer","user_agent":"$http_user_agent",'
    .. '"name":"$name","worker":$worker_id,"pid":$pid}',
}

local known = { path = "string", format = "string", escape = "string" }
local escapes = { default = true, json = true }

local function explain(why)
  local name = why:match("^%$(.*)$")
  if not name then return why end
  local variables = {}
  for _, variable in ipairs(core.access_variables()) do variables[variable] = true end
  local near = options.nearest(name, variables)
  return ("there is no variable '$%s'%s"):format(name, near and (", did you mean '$" .. near .. "'?") or "")
end

local function format_of(given)
  local named = access_log.formats[given]
  if named then return named, given == "json" end
  if not given:find("$", 1, true) then
    local near = options.nearest(given, access_log.formats)
    usage.fail(4, "register: access_log.format must be common, combined, json or text with $variables, got '%s'%s",
      given, near and (", did you mean '" .. near .. "'?") or "")
  end
  return given, false
end

--- Makes of the option what can be compared and handed on: `access_log`, the absolute path, `access_format`,
-- `access_json`. Wrong use is an error at the line of the call of register().
-- @tparam table all options of a registration
-- @tparam function absolute absolute(path)
function access_log.complete(all, absolute)
  local given = all.access_log
  if given == nil then return end
  if type(given) == "string" then given = { path = given } end
  options.check(given, known, "register: access_log", 4)
  if not given.path or given.path == "" then usage.fail(3, "register: access_log needs a path") end
  if given.escape and not escapes[given.escape] then
    usage.fail(3, "register: access_log.escape must be default or json, got '%s'", given.escape)
  end
  local format, json = format_of(given.format or "combined")
  if given.escape then json = given.escape == "json" end
  local ok, why = core.access_check(format, json)
  if not ok then usage.fail(3, "register: access_log.format: %s", explain(why)) end
  all.access_log, all.access_format, all.access_json = absolute(given.path), format, json
end

return access_log
