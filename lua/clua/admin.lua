--- The admin listener, the master's side: the registration of the built-in worker that serves it (clua.admin.worker),
-- and what that is told when it asks. The master itself reads nothing from the network.
-- @module clua.admin

local buffer = require "string.buffer"
local core = require "clua.core.master"
local host = require "clua.core.host"
local names = require "clua.names"
local options = require "clua.options"
local Registration = require "clua.registration"
local status = require "clua.status"
local usage = require "clua.usage"

local admin = {}

--- Name of the registration.
admin.name = "admin"

--- What can be asked: enum ask_what of src/channel.h.
admin.STATE, admin.STATUS = 1, 2

local known = { listen = "string|integer", user = "string", group = "string", mode = "string|integer" }

-- One status serves all who ask within so long.
local CACHE = 0.05

-- A port alone is one of this machine: the figures are nobody else's business.
local function address_of(listen)
  if tonumber(listen) then return "127.0.0.1:" .. tostring(listen) end
  return listen
end

--- The registration for the option `admin` of Master(): an address, or a table { listen =, user =, group =, mode = }.
-- @param given
-- @tparam[opt] string directory of relative socket paths
-- @treturn table|nil
function admin.registration(given, directory)
  if given == nil then return nil end
  if type(given) ~= "table" then given = { listen = given } end
  options.check(given, known, "Master: option 'admin'", 3)
  if given.listen == nil then
    usage.fail(2, "Master: option 'admin' must name an address: listen = \"127.0.0.1:9090\"")
  end
  local specs, message = names.parse(address_of(given.listen))
  if not specs then usage.fail(2, "Master: option 'admin': %s", message) end
  if #specs == 0 then
    usage.fail(2, "Master: option 'admin': '%s' is no address; use \"127.0.0.1:9090\" or the path of a socket",
      tostring(given.listen))
  end
  return Registration.builtin(admin.name, specs, "clua.admin.worker", {
    user = given.user, group = given.group, mode = given.mode, cnum = 1, term_timeout = 5, hang_timeout = 10,
    queue_max = 256,
  }, directory)
end

--- Its worker is to be nobody special: unless the option says whom, it becomes the first user that another registration
-- names.
function admin.choose_user(registration, registrations)
  local own = registration.options
  if own.user or own.group then return end
  for _, other in ipairs(registrations) do
    if other.options.user or other.options.group then
      own.user, own.group = other.options.user, other.options.group
      return
    end
  end
end

-- Whether clients should come, and if not, why.
local function state_of(master)
  local state, ready = master:state()
  if ready then return { ready = true, state = state } end
  local reason = state
  if state == "running" then
    for _, registration in ipairs(master.registrations) do
      if not registration.builtin and not registration.supervisor:is_serving() then
        reason = "no worker of " .. registration.name .. " is ready"
        break
      end
    end
  end
  return { ready = false, state = state, reason = reason }
end

local function status_of(master)
  local now = require("luv").hrtime() / 1e9
  if not master.admin_status or now - master.admin_status.at > CACHE then
    master.admin_status = { at = now, bytes = buffer.encode { status.of(master) } }
  end
  return master.admin_status.bytes
end

--- A worker has asked.
-- @tparam Master master
-- @tparam table registration
-- @tparam number serial
-- @tparam number what
function admin.answer(master, registration, serial, what)
  if not registration.builtin then
    host.log("warn", ("a worker of %s asks what only the admin worker may know: no answer"):format(registration.name))
    return
  end
  local bytes = what == admin.STATE and buffer.encode(state_of(master)) or status_of(master)
  -- When its channel is full it does not read: it asks again, or is found to hang.
  local ok, message, code = core.answer(serial, what, bytes)
  if not ok and code ~= "EAGAIN" then host.log("warn", "cannot answer the admin worker: " .. message) end
end

return admin
