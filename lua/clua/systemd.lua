--- The master under systemd, or whoever speaks its protocols: the sockets that it was started with (sd_listen_fds(3))
-- and what it tells of itself (sd_notify(3)). Without their variables in the environment all of this does nothing.
--
-- What is told follows from what is (see view_of), not from single events: whatever changes calls update(), and a
-- message that could not be sent now is made again later from what is true by then.
-- @module clua.systemd

local core = require "clua.core.master"
local host = require "clua.core.host"

local systemd = {}
systemd.__index = systemd

-- None of them is for a child: it would take itself for the service.
local VARIABLES = {
  "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES",
}

local FIRST_FD = 3
local RETRY_DELAY = 0.1 -- seconds until a manager whose queue was full is told again
local STOP_MARGIN = 5 -- seconds beside term_timeout in which a stop must end

-- ---- what the environment says ------------------------------------------------------------------------------------

--- Reads the protocols' variables.
-- @tparam function getenv getenv(name) -> string or nil
-- @tparam number pid of this process
-- @treturn table `notify` address, `watchdog` seconds, both or neither; `inherited` array of { fd =, word = or nil }
function systemd.read(getenv, pid)
  local found = { inherited = {} }
  local address = getenv "NOTIFY_SOCKET"
  if address and address ~= "" then found.notify = address end
  local usec, watchdog_pid = tonumber(getenv "WATCHDOG_USEC"), getenv "WATCHDOG_PID"
  if found.notify and usec and usec > 0 and (not watchdog_pid or tonumber(watchdog_pid) == pid) then
    found.watchdog = usec / 1e6
  end
  if tonumber(getenv "LISTEN_PID") ~= pid then return found end -- meant for somebody else
  local words = {}
  for word in ((getenv "LISTEN_FDNAMES" or "") .. ":"):gmatch("([^:]*):") do words[#words + 1] = word end
  for i = 1, tonumber((getenv "LISTEN_FDS" or ""):match("^%d+$")) or 0 do
    found.inherited[i] = { fd = FIRST_FD + i - 1, word = words[i] }
  end
  return found
end

-- ---- inherited sockets --------------------------------------------------------------------------------------------

local function resolve(name)
  return require("luv").getaddrinfo(name, nil, { socktype = "stream" }) or {}
end

-- Without links and dots, so that two ways to write it are the same.
local function unix_name(path)
  return "unix:" .. (require("luv").fs_realpath(path) or path)
end

--- The names that a listener of this address may have.
-- @treturn table set of names
function systemd.names_of(spec, lookup)
  if spec.path then
    return { [unix_name(spec.path)] = true }
  elseif spec.word or spec.port == 0 then
    return {}
  elseif spec.host == "" then
    return { ["0.0.0.0:" .. spec.port] = true, ["[::]:" .. spec.port] = true }
  end
  local names = {}
  for _, found in ipairs((lookup or resolve)(spec.host)) do
    names[(found.family == "inet6" and "[%s]:%d" or "%s:%d"):format(found.addr, spec.port)] = true
  end
  return names
end

local function take(free, fits)
  for i, entry in ipairs(free) do
    if fits(entry) then return table.remove(free, i) end
  end
end

--- Finds the inherited socket of every address (its `inherited`), and gives a plain word the sockets of that name.
-- @tparam table registrations array of { name =, specs = }
-- @tparam table inherited array of { fd =, word =, name = }
-- @treturn table array of the sockets that nobody has registered
function systemd.assign(registrations, inherited)
  local free = { unpack(inherited) }
  for _, registration in ipairs(registrations) do
    local function is_named(entry) return entry.word == registration.name end
    local specs = registration.specs
    if #specs == 0 then
      local entry = take(free, is_named)
      while entry do
        specs[#specs + 1] = { word = entry.word, index = #specs + 1, inherited = entry }
        entry = take(free, is_named)
      end
    else
      for _, spec in ipairs(specs) do
        local names = #free > 0 and systemd.names_of(spec) or {}
        spec.inherited = take(free, function(entry) return names[entry.name] end)
      end
    end
  end
  return free
end

local function examine(handed)
  local sockets = {}
  for _, entry in ipairs(handed) do
    local message
    entry.name, message = core.take_inherited(entry.fd)
    if entry.name then
      local path = entry.name:match("^unix:(/.*)$")
      entry.name = path and unix_name(path) or entry.name
      sockets[#sockets + 1] = entry
    else
      host.log("warn", ("descriptor %d (%s) was handed over, but is no stream socket that listens: %s: ignored"):format(
        entry.fd, entry.word or "no name", message))
    end
  end
  return sockets
end

-- ---- what is said -------------------------------------------------------------------------------------------------

--- The next message, if there is anything to say.
-- @tparam table said what was said before: `phase` ("starting", "ready", "reloading", "stopping"), `reloads`, `status`
-- @tparam table view what is: `ready`, `reloading`, `stopping`, `reloads` (asked for so far), `status`, `stop_timeout`
-- @tparam number usec of the monotonic clock
-- @treturn string|nil message
-- @treturn table what has been said when it is sent
function systemd.next_message(said, view, usec)
  local lines, next_said = {}, { phase = said.phase, reloads = said.reloads, status = view.status }
  local function say(phase, ...)
    next_said.phase = phase
    for _, line in ipairs { ... } do lines[#lines + 1] = line end
  end
  if view.stopping then
    if said.phase ~= "stopping" then
      say("stopping", "STOPPING=1", ("EXTEND_TIMEOUT_USEC=%d"):format(view.stop_timeout * 1e6))
    end
  elseif said.phase == "starting" then
    if view.ready then say("ready", "READY=1") end
  elseif said.reloads ~= view.reloads or (said.phase == "ready" and view.reloading) then
    -- Each request is told, also one during another or one that has ended already: its manager waits for this.
    next_said.reloads = view.reloads
    say("reloading", "RELOADING=1", ("MONOTONIC_USEC=%d"):format(usec))
  elseif said.phase == "reloading" and not view.reloading then
    say("ready", "READY=1")
  end
  if view.status ~= said.status then lines[#lines + 1] = "STATUS=" .. view.status:gsub("%c", " ") end
  if #lines > 0 then return table.concat(lines, "\n"), next_said end
end

local function status_of(master)
  if master.stopping then
    local left = 0
    for _, registration in ipairs(master.registrations) do
      if not registration.builtin then left = left + registration.supervisor.worker_count end
    end
    return ("stopping, %d workers left"):format(left)
  end
  if master.leaving then return "lame duck, about to stop" end
  local parts = {}
  for _, registration in ipairs(master.registrations) do
    local supervisor = registration.supervisor
    if not registration.closed and not registration.builtin then
      parts[#parts + 1] = ("%s: %d of %d"):format(registration.name, supervisor:ready_count(), supervisor.count)
    end
  end
  return "workers ready: " .. table.concat(parts, ", ")
end

local function view_of(master)
  local ready, reloading, term_timeout = true, master.upgrading ~= nil, 0
  for _, registration in ipairs(master.registrations) do
    ready = ready and registration.supervisor.was_ready == true
    reloading = reloading or (registration.supervisor.reloads > 0 and not registration.builtin)
    term_timeout = math.max(term_timeout, registration.options.term_timeout)
  end
  return {
    ready = ready, reloading = reloading or not ready, stopping = master.leaving, reloads = master.systemd.reloads,
    status = status_of(master), stop_timeout = master.options.lame_duck + term_timeout + STOP_MARGIN,
  }
end

-- ---- the master's side --------------------------------------------------------------------------------------------

local function every(seconds, fn)
  local timer = require("luv").new_timer()
  local ms = math.max(1, math.floor(seconds * 1000))
  timer:start(ms, ms, fn)
end

local function open_notify(self)
  local ok, message = core.notify_open(self.notify)
  if not ok then
    host.log("warn", ("cannot notify '%s': %s"):format(self.notify, message))
    self.notify = nil
  elseif self.watchdog then
    local function ping() core.notify("WATCHDOG=1") end -- one that is lost is followed by another in time
    every(self.watchdog / 2, ping)
    ping()
  end
end

--- Takes what the environment says out of it, or what the master before an upgrade has left.
-- @tparam table master
-- @tparam[opt] table before result of state() before an upgrade
function systemd.open(master, before)
  local uv = require "luv"
  local self = setmetatable(before or systemd.read(os.getenv, uv.os_getpid()), systemd)
  for _, name in ipairs(VARIABLES) do uv.os_unsetenv(name) end
  self.inherited = examine(self.inherited)
  self.master = master
  self.reloads = self.reloads or 0
  self.said = self.said or { phase = "starting", reloads = 0 }
  if self.notify then open_notify(self) end
  return self
end

--- Gives the registrations their sockets; call before any is bound.
function systemd:hand_out()
  for _, entry in ipairs(systemd.assign(self.master.registrations, self.inherited)) do
    host.log("warn", ("nothing is registered for %s (%s), which was handed over: its clients wait in vain"):format(
      entry.name, entry.word or "no name"))
  end
end

--- Says what has changed.
function systemd:update()
  if not self.notify or self.retrying then return end
  local uv = require "luv"
  local view = view_of(self.master)
  local message, said = systemd.next_message(self.said, view, uv.hrtime() / 1e3)
  while message do
    local ok, why, code = core.notify(message)
    if code == "EAGAIN" then
      self.retrying = true
      local timer = uv.new_timer()
      timer:start(RETRY_DELAY * 1000, 0, function()
        timer:close()
        self.retrying = nil
        self:update()
      end)
      return
    end
    if not ok and not self.complained then
      self.complained = true
      host.log("warn", ("cannot notify '%s': %s"):format(self.notify, why))
    end
    self.said = said
    message, said = systemd.next_message(said, view, uv.hrtime() / 1e3)
  end
end

--- A reload or an upgrade was asked for.
function systemd:reloading()
  self.reloads = self.reloads + 1
  self:update()
end

--- What crosses an upgrade. The sockets do too, see keep().
function systemd:state()
  return {
    notify = self.notify, watchdog = self.watchdog, inherited = self.inherited, reloads = self.reloads,
    said = self.said,
  }
end

--- Whether the inherited sockets survive an exec.
function systemd:keep(keep)
  for _, entry in ipairs(self.inherited) do core.keep_inherited(entry.fd, keep) end
end

return systemd
