--- Upgrade in place (SIGUSR2): the master checks the new binary and the dispatch script in a child, and then executes itself.
-- Pid, workers, listeners and every connection stay.
--
-- The state that crosses is what the C side gives as a snapshot (lua_upgrade.c) and, for each registration, what only the
-- policy knows: its options, its listeners by the name that the script gave them, how many workers it has.
-- @module clua.upgrade

local core = require "clua.core.master"
local buffer = require "string.buffer"
local host = require "clua.core.host"

local upgrade = {}

local CHECK_TIMEOUT = 30 -- seconds
local HELD_VARIABLE = "CLUA_TEST_HELD"

--- How a dispatch script names a listener; what says whether a registration's address has changed.
function upgrade.key(spec)
  return spec.path or (spec.host .. ":" .. spec.port)
end

-- Options that can be compared and sent; a function belongs to the script that is loaded again anyway.
local function plain(options)
  local copy = {}
  for name, value in pairs(options) do
    if type(value) ~= "function" then copy[name] = value end
  end
  return copy
end

local function same(a, b)
  for name, value in pairs(a) do
    if b[name] ~= value then return false end
  end
  for name in pairs(b) do
    if a[name] == nil then return false end
  end
  return true
end

--- Whether two sets of options need new workers. The number of workers and what only the master uses do not.
function upgrade.needs_reload(old, new)
  old, new = plain(old), plain(new)
  for _, name in ipairs { "cnum", "gone", "lost", "queue_max", "queue_timeout", "steal_after", "hang_timeout", "mode" } do
    old[name], new[name] = nil, nil
  end
  return not same(old, new)
end

-- ---- the old master -----------------------------------------------------------------------------------------------

local function why_not(master)
  if master.stopping then return "the master is stopping" end
  if master.upgrading then return "an upgrade is running already" end
  for _, registration in ipairs(master.registrations) do
    local supervisor = registration.supervisor
    if not supervisor.was_ready then return registration.name .. " has not been ready yet" end
    if supervisor.replacing or #supervisor.queue > 0 then return registration.name .. " is being reloaded" end
  end
  return nil
end

local function held_listeners(master)
  local held = {}
  for _, registration in ipairs(master.registrations) do
    for _, spec in ipairs(registration.specs) do held[#held + 1] = upgrade.key(spec) end
  end
  return table.concat(held, "\n")
end

local function test_environment(master)
  local environment = {}
  for name, value in pairs(require("luv").os_environ()) do environment[#environment + 1] = name .. "=" .. value end
  environment[#environment + 1] = HELD_VARIABLE .. "=" .. held_listeners(master)
  return environment
end

local function state_of(master)
  local state = core.snapshot()
  state.upgrades = master.upgrades + 1
  state.pidfile = master.pidfile
  state.registrations = {}
  for i, registration in ipairs(master.registrations) do
    local keys = {}
    for _, spec in ipairs(registration.specs) do
      if spec.bound then keys[upgrade.key(spec)] = spec.bound end
    end
    state.registrations[i] = {
      name = registration.name, options = plain(registration.options), keys = keys,
      count = registration.supervisor.count, accepting = registration.accepting,
    }
  end
  return buffer.encode(state)
end

local function failed(master, why)
  master.upgrading = nil
  host.log("error", "upgrade failed: " .. why .. ": nothing has changed")
  master:emit("upgrade", why)
end

local function checked(master, status, output)
  if master.stopping then
    host.log("info", "upgrade cancelled: the master is stopping")
    return
  end
  local _, version, layout = core.program()
  local its_version, its_layout = output:match("state (%d+), segment (%d+)")
  if status ~= 0 or not its_version then
    failed(master, ("the check exited with %d: %s"):format(status, (output:gsub("%s+$", ""))))
    return
  end
  if tonumber(its_version) ~= version or tonumber(its_layout) ~= layout then
    failed(master, ("the new binary speaks state %s and segment %s, this one %d and %d: stop and start instead")
      :format(its_version, its_layout, version, layout))
    return
  end
  host.log("info", "upgrade checked, executing " .. (core.program()))
  local _, message = core.exec(state_of(master))
  failed(master, "cannot execute: " .. message)
end

--- Starts an upgrade: checks in a child, then replaces this process. Refused before all workers were ready, during a
-- reload, another upgrade or a stop. A failed check changes nothing; the reason is logged and the master's event `upgrade`.
function upgrade.start(master)
  local uv = require "luv"
  local why = why_not(master)
  if why then
    host.log("warn", "upgrade refused: " .. why)
    return nil, why, "EBUSY"
  end
  master.upgrading = true
  host.log("info", "upgrade started")
  local pipes = { uv.new_pipe(false), uv.new_pipe(false) } -- the child's standard output and error
  local timer = uv.new_timer()
  local output, args = {}, { "-t", arg[0], unpack(arg) }
  local waiting, status = 3, nil -- the child's exit and the ends of both pipes
  local function part_done()
    waiting = waiting - 1
    if waiting > 0 then return end
    timer:close()
    checked(master, status, table.concat(output))
  end
  local handle, message
  handle, message = uv.spawn((core.program()), {
    args = args, stdio = { nil, pipes[1], pipes[2] }, env = test_environment(master),
  }, function(code, signal)
    status = signal ~= 0 and 128 + signal or code
    handle:close()
    part_done()
  end)
  if not handle then
    for _, pipe in ipairs(pipes) do pipe:close() end
    timer:close()
    failed(master, "cannot run the check: " .. tostring(message))
    return nil, message
  end
  timer:start(CHECK_TIMEOUT * 1000, 0, function() handle:kill("sigkill") end)
  for _, pipe in ipairs(pipes) do
    pipe:read_start(function(_, chunk)
      if chunk then
        output[#output + 1] = chunk
        return
      end
      pipe:close()
      part_done()
    end)
  end
  return true
end

-- ---- the check ----------------------------------------------------------------------------------------------------

--- What `clua -t` says of a dispatch script whose scripts and users have been checked. During an upgrade it also tries the
-- addresses that the running master does not hold yet.
-- @treturn string|nil nil, message
function upgrade.test(master)
  local held = os.getenv(HELD_VARIABLE)
  if held then
    local keys = {}
    for key in held:gmatch("[^\n]+") do keys[key] = true end
    for _, registration in ipairs(master.registrations) do
      local pool = core.pool(registration.options)
      for _, spec in ipairs(registration.specs) do
        if not keys[upgrade.key(spec)] then
          local name, message = core.listen(pool, spec.host, spec.port, spec.path, registration.options.mode)
          if not name then return nil, message end
        end
      end
      core.close(pool)
    end
  end
  local _, version, layout = core.program()
  return ("%s: ok (state %d, segment %d)"):format(arg[0], version, layout)
end

-- ---- the new master -----------------------------------------------------------------------------------------------

--- The state that this process was started with, or nil when it is a first start.
-- @treturn table|nil with `pools` and `registrations` by name
function upgrade.take()
  local bytes = core.take_state()
  if not bytes then return nil end
  local state = buffer.decode(bytes)
  local by_name = {}
  for i, pool in ipairs(state.pools) do
    local old = state.registrations[i]
    old.pool = pool
    by_name[old.name] = old
  end
  state.by_name = by_name
  return state
end

--- Gives a registration the listeners, workers and connections that its name had before.
-- @tparam table registration of the new script, with its pool
-- @tparam table old entry of the state
-- @tparam function listen listen(spec): binds a new address
function upgrade.adopt(registration, old, listen)
  local by_bound, wanted = {}, {}
  for _, listener in ipairs(old.pool.listeners) do by_bound[listener.name] = listener end
  for _, spec in ipairs(registration.specs) do
    local bound = old.keys[upgrade.key(spec)]
    local listener = bound and by_bound[bound]
    if listener then
      assert(core.adopt_listener(registration.pool, listener.fd, listener.path))
      spec.bound, wanted[bound] = bound, true
    else
      listen(spec)
    end
  end
  local supervisor = registration.supervisor
  supervisor.count = registration.options.cnum == old.options.cnum and old.count or registration.options.cnum
  local serials, message = core.adopt_pool(registration.pool, old.pool)
  if not serials then error("cannot take over the workers of " .. registration.name .. ": " .. message) end
  -- Addresses that the script does not name any more: what has connected is still served.
  for name, listener in pairs(by_bound) do
    if not wanted[name] then
      core.adopt_listener(registration.pool, listener.fd, listener.path)
      core.close(registration.pool, name)
      host.log("info", ("no longer listening on %s for %s"):format(name, registration.name))
    end
  end
  if old.accepting then
    registration.accepting = true
    core.accept(registration.pool)
  end
  core.lend()
  supervisor:adopt(core.workers(registration.pool))
  if registration.options.cnum > 0 and upgrade.needs_reload(old.options, registration.options) then supervisor:reload() end
end

return upgrade
