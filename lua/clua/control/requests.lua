--- What can be asked of a master through its control socket.
-- @module clua.control.requests

local logs = require "clua.logs"
local options = require "clua.options"

local requests = {}

local NO_LINE = 1000 -- level of errors that are at no line of a script
local BUSY = "the master is stopping"

-- op -> { arguments = { name = type }, needs = { name, ... }, run = fn(master, arguments, answer, stream) }.
-- answer(result) or answer(nil, message, code) is called once, now or later.
local known = {}

-- The registration of a name; nil, message, code.
local function find(master, name)
  local names = {}
  for _, registration in ipairs(master.registrations) do
    if registration.name == tostring(name) then return registration end
    names[registration.name] = true
  end
  local near = options.nearest(tostring(name), names)
  local list = {}
  for known_name in pairs(names) do list[#list + 1] = known_name end
  table.sort(list)
  return nil, ("nothing is registered under '%s'%s"):format(tostring(name),
    near and (", did you mean '" .. near .. "'?") or ": there is " .. table.concat(list, ", ")), "ENOENT"
end

known.status = { arguments = {}, run = function(master, _, answer)
  local registrations, itself = master:status()
  itself.control, itself.name = master.control.path, master.name
  answer { registrations = registrations, master = itself }
end }

known.reload = { arguments = { name = "string", wait = "boolean" }, run = function(master, given, answer)
  if master.stopping then return answer(nil, BUSY, "ESHUTDOWN") end
  local left, failures = 0, {}
  if given.name then
    local found, message, code = find(master, given.name)
    if not found then return answer(nil, message, code) end
    left = 1
  else
    for _, registration in ipairs(master.registrations) do left = left + (registration.builtin and 0 or 1) end
  end
  master:reload(given.name, function(failure)
    left = left - 1
    failures[#failures + 1] = failure
    if left > 0 or not given.wait then return end
    if #failures == 0 then return answer { done = true } end
    answer(nil, table.concat(failures, "; ") .. ": the old workers go on", "ECANCELED")
  end)
  if not given.wait then answer { begun = true } end
end }

known.upgrade = { arguments = { wait = "boolean" }, run = function(master, given, answer)
  local ok, message, code = master:upgrade()
  if not ok then return answer(nil, message, code) end
  if not given.wait then return answer { begun = true } end
  local waiters = master.control.waiters
  waiters[#waiters + 1] = answer
end }

known.stop = { arguments = { now = "boolean" }, run = function(master, given, answer)
  answer { begun = true } -- before there is nobody left to say it
  if given.now then master:stop_now() else master:close() end
end }

known.scale = { arguments = { name = "string", count = "integer" }, needs = { "name", "count" },
  run = function(master, given, answer)
    if master.stopping then return answer(nil, BUSY, "ESHUTDOWN") end
    local registration, message, code = find(master, given.name)
    if not registration then return answer(nil, message, code) end
    if registration.builtin then
      return answer(nil, ("'%s' is a worker of clua's own: there is one"):format(given.name), "EPERM")
    end
    local before = registration.supervisor.count
    master:scale(given.name, given.count)
    answer { before = before, count = given.count }
  end }

known["log-level"] = { arguments = { level = "string" }, run = function(master, given, answer)
  local before = master:log_level(given.level)
  answer { before = before, level = given.level or before }
end }

known["reopen-logs"] = { arguments = {}, run = function(master, _, answer)
  answer(master:reopen_logs())
end }

-- The lines that were, or those behind a position, then, with `follow`, an event for each that comes.
known.log = { arguments = { lines = "integer", after = "integer", follow = "boolean" },
  run = function(master, given, answer, stream)
    local stop
    if given.follow and not stream.begin(function() stop() end) then
      return answer(nil, "this connection follows the log already", "EBUSY")
    end
    local lines, position, missed = logs.since(given.after or math.huge)
    answer { lines = given.after and lines or master:last_log(given.lines), position = position, lost = missed }
    if not given.follow then return end
    stop = logs.follow(master, function(line, where)
      stream.send(line and { event = "log", line = line, position = where } or { event = "lost" })
    end)
  end }

-- The worker that an id or a pid means; nil, message, code.
local function find_worker(master, given)
  local found = {}
  for _, registration in ipairs(master.registrations) do
    for _, worker in pairs(registration.supervisor.workers) do
      local place = registration.supervisor.places[worker.id]
      local is_meant = worker.pid == given.worker or worker.id == given.worker and place and place.current == worker
      if is_meant and not registration.builtin and (not given.name or given.name == registration.name) then
        found[#found + 1] = { registration = registration, worker = worker }
      end
    end
  end
  if #found == 1 then
    local pid = found[1].worker.pid
    if not given.pid or given.pid == pid then return found[1] end
    return nil, ("worker %d, pid %d, has been replaced by pid %d"):format(given.worker, given.pid, pid), "ESRCH"
  end
  if #found == 0 then
    local whose = given.name and " of " .. given.name or ""
    return nil, ("there is no worker %d%s: see clua status"):format(given.worker, whose), "ENOENT"
  end
  return nil, ("there are several workers %d: name the registration, or give the pid"):format(given.worker), "EINVAL"
end

-- The worker that is meant, if its registration allows that it is asked; nil, message, code.
local function find_open(master, given)
  local found, message, code = find_worker(master, given)
  if not found then return nil, message, code end
  local name, worker = found.registration.name, found.worker
  if not found.registration.options.repl then
    return nil, ("no code is run in workers of %s: register it with repl = true"):format(name), "EACCES"
  end
  if not worker.ready or worker.retiring then
    return nil, ("worker %d, pid %d, is not ready"):format(worker.id, worker.pid), "EAGAIN"
  end
  return found
end

local function ask(master, worker, request, answer)
  local pid = worker.pid
  master.control:evaluate(worker, request, function(result, ...)
    if result then result.pid = pid end
    answer(result, ...)
  end)
end

-- Runs code in a worker.
known.evaluate = { arguments = { name = "string", worker = "integer", pid = "integer", code = "string" },
  needs = { "worker", "code" },
  run = function(master, given, answer, stream)
    local found, message, code = find_open(master, given)
    if not found then return answer(nil, message, code) end
    local worker = found.worker
    stream.note(("runs code in worker %d of %s, pid %d"):format(worker.id, found.registration.name, worker.pid))
    ask(master, worker, { code = given.code }, answer)
  end }

-- The names that a worker has; runs nothing there, so nobody is told of it.
known.complete = { arguments = { name = "string", worker = "integer", pid = "integer", prefix = "string" },
  needs = { "worker", "prefix" },
  run = function(master, given, answer)
    local found, message, code = find_open(master, given)
    if not found then return answer(nil, message, code) end
    ask(master, found.worker, { prefix = given.prefix }, answer)
  end }

--- Runs a request; raises an error of clua.usage when its arguments are wrong.
-- @tparam Master master
-- @tparam table request `op`, `id` and the arguments, from the client: it may hold anything
-- @tparam function answer
-- @tparam table stream begin(stop): false when there is one already; send(message)
function requests.run(master, request, answer, stream)
  local command = known[request.op]
  if not command then
    local near = options.nearest(request.op, known)
    return answer(nil, ("no request '%s'%s"):format(request.op, near and (", did you mean '" .. near .. "'?") or ""),
      "ENOSYS")
  end
  local given = {}
  for name, value in pairs(request) do
    if name ~= "op" and name ~= "id" then given[name] = value end
  end
  options.check(given, command.arguments, request.op, NO_LINE)
  for _, name in ipairs(command.needs or {}) do
    if given[name] == nil then return answer(nil, ("%s: '%s' is missing"):format(request.op, name), "EINVAL") end
  end
  if not master.running then return answer(nil, "the master has not been dispatched yet", "EAGAIN") end
  command.run(master, given, answer, stream)
end

return requests
