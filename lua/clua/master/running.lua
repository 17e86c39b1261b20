--- What a master that has been dispatched is made of: its clock and timers, the handlers of its script, and for each
-- registration a supervisor and, if files are watched, a watch.
-- @module clua.master.running

local core = require "clua.core.master"
local host = require "clua.core.host"
local Quarantine = require "clua.quarantine"
local Registration = require "clua.registration"
local Restart = require "clua.restart"
local Supervisor = require "clua.supervisor"
local trace = require "clua.trace"
local uv = require "luv"
local Watch = require "clua.watch"

local running = {}

local EXIT_FORCED = 3

--- Calls fn once. Returns a function that forgets it.
function running.after(seconds, fn)
  local timer = uv.new_timer()
  timer:start(math.floor(seconds * 1000), 0, function()
    timer:close()
    fn()
  end)
  return function()
    if not timer:is_closing() then timer:close() end
  end
end

--- Seconds of a clock that is never set.
function running.now()
  return uv.hrtime() / 1e9
end

--- Handlers of the dispatch script, in a coroutine of their own: one that waits holds up nobody, an error in one is
-- logged.
function running.emit(self, event, ...)
  if self:listenerCount(event) == 0 then return end
  host.spawn(function(...)
    local ok, message = xpcall(self.emit, trace.handler, self, event, ...)
    if not ok then host.log("error", ("handler of '%s': %s"):format(event, message)) end
  end, ...)
end

local function all_ready(self)
  for _, registration in ipairs(self.registrations) do
    if not registration.supervisor.was_ready then return end
  end
  local ok, message = core.publish_pid()
  if not ok then host.log("error", "cannot write the pid file: " .. message) end
  host.log("info", "all workers ready")
end

-- The admin worker serves until all others are gone: who asks is told that the cluster is stopping.
local function all_gone(self)
  for _, registration in ipairs(self.registrations) do
    if registration ~= self.admin and registration.supervisor.worker_count > 0 then return end
  end
  if self.admin and not self.admin.closed then
    self.admin.closed = true
    core.close(self.admin.pool)
    if not self.admin.supervisor.stopping then
      self.admin.supervisor:stop() -- and once more, when that is done
      return
    end
  end
  if self.admin and self.admin.supervisor.worker_count > 0 then return end
  core.finish(self.forced and EXIT_FORCED or 0, self.forced)
end

--- Until a worker is ready, or one is to be started for who comes, clients wait in the kernel's backlog.
function running.accept(registration)
  if registration.accepting or registration.closed then return end
  registration.accepting = true
  local ok, message = core.accept(registration.pool)
  if not ok then host.log("error", ("cannot accept on %s: %s"):format(registration.name, message)) end
end

--- Gives a registration its supervisor.
function running.supervise(self, registration)
  local pool = registration.pool
  local settings = self.options
  registration.quarantine = Quarantine.new(registration.options.quarantine)
  registration.supervisor = Supervisor.new {
    name = registration.name,
    count = registration.options.cnum,
    on_demand = not registration.closed,
    at_once = registration.options.watch and true or false,
    restart = Restart.new {
      max = settings.max_fatal_restart, window = settings.restart_time_window, delay = settings.restart_delay,
      delay_max = settings.restart_delay_max,
    },
    ops = {
      start = function(id) return core.start(pool, id) end,
      retire = core.retire,
      kill = core.kill,
      after = running.after,
      now = running.now,
      log = host.log,
      emit = function(event, ...)
        -- Of clua's own workers only what somebody must do something about.
        if not registration.builtin or event:find("giveup", 1, true) then running.emit(self, event, ...) end
      end,
      all_ready = function() all_ready(self) end,
      all_gone = function() all_gone(self) end,
      on_demand = function(wanted)
        core.on_demand(pool, wanted)
        if wanted then running.accept(registration) end
      end,
    },
  }
end

--- Tells of paths of the option `watch` that are not there: they may come later, or be a slip of the pen.
function running.tell_missing(self, registration)
  for _, path in ipairs(registration.options.watch or {}) do
    local whole = Registration.absolute(path, self.directory)
    if not uv.fs_stat(whole) then
      host.log("warn", ("watch of %s: %s is not there; it is watched when it comes"):format(registration.name, whole))
    end
  end
end

--- Watches the files of a registration that wants it.
-- @tparam[opt] table known files that its workers had told of before an upgrade
function running.watch(self, registration, known)
  local wanted, script = registration.options.watch, registration.options.script
  if not wanted then return end
  Watch.announce()
  local paths = { unpack(wanted) }
  if script:sub(1, 1) ~= "=" then table.insert(paths, 1, script) end
  for _, path in ipairs(known or {}) do paths[#paths + 1] = path end
  registration.watch = Watch.new {
    name = registration.name, paths = paths, directory = self.directory, changed = function()
      registration.supervisor:give_up_incoming()
      self:reload(registration.name)
    end,
  }
end

return running
