--- Upgrade in place (SIGUSR2): the master checks the new binary and the dispatch script in a child, and then executes
-- itself. Pid, workers, listeners and every connection stay.
--
-- The state that crosses is what the C side gives as a snapshot (lua_upgrade.c) and, for each registration, what only
-- the policy knows: its options, its listeners by the name that the script gave them, how many workers it has. The
-- master that begins with it adopts all that (clua.upgrade.adopting).
-- @module clua.upgrade

local core = require "clua.core.master"
local buffer = require "string.buffer"
local host = require "clua.core.host"
local systemd = require "clua.systemd"

local upgrade = {}

local CHECK_TIMEOUT = 30 -- seconds
local HELD_VARIABLE = "CLUA_TEST_HELD"

--- How a dispatch script names a listener; what says whether a registration's address has changed.
function upgrade.key(spec)
  if spec.word then return ("inherited %s %d"):format(spec.word, spec.index) end
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
  local masters = { "cnum", "gone", "lost", "queue_max", "queue_timeout", "steal_after", "hang_timeout", "mode",
    "quarantine", "idle_timeout", "defer_accept", "watch" }
  for _, name in ipairs(masters) do
    old[name], new[name] = nil, nil
  end
  return not same(old, new)
end

-- ---- the old master -----------------------------------------------------------------------------------------------

local function why_not(master)
  if master.leaving then return "the master is stopping" end
  if master.upgrading then return "an upgrade is running already" end
  for _, registration in ipairs(master.registrations) do
    local supervisor = registration.supervisor
    if not registration.builtin then
      if not supervisor.was_ready then return registration.name .. " has not been ready yet" end
      if supervisor:is_reloading() then return registration.name .. " is being reloaded" end
    end
  end
  return nil
end

local function held_listeners(master)
  local held = {}
  for _, registration in ipairs(master.registrations) do
    for _, spec in ipairs(registration.specs) do held[#held + 1] = upgrade.key(spec) end
  end
  for _, socket in ipairs(master.systemd.inherited) do held[#held + 1] = socket.name end
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
  state.upgrades, state.started = master.upgrades + 1, master.started
  state.pidfile = master.pidfile
  state.systemd = master.systemd:state()
  state.control = master.control:state()
  state.registrations = {}
  for i, registration in ipairs(master.registrations) do
    local addresses = {}
    for _, spec in ipairs(registration.specs) do
      if spec.bound then addresses[#addresses + 1] = { key = upgrade.key(spec), bound = spec.bound } end
    end
    state.registrations[i] = {
      name = registration.name, options = plain(registration.options), addresses = addresses,
      count = registration.supervisor.count, accepting = registration.accepting,
      supervisor = registration.supervisor:state(),
      watched = registration.watch and registration.watch:files(),
      quarantine = { deaths = registration.quarantine.deaths, refused = registration.quarantine.refused },
    }
  end
  state.logs = master.logs:state()
  return buffer.encode(state)
end

local function failed(master, why)
  master.upgrading = nil
  host.log("error", "upgrade failed: " .. why .. ": nothing has changed")
  master.systemd:update()
  master.control:upgrade_failed(why)
  master:emit("upgrade", why)
end

-- What libuv has caught of signals it hands out in this turn of the loop or in the next; fn runs after that. Signals
-- that come from here on wait for the next master.
local function after_signals(fn)
  local uv = require "luv"
  local idle, check, turns = uv.new_idle(), uv.new_check(), 0
  core.block()
  idle:start(function() end) -- the next turn does not wait
  check:start(function()
    turns = turns + 1
    if turns < 2 then return end
    idle:close()
    check:close()
    fn()
  end)
end

local function cancelled(master)
  if not master.leaving then return false end
  host.log("info", "upgrade cancelled: the master is stopping")
  master.control:upgrade_failed("the master is stopping")
  return true
end

local function execute(master)
  if cancelled(master) then
    core.unblock()
    return
  end
  host.log("info", "upgrade checked, executing " .. (core.program()))
  master.systemd:keep(true)
  local _, message = core.exec(state_of(master))
  core.unblock()
  master.systemd:keep(false)
  failed(master, "cannot execute: " .. message)
end

local function checked(master, status, output)
  if cancelled(master) then return end
  local _, version, layout = core.program()
  local its_version, its_layout = output:match("state (%d+), segment (%d+)")
  if status ~= 0 or not its_version then
    local why = output:gsub("\nstack traceback:.*", ""):gsub("%s+$", ""):gsub("\n", "; ")
    if why == "" then why = "it has said nothing; does the script get to its dispatch()?" end
    failed(master, ("the check exited with %d: %s"):format(status, why))
    return
  end
  if tonumber(its_version) ~= version or tonumber(its_layout) ~= layout then
    failed(master, ("the new binary speaks state %s and segment %s, this one %d and %d: stop and start instead")
      :format(its_version, its_layout, version, layout))
    return
  end
  after_signals(function() execute(master) end)
end

--- Starts an upgrade: checks in a child, then replaces this process. Refused before all workers were ready, during a
-- reload, another upgrade or a stop. A failed check changes nothing; the reason is logged and the master's event
-- `upgrade`.
function upgrade.start(master)
  local uv = require "luv"
  local why = why_not(master)
  if why then
    host.log("warn", "upgrade refused: " .. why)
    return nil, why, "EBUSY"
  end
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
  local program, _, _, directory = core.program()
  local handle, message
  handle, message = uv.spawn(program, {
    args = args, stdio = { nil, pipes[1], pipes[2] }, env = test_environment(master), cwd = directory,
  }, function(code, signal)
    status = signal ~= 0 and 128 + signal or code
    handle:close()
    part_done()
  end)
  if not handle then
    for _, pipe in ipairs(pipes) do pipe:close() end
    timer:close()
    message = ("cannot run the check: %s in %s: %s"):format(program, directory or ".", tostring(message))
    failed(master, message)
    return nil, message
  end
  master.upgrading = handle
  master.systemd:reloading()
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

--- Ends an upgrade that is still being checked.
function upgrade.cancel(master)
  local check = master.upgrading
  if check and not check:is_closing() then check:kill("sigkill") end
end

-- ---- the check ----------------------------------------------------------------------------------------------------

local function is_held(spec, keys)
  if keys[upgrade.key(spec)] then return true end
  for name in pairs(systemd.names_of(spec)) do
    if keys[name] then return true end
  end
  return false
end

--- What `clua -t` says of a dispatch script whose scripts and users have been checked. During an upgrade it also tries
-- the addresses that the running master does not hold yet.
-- @treturn string|nil nil, message
function upgrade.test(master)
  local held = os.getenv(HELD_VARIABLE)
  if held then
    local keys = {}
    for key in held:gmatch("[^\n]+") do keys[key] = true end
    for _, registration in ipairs(master.registrations) do
      local pool = core.pool(registration.options)
      for _, spec in ipairs(registration.specs) do
        if not is_held(spec, keys) then
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

return upgrade
