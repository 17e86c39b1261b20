-- A world for clua.supervisor without processes and without time: it plays the operating system, the workers and the
-- clock, and writes down what it is asked to do.

local Restart = require "clua.restart"
local Supervisor = require "clua.supervisor"

local World = {}
World.__index = World

--- options: count, max, window, delay, delay_max; by default those of clua.master.
function World.new(options)
  local self = setmetatable({
    clock = 0, timers = {}, serials = 0, processes = {}, done = {}, events = {}, refuse = false,
    counts = { all_ready = 0, all_gone = 0 },
  }, World)
  self.supervisor = Supervisor.new {
    name = "web", count = options.count, on_demand = options.on_demand, at_once = options.at_once,
    restart = Restart.new {
      max = options.max or 5, window = options.window or 60, delay = options.delay or 0.1,
      delay_max = options.delay_max or 30,
    },
    ops = {
      start = function(id) return self:fork(id) end,
      retire = function(serial) self:on_retire(serial) end,
      kill = function(serial) self:on_kill(serial) end,
      after = function(seconds, fn) return self:after(seconds, fn) end,
      now = function() return self.clock end,
      log = function() end,
      emit = function(...) self:on_event(...) end,
      all_ready = function() self:note("all ready", "all_ready") end,
      all_gone = function() self:note("all gone", "all_gone") end,
      on_demand = function(wanted) self.on_demand = wanted end,
    },
  }
  return self
end

-- ---- what the supervisor asks for ---------------------------------------------------------------------------------

function World:note(text, counter)
  self.done[#self.done + 1] = text
  if counter then self.counts[counter] = self.counts[counter] + 1 end
end

function World:fork(id)
  if self.refuse then
    self:note(("start %d refused"):format(id))
    return nil, "out of processes", "EAGAIN"
  end
  self.serials = self.serials + 1
  local serial = self.serials
  self.processes[serial] = { id = id, serial = serial, state = "starting", born = self.clock }
  self:note(("start %d: #%d"):format(id, serial))
  return serial, 1000 + serial
end

-- As the slot does: one that is not ready has nothing to finish and is killed.
function World:on_retire(serial)
  self:note(("retire #%d"):format(serial))
  local process = self.processes[serial]
  process.state = process.state == "ready" and "draining" or process.state == "draining" and "draining" or "killed"
end

function World:on_kill(serial)
  self:note(("kill #%d"):format(serial))
  self.processes[serial].state = "killed"
end

function World:after(seconds, fn)
  local timer = { at = self.clock + seconds, fn = fn, serial = #self.timers }
  self.timers[#self.timers + 1] = timer
  self:note(("wait %g"):format(seconds))
  return function() timer.fn = nil end
end

function World:on_event(event, name, ...)
  assert(name == "web")
  if event == "reload" then
    self:note("reload " .. ((...) and ("failed: " .. ...) or "done"))
  elseif event == "giveup" then
    self:note("give up")
  end
  self.events[#self.events + 1] = { event, ... }
  if self.handler then self.handler(event, ...) end
end

-- ---- what happens -------------------------------------------------------------------------------------------------

function World:ready(...)
  for _, serial in ipairs { ... } do
    assert(self.processes[serial].state == "starting", "only a starting worker becomes ready")
    self.processes[serial].state = "ready"
    self.supervisor:on_ready(serial)
  end
end

--- The worker drains by itself ("term"), or asks to be replaced.
function World:leave(serial, reason)
  if reason == "term" then self.processes[serial].state = "draining" end
  self.supervisor:on_leave(serial, reason)
end

function World:exit(serial, status, signal, killed_for)
  local process = self.processes[serial]
  self.processes[serial] = nil
  self.supervisor:on_exit(serial, {
    status = not signal and (status or 0) or nil, signal = signal, killed_for = killed_for,
    lived = self.clock - process.born, scores = 0,
    how = signal and ("killed by " .. signal) or ("status " .. (status or 0)),
  })
end

--- Time passes; timers run at their times, in order.
function World:advance(seconds)
  local until_time = self.clock + seconds
  while true do
    local first
    for _, timer in ipairs(self.timers) do
      if timer.fn and timer.at <= until_time and (not first or timer.at < first.at) then first = timer end
    end
    if not first then break end
    self.clock = math.max(self.clock, first.at)
    local fn = first.fn
    first.fn = nil
    fn()
  end
  self.clock = until_time
end

--- What the supervisor has asked for since the last call.
function World:took()
  local done = self.done
  self.done = {}
  return done
end

function World:pending()
  local count = 0
  for _, timer in ipairs(self.timers) do
    if timer.fn then count = count + 1 end
  end
  return count
end

--- Serials in these states, in order.
function World:serials_in(...)
  local list = {}
  for serial, process in pairs(self.processes) do
    for _, state in ipairs { ... } do
      if process.state == state then list[#list + 1] = serial end
    end
  end
  table.sort(list)
  return list
end

--- A world whose first workers are ready, 100 seconds ago.
function World.running(options)
  local world = World.new(options)
  world.supervisor:start()
  for serial = 1, options.count do world:ready(serial) end
  world:advance(100)
  world:took()
  world.events = {}
  return world
end

return World
