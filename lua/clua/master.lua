--- The master of a cluster: registers workers, dispatches, reloads, scales, stops. It never runs application code and
-- never reads a byte from a client.
-- @module clua.master

local admin = require "clua.admin"
local adopting = require "clua.upgrade.adopting"
local Control = require "clua.control"
local core = require "clua.core.master"
local host = require "clua.core.host"
local Emitter = require "clua.emitter"
local is_callable = require "clua.callable"
local logs = require "clua.logs"
local on_event = require "clua.master.events"
local options = require "clua.options"
local place = require "clua.control.place"
local Registration = require "clua.registration"
local running = require "clua.master.running"
local systemd = require "clua.systemd"
local takeover = require "clua.master.takeover"
local upgrade = require "clua.upgrade"
local usage = require "clua.usage"
local wire = require "clua.wire"

local EXIT_SYSTEM = 111
local SETTLE_S, SETTLE_PAUSE_S = 1.5, 0.005 -- the kernel's time is a second

local Master = Emitter.class("Master")

local master_options = {
  pidfile = "string", max_fatal_restart = "integer", restart_time_window = "number", restart_delay = "number",
  restart_delay_max = "number", log_level = "string", log_prefix = "string", error_log = "string",
  lame_duck = "number", directory = "string", admin = "string|integer|table",
  control = "string|boolean",
}

local master_defaults = {
  max_fatal_restart = 5, restart_time_window = 60, restart_delay = 0.1, restart_delay_max = 30, log_level = "info",
  lame_duck = 0, log_prefix = "auto",
}

local dispatched -- the one master of this process

local function log(level, text)
  host.log(level, text)
end

--- Makes a master. Options: `pidfile` path; `max_fatal_restart` (5) deaths within `restart_time_window` (60 s) before
-- `giveup`; `restart_delay` (0.1 s) and `restart_delay_max` (30 s), the back-off; `log_level` ("debug", "info", "warn",
-- "error"); `error_log` path (standard error); `log_prefix` ("auto", "time", "priority"); `lame_duck` (0 s), for
-- which a stop is announced before it begins; `directory`, the working directory; `admin`, the address of the listener
-- for health checks and metrics (see clua.admin); `control`, the path of the control socket, or false for none.
-- @tparam[opt] table given
-- @treturn Master
function Master.new(given)
  options.check(given, master_options, "Master", 2)
  local self = setmetatable({
    registrations = {}, by_pool = {}, upgrades = 0, options = options.complete(given, master_defaults),
  }, Master)
  self.name = place.name_of(rawget(_G, "arg") and arg[0] or "clua")
  logs.check_options(self.options)
  self.directory = self.options.directory and Registration.absolute(self.options.directory)
  self.admin = admin.registration(self.options.admin, self.directory)
  return self
end

--- Registers workers under a name. Chainable.
-- @tparam number|string|table name port, "host:port", "[::1]:port", "unix:/path", array of these, or a plain word
-- @tparam string path the worker script
-- @tparam[opt] table given options, see lua/README.md
-- @return self
function Master:register(name, path, given)
  if self.running then usage.fail(1, "register: the master has been dispatched already") end
  local added = Registration.new(name, path, given, self.directory)
  if self.admin and added.name == self.admin.name then
    usage.fail(1, "register: '%s' is the name of the registration that the option 'admin' makes", added.name)
  end
  for _, other in ipairs(self.registrations) do
    if other.name == added.name then usage.fail(1, "register: '%s' is registered already", added.name) end
  end
  self.registrations[#self.registrations + 1] = added
  return self
end

-- Only now: until here the script may still load modules by paths that are relative to where it was started.
local function enter_directory(self)
  if not self.directory then return end
  local ok, message, code = require("luv").chdir(self.directory)
  if ok then return end
  message = message:gsub("^%u+: ", "")
  usage.refuse(("cannot enter the directory %s: %s"):format(self.directory, message), code, EXIT_SYSTEM)
end

-- ---- dispatch -----------------------------------------------------------------------------------------------------

local function listen(registration, spec)
  local name, message, code
  if spec.inherited then
    name, message, code = core.listen_inherited(registration.pool, spec.inherited.fd)
  else
    name, message, code = core.listen(registration.pool, spec.host, spec.port, spec.path, registration.options.mode)
  end
  if not name then usage.refuse(message, code, EXIT_SYSTEM) end
  spec.bound = name
  log("info", ("listening on %s for %s"):format(name, registration.name))
end

-- `clua -t`: says what was found and exits.
local function test(self)
  local found, message = upgrade.test(self)
  if not found then usage.refuse(message, "EADDRINUSE", EXIT_SYSTEM) end
  for _, registration in ipairs(self.registrations) do running.tell_missing(self, registration) end
  print(found)
  os.exit(0)
end

local function take_pidfile(self)
  self.pidfile = self.options.pidfile and Registration.absolute(self.options.pidfile)
  if not self.pidfile then return end
  local ok, message, code = core.pidfile(self.pidfile)
  if not ok then usage.refuse(message, code, EXIT_SYSTEM) end
end

--- Binds, starts the workers and returns; the event loop does the rest. Raises an error (clua.usage) when a script does
-- not compile, an address cannot be bound, the pid file belongs to a running master.
-- @return self
function Master:dispatch()
  if dispatched then usage.fail(1, "dispatch: this process has dispatched already") end
  if #self.registrations == 0 then usage.fail(1, "dispatch: nothing is registered") end
  if require("clua.core.worker").boot() then usage.fail(1, "dispatch: a worker cannot be a master") end
  if self.admin then
    admin.choose_user(self.admin, self.registrations)
    self.registrations[#self.registrations + 1] = self.admin
  end
  for _, one in ipairs(self.registrations) do Registration.check(one) end
  enter_directory(self)
  logs.check_files(self)
  if core.testing() then test(self) end
  local state = adopting.take()
  logs.open(self, state and state.logs)
  self.started = state and state.started or os.time()
  local ok, message, code = core.setup(function(...) on_event(self, ...) end)
  if not ok then usage.refuse(message, code, EXIT_SYSTEM) end
  if state then takeover.keep_pidfile(self, state) else take_pidfile(self) end
  Control.open(self, state and state.control)
  self.systemd = systemd.open(self, state and state.systemd)
  self.systemd:hand_out()
  dispatched, self.running = self, true
  for _, registration in ipairs(self.registrations) do
    registration.pool = core.pool(registration.options)
    self.by_pool[registration.pool] = registration
    running.supervise(self, registration)
    if not state then
      running.tell_missing(self, registration)
      running.watch(self, registration)
    end
  end
  if state then
    logs.open_access(self)
    takeover.go_on(self, state, listen)
  else
    for _, registration in ipairs(self.registrations) do
      for _, spec in ipairs(registration.specs) do listen(registration, spec) end
    end
    logs.begin(self)
    for _, registration in ipairs(self.registrations) do registration.supervisor:start() end
  end
  core.running()
  self.systemd:update()
  return self
end

-- ---- control ------------------------------------------------------------------------------------------------------

local function find(self, name, where)
  for _, registration in ipairs(self.registrations) do
    if registration.name == tostring(name) then return registration end
  end
  usage.fail(2, "%s: nothing is registered under '%s'", where, tostring(name))
end

--- Replaces the workers of one registration, or of all, with new ones; see Supervisor.reload.
-- Workers of clua's own (`admin`) are replaced only when they are named: their code is the binary's.
-- @tparam[opt] string name
-- @tparam[opt] function done done(failure or nil), for each registration
function Master:reload(name, done)
  if done ~= nil and not is_callable(done) then
    usage.fail(1, "reload: done must be a function, got %s", type(done))
  end
  if not self.running then usage.fail(1, "reload: the master has not been dispatched") end
  if self.stopping then return self end
  for _, registration in ipairs(name and { find(self, name, "reload") } or self.registrations) do
    if name or not registration.builtin then registration.supervisor:reload(done) end
  end
  self.systemd:reloading()
  return self
end

--- Upgrades this master in place: new binary, new dispatch script, same pid, workers and connections. See clua.upgrade.
-- @treturn boolean|nil true when the check has begun (event `upgrade` follows, with a reason if it failed); nil,
--   message, code
function Master:upgrade()
  if not self.running then usage.fail(1, "upgrade: the master has not been dispatched") end
  return upgrade.start(self)
end

--- Sets the number of workers of a registration.
function Master:scale(name, count)
  local registration = find(self, name, "scale")
  if registration.builtin then usage.fail(1, "scale: '%s' is a worker of clua's own: there is one", name) end
  Registration.count(count, "scale: the number of workers", 2)
  if not self.running then usage.fail(1, "scale: the master has not been dispatched") end
  if not self.stopping then registration.supervisor:scale(count) end
  self.systemd:update()
  return self
end

--- Where the master is in its life.
-- @treturn string "starting" (not all workers have been ready yet), "running", "lame duck" (a stop is announced, and
--   everything goes on as before), "stopping"
-- @treturn boolean whether clients should come: running, and every registration has a worker that is ready
function Master:state()
  if not self.running then return "starting", false end
  if self.stopping then return "stopping", false end
  if self.leaving then return "lame duck", false end
  local ready = true
  for _, registration in ipairs(self.registrations) do
    if not registration.builtin then
      if not registration.supervisor.was_ready then return "starting", false end
      ready = ready and registration.supervisor:is_serving()
    end
  end
  return "running", ready
end

local function stop(self)
  self.leaving, self.stopping = true, true
  log("info", "stopping")
  for _, registration in ipairs(self.registrations) do
    if registration ~= self.admin then
      registration.closed = true
      core.close(registration.pool)
    end
  end
  -- What was accepted just now goes to the workers before they are told to finish.
  core.lend()
  for _, registration in ipairs(self.registrations) do
    if registration ~= self.admin then registration.supervisor:stop() end
  end
  self.systemd:update()
end

-- Who has connected, and sends the request in this moment, may be known to the kernel alone, which would reset it: goes
-- on until there is none. After a second the kernel keeps none.
local function settle(self)
  local till = running.now() + SETTLE_S
  local function look()
    if self.stopping then return end
    local waits = false
    for _, registration in ipairs(self.registrations) do
      if registration ~= self.admin and core.settle(registration.pool) then waits = true end
    end
    if not waits or running.now() > till then return stop(self) end
    running.after(SETTLE_PAUSE_S, look)
  end
  look()
  if not self.stopping then log("debug", "stopping when the clients that have connected have spoken") end
end

--- Stops: no new connections, requests in execution finish (term_timeout), then the process exits with 0. With
-- `lame_duck` it goes on as before for that time, but says that it is not ready any more.
function Master:close()
  if not self.running then usage.fail(1, "close: the master has not been dispatched") end
  if self.leaving then return self end
  local is_serving = self:state() == "running"
  self.leaving = true
  upgrade.cancel(self)
  if not is_serving then
    stop(self)
    return self
  end
  if self.options.lame_duck == 0 then
    settle(self)
    return self
  end
  log("info", ("lame duck: stopping in %.3g s"):format(self.options.lame_duck))
  running.after(self.options.lame_duck, function()
    if not self.stopping then settle(self) end
  end)
  self.systemd:update()
  return self
end

--- Stops at once: requests in execution are lost; the process exits with 3.
function Master:stop_now()
  if not self.running then usage.fail(1, "stop_now: the master has not been dispatched") end
  self.forced = true
  upgrade.cancel(self)
  if not self.stopping then stop(self) end
  log("warn", "stopping at once")
  for _, registration in ipairs(self.registrations) do registration.supervisor:kill() end
  return self
end

-- Hands encoded bytes to the workers of a registration, but for the sender.
function Master:route(name, bytes, pid, sender)
  for _, registration in ipairs(self.registrations) do
    if registration.name == name then
      for serial, worker in pairs(registration.supervisor.workers) do
        if serial ~= sender and (not pid or pid == 0 or pid == worker.pid) then
          local ok, message = core.deliver(serial, bytes)
          if not ok then log("warn", ("message to worker %d of %s dropped: %s"):format(worker.id, name, message)) end
        end
      end
      return true
    end
  end
  log("warn", ("message dropped: nothing is registered under '%s'"):format(name))
  return nil, "nothing is registered under '" .. name .. "'", "ENOENT"
end

--- Sends a message to every worker of a registration.
-- @tparam string|number name
-- @param message string, number, boolean or table of these; at most 65,000 bytes encoded
-- @treturn boolean|nil nil, message, code
function Master:broadcast(name, message)
  if not self.running then usage.fail(1, "broadcast: the master has not been dispatched") end
  local bytes, why, code = wire.broadcast(message, "master", 0)
  if not bytes then return nil, why, code end
  return self:route(tostring(name), bytes)
end

--- Opens the log files anew, for who has renamed them. See clua.logs.
-- @treturn boolean|nil nil, message, code when one cannot be opened: what was open before is written to
function Master:reopen_logs()
  if not self.running then usage.fail(1, "reopen_logs: the master has not been dispatched") end
  return logs.reopen(self)
end

--- Sets the level from which on lines are logged, of the master and all its workers, at once; without an argument says
-- what it is.
-- @tparam[opt] string level "debug", "info", "warn", "error"
-- @treturn string the level before the call
function Master:log_level(level)
  if not self.running then usage.fail(1, "log_level: the master has not been dispatched") end
  return logs.level(self, level)
end

--- Follows the log: fn(line) for each line that the master writes, be it its own or a worker's, without its newline.
-- Lines that fn itself brings about are not told, nor those that were too many to be kept (128 KiB): then fn gets nil
-- first.
-- @tparam function fn
-- @treturn function that ends it
function Master:on_log(fn)
  if type(fn) ~= "function" then usage.fail(1, "on_log: a function is expected, got %s", type(fn)) end
  if not self.running then usage.fail(1, "on_log: the master has not been dispatched") end
  return logs.follow(self, function(line) fn(line) end)
end

--- The last lines of the log, oldest first (128 KiB are kept, over upgrades too).
-- @tparam[opt=10] number count
-- @treturn table array of strings
function Master:last_log(count)
  if not self.running then usage.fail(1, "last_log: the master has not been dispatched") end
  return logs.last(count or 10)
end

--- What is known of every registration, and of the master. See lua/README.md for the fields.
-- @treturn table array of { name, ready, wanted, counters, exits, workers }
-- @treturn table the master's own figures
function Master:status()
  if not self.running then usage.fail(1, "status: the master has not been dispatched") end
  return require("clua.status").of(self)
end

return Master
