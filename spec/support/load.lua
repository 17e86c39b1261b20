-- Keep-alive clients with think time in the background, as users behind browsers are: each keeps one connection, waits
-- a moment, sends a request, reads the whole answer. They run while the spec waits for other things.
--
--   ok          a whole answer with status 200
--   bad         a whole answer with another status
--   lost        closed or reset after the request was sent and before the answer was whole
--   timeout     no whole answer within the deadline
--   refused     connecting failed
--   reconnects  the server closed between two requests (or announced it): legal, but the client sees it
--
-- Every one but ok is also an entry in `incidents`, with the times of the last request sent and of the failure.

local client = require "spec.support.client"
local loop = require "spec.support.loop"

-- Between what happens in two processes and what the spec's own clock says of it.
local MOMENT_S = 0.005

local load = {}
load.__index = load

local function note(self, kind, conn, detail)
  self[kind] = self[kind] + 1
  table.insert(self.incidents, { kind = kind, detail = detail, sent_at = conn and conn.sent_at, at = loop.now() })
end

-- Requests on one connection until it ends; false when the client shall not connect again.
local function converse(self, conn)
  while not self.stopping do
    loop.sleep(math.random() * self.think)
    if self.stopping then return end
    if conn.closed then return note(self, "reconnects", conn, conn.closed) end
    self.sent = self.sent + 1
    local status, headers, body = conn:request("GET", self.path, self.headers, nil, self.deadline)
    if not status then
      return note(self, headers == "timeout" and "timeout" or "lost", conn, headers)
    elseif status ~= 200 then
      note(self, "bad", conn, status)
    else
      self.ok = self.ok + 1
      self.bodies[body] = (self.bodies[body] or 0) + 1
      self.last_body = body
    end
    if self.headers then return end
    if headers.connection == "close" then
      -- A bad answer is an incident already.
      return status == 200 and note(self, "reconnects", conn, "connection: close")
    end
  end
end

local function run(self)
  while not self.stopping do
    local conn, reason = client.connect(self.address, self.deadline)
    if conn then
      self.connections = self.connections + 1
      converse(self, conn)
      conn:close()
    else
      note(self, "refused", nil, reason)
      loop.sleep(0.01)
    end
  end
end

--- Starts the clients. options: clients (20), think (greatest think time, 0.05 s), path, deadline (20 s), once (true: a
-- connection for each request).
function load.start(address, options)
  options = options or {}
  local self = setmetatable({ address = address, path = options.path or "/", think = options.think or 0.05,
    headers = options.once and { Connection = "close" } or nil, deadline = options.deadline or 20,
    sent = 0, ok = 0, bad = 0, lost = 0, timeout = 0, refused = 0, reconnects = 0, connections = 0,
    incidents = {}, bodies = {}, tasks = {} }, load)
  for i = 1, options.clients or 20 do
    self.tasks[i] = loop.task(function() run(self) end)
  end
  return self
end

--- Waits until so many more requests have been answered well.
function load:wait(count, seconds)
  local target = self.ok + count
  loop.wait(function() return self.ok >= target end, seconds or 30, function()
    return ("%d more answers; now: %s"):format(target - self.ok, tostring(self))
  end)
  return self
end

--- Waits until count answers with this body have come since the call.
function load:wait_body(predicate, seconds)
  loop.wait(function() return self.last_body and predicate(self.last_body) end, seconds or 30, function()
    return "an answer that the spec likes; now: " .. tostring(self)
  end)
  return self
end

--- Lets every client finish its request and ends them. Returns self for its figures.
function load:stop()
  self.stopping = true
  loop.wait(function()
    for _, task in ipairs(self.tasks) do
      if not task.done then return false end
    end
    return true
  end, self.deadline + 10, function() return "the clients to end; now: " .. tostring(self) end)
  for _, task in ipairs(self.tasks) do
    if task.error then error(task.error, 0) end
  end
  return self
end

-- A request that was sent before a kill and failed after it may have been in the worker that was killed.
local function is_excused(incident, kills)
  if incident.kind ~= "lost" and not (incident.kind == "bad" and incident.detail == 502) then return false end
  for _, at in ipairs(kills) do
    if incident.sent_at <= at + MOMENT_S and incident.at >= at then return true end
  end
  return false
end

--- Raises an error when a client has noticed anything but the loss of a request in a worker that was killed.
-- kills: times of loop.now() before each kill (or stop) of a worker
function load:assert_only_killed(kills)
  for _, incident in ipairs(self.incidents) do
    if not is_excused(incident, kills) then
      error(("%s %s, sent at %.6f, failed at %.6f; kills: %s; %s"):format(incident.kind, tostring(incident.detail),
        incident.sent_at or 0, incident.at, table.concat(kills, " "), tostring(self)), 2)
    end
  end
end

function load.__tostring(self)
  local text = {}
  for _, name in ipairs { "sent", "ok", "bad", "lost", "timeout", "refused", "reconnects", "connections" } do
    text[#text + 1] = name .. "=" .. self[name]
  end
  for i, entry in ipairs(self.incidents) do
    if i > 10 then break end
    text[#text + 1] = ("(%s: %s, %.0f ms after the last send)"):format(entry.kind, entry.detail,
      entry.sent_at and (entry.at - entry.sent_at) * 1000 or 0)
  end
  return table.concat(text, " ")
end

return load
