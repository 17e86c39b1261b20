--- What the new master does with the state that it was started with: which registration is which, whose listeners,
-- workers and connections they get.
-- @module clua.upgrade.adopting

local buffer = require "string.buffer"
local core = require "clua.core.master"
local host = require "clua.core.host"
local upgrade = require "clua.upgrade"

local adopting = {}

--- The state that this process was started with, or nil when it is a first start.
-- @treturn table|nil with `pools`, `registrations`, and `listeners`: array of { fd, path, name, key, owner, taken }
function adopting.take()
  local bytes = core.take_state()
  if not bytes then return nil end
  local state = buffer.decode(bytes)
  state.listeners = {}
  for i, old in ipairs(state.registrations) do
    old.pool = state.pools[i]
    local by_bound = {}
    for _, listener in ipairs(old.pool.listeners) do
      listener.owner, by_bound[listener.name] = old, listener
      table.insert(state.listeners, listener)
    end
    for _, address in ipairs(old.addresses) do
      if by_bound[address.bound] then by_bound[address.bound].key = address.key end
    end
  end
  return state
end

local function share_address(registration, old)
  for _, spec in ipairs(registration.specs) do
    for _, address in ipairs(old.addresses) do
      if address.key == upgrade.key(spec) then return true end
    end
  end
  return false
end

--- Which registration of the new script is which of the old one: the one of the same name; else, since the name is made
-- of the addresses, one that has an address in common.
-- @treturn table registration -> entry of the state
-- @treturn table entry -> registration
function adopting.match(state, registrations)
  local previous, successor = {}, {}
  local function match(fits)
    for _, registration in ipairs(registrations) do
      for _, old in ipairs(state.registrations) do
        if not previous[registration] and not successor[old] and fits(registration, old) then
          previous[registration], successor[old] = old, registration
        end
      end
    end
  end
  match(function(registration, old) return registration.name == old.name end)
  match(share_address)
  return previous, successor
end

-- The listener that a script means by this address: one that its registration had before, or any other had. A port that
-- the kernel has chosen belongs to the registration.
local function find_listener(state, spec, old)
  local elsewhere
  for _, listener in ipairs(state.listeners) do
    if listener.key == upgrade.key(spec) and not listener.taken then
      if listener.owner == old then return listener end
      if spec.port ~= 0 then elsewhere = elsewhere or listener end
    end
  end
  return elsewhere
end

--- Gives a registration the listeners that were bound before to the addresses that it names; binds the others. For
-- every registration before adopt() for any, since an address may move from one to another.
-- @tparam table state
-- @tparam table registration of the new script, with its pool
-- @tparam[opt] table old what it was before
-- @tparam function listen listen(registration, spec): binds a new address
function adopting.adopt_listeners(state, registration, old, listen)
  for _, spec in ipairs(registration.specs) do
    local listener = find_listener(state, spec, old)
    if listener then
      spec.bound = assert(core.adopt_listener(registration.pool, listener.fd, listener.path, spec.inherited ~= nil))
      listener.taken = true
    else
      listen(registration, spec)
    end
  end
end

--- Gives a registration the workers and connections of the one that it was before.
-- @tparam table state
-- @tparam table registration of the new script, or one that it has no more: `closed`, with `cnum` 0
-- @tparam table old entry of the state
function adopting.adopt(state, registration, old)
  local supervisor, options = registration.supervisor, registration.options
  supervisor.count = options.cnum == old.options.cnum and old.count or options.cnum
  local quarantine = registration.quarantine
  quarantine.deaths, quarantine.refused = old.quarantine.deaths, old.quarantine.refused -- the clock is the same
  local serials, message = core.adopt_pool(registration.pool, old.pool)
  if not serials then error("cannot take over the workers of " .. registration.name .. ": " .. message) end
  local unwanted = {}
  for _, listener in ipairs(state.listeners) do
    if listener.owner == old and not listener.taken then
      assert(core.adopt_listener(registration.pool, listener.fd, listener.path))
      unwanted[#unwanted + 1] = listener.name
    end
  end
  if old.accepting then
    registration.accepting = true
    core.accept(registration.pool)
  end
  -- Addresses that the script does not name any more: what has connected is still served.
  for _, name in ipairs(unwanted) do
    core.close(registration.pool, name)
    host.log("info", ("no longer listening on %s for %s"):format(name, registration.name))
  end
  core.lend()
  local changed = options.cnum > 0 and upgrade.needs_reload(old.options, options)
  -- A worker of clua's own runs what the old binary had.
  if changed or registration.builtin then old.supervisor.reloading = true end
  supervisor:adopt(core.workers(registration.pool), old.supervisor)
end

return adopting
