-- Torture: random events (reload, upgrade, kill, stop, scale, recycle) under mixed load, in an order that a seed gives.
--
-- What design.md promises is checked from outside, request by request. Each request has a token of its own and each
-- worker writes down the tokens that it begins to execute, so a request that fails is either explained by the worker
-- that was killed while it executed it (or read it), or a violation. So is a connection that is closed between two
-- requests, a wrong answer, a request that was executed twice, a process or a descriptor that stays.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local loop = require "spec.support.loop"
local uv = require "luv"

local WORKERS, SCALED_MAX = 3, 3
local STALL_S = 60
local BIG = 300 * 1024
-- An answer is out before the worker calls the connection idle; the scheduler may let it wait in between.
local MOMENT_S = 0.1
local PROGRESS_S = 5

local Torture = {}
Torture.__index = Torture

-- ---- clients ------------------------------------------------------------------------------------------------------

local function violate(self, format, ...)
  local text = format:format(...)
  self.violations[#self.violations + 1] = text
  if self.print then self.print("VIOLATION: " .. text) end
end

local function new_token(self)
  self.tokens = self.tokens + 1
  return ("t%dx"):format(self.tokens)
end

local function incident(self, kind, conn, request, detail)
  self.incidents[#self.incidents + 1] = { kind = kind, client = request.client, token = request.token, detail = detail,
    sent_at = request.sent_at, answered_at = conn and conn.answered_at, at = loop.now() }
end

local function new_request(self, name, kind, number, headers, body)
  local request = { client = name, token = new_token(self), expect = body and #body or kind == "big" and number or 0 }
  local path = ("/%s/%d/%s"):format(kind, number, request.token)
  request.bytes = client.format(body and "POST" or "GET", path, headers, body)
  return request
end

-- Reads the answers to these requests, in order. False when the connection is not to be used any more.
local function read_answers(self, conn, requests)
  for _, request in ipairs(requests) do
    local status, headers, body = conn:response("GET", STALL_S)
    if not status then
      incident(self, headers == "timeout" and "timeout" or "lost", conn, request, headers)
      return false
    end
    conn.answered_at = loop.now()
    if status ~= 200 then
      incident(self, "status", conn, request, status)
      return false
    elseif body:sub(1, #request.token + 1) ~= request.token .. " " or #body ~= #request.token + 1 + request.expect then
      incident(self, "wrong", conn, request, body:sub(1, 40))
      return false
    end
    self.answers[request.client] = (self.answers[request.client] or 0) + 1
    self.answered = self.answered + 1
    if headers.connection == "close" and not request.closes then
      incident(self, "close", conn, request, "connection: close")
      return false
    end
  end
  return true
end

local function send(conn, request, bytes)
  request.sent_at = loop.now()
  conn:send(bytes or request.bytes)
end

local habits = {}

function habits.keep_alive(self, conn)
  loop.sleep(math.random() * 0.3)
  if conn.closed then return incident(self, "idle", conn, { client = "keep_alive" }, conn.closed) end
  local request = new_request(self, "keep_alive", "sleep", math.random(0, 3) * 2)
  send(conn, request)
  return read_answers(self, conn, { request })
end

function habits.once(self, conn)
  loop.sleep(math.random() * 0.02)
  local request = new_request(self, "once", "sleep", 0, { Connection = "close" })
  request.closes = true
  send(conn, request)
  read_answers(self, conn, { request })
  return false
end

function habits.pipelining(self, conn)
  loop.sleep(math.random() * 0.1)
  if conn.closed then return incident(self, "idle", conn, { client = "pipelining" }, conn.closed) end
  local requests, bytes = {}, {}
  for i = 1, math.random(2, 5) do
    requests[i] = new_request(self, "pipelining", "sleep", math.random(0, 1))
    requests[i].sent_at, bytes[i] = loop.now(), requests[i].bytes
  end
  conn:send(table.concat(bytes))
  return read_answers(self, conn, requests)
end

function habits.slow_body(self, conn)
  loop.sleep(math.random() * 0.1)
  if conn.closed then return incident(self, "idle", conn, { client = "slow_body" }, conn.closed) end
  local request = new_request(self, "slow_body", "body", 0, nil, ("b"):rep(3000))
  local first, second = math.random(1, 60), math.random(61, 3000)
  send(conn, request, request.bytes:sub(1, first))
  loop.sleep(0.02)
  conn:send(request.bytes:sub(first + 1, second))
  loop.sleep(0.02)
  conn:send(request.bytes:sub(second + 1))
  return read_answers(self, conn, { request })
end

function habits.slow_reader(self, conn)
  loop.sleep(math.random() * 0.1)
  if conn.closed then return incident(self, "idle", conn, { client = "slow_reader" }, conn.closed) end
  local request = new_request(self, "slow_reader", "big", BIG)
  conn:pause()
  send(conn, request)
  loop.sleep(math.random() * 0.1)
  conn:resume()
  return read_answers(self, conn, { request })
end

function habits.blocking(self, conn)
  loop.sleep(math.random() * 0.3)
  if conn.closed then return incident(self, "idle", conn, { client = "blocking" }, conn.closed) end
  local request = new_request(self, "blocking", "block", math.random(1, 30))
  send(conn, request)
  return read_answers(self, conn, { request })
end

local CROWD = { { "keep_alive", 30 }, { "once", 5 }, { "pipelining", 5 }, { "slow_body", 5 }, { "slow_reader", 3 },
  { "blocking", 3 } }

local function run_client(self, habit)
  while not self.over do
    local conn, reason = client.connect(self.address, STALL_S)
    if not conn then
      violate(self, "%s: cannot connect: %s", habit, reason)
      loop.sleep(0.1)
    else
      self.connections = self.connections + 1
      repeat until self.over or not habits[habit](self, conn)
      conn:close()
    end
  end
end

-- ---- events -------------------------------------------------------------------------------------------------------

local function progress(self, count)
  local target = self.answered + count
  loop.wait(function() return self.answered >= target end, STALL_S, self.cluster:explain("answers to come"))
end

local function kill(self, pid, signal)
  self.kills[#self.kills + 1] = { pid = pid, at = loop.now() }
  self.killed[pid] = true
  uv.kill(pid, signal)
end

local events = {}

function events.reload(self) self.cluster:signal("sigusr1") end
function events.upgrade(self) self.cluster:signal("sigusr2") end
function events.kill(self, pid) kill(self, pid, "sigkill") end
function events.segv(self, pid) kill(self, pid, "sigsegv") end
function events.term(_, pid) uv.kill(pid, "sigterm") end

function events.stop(self, pid)
  uv.kill(pid, "sigstop")
  progress(self, math.random(1, 20))
  uv.kill(pid, "sigcont")
end

function events.kill_stopped(self, pid)
  uv.kill(pid, "sigstop")
  progress(self, math.random(1, 20))
  kill(self, pid, "sigkill")
end

function events.upgrade_and_kill(self, pid)
  self.cluster:signal("sigusr2")
  progress(self, math.random(0, 3))
  kill(self, pid, "sigkill")
end

function events.upgrade_and_reload(self)
  self.cluster:signal("sigusr2")
  progress(self, math.random(0, 3))
  self.cluster:signal("sigusr1")
end

-- The master sleeps; its workers go on with what they have.
function events.nap(self)
  self.cluster:signal("sigstop")
  local till = loop.now() + math.random() * 0.1
  pcall(loop.wait, function() return loop.now() > till end, 1)
  self.cluster:signal("sigcont")
end

function events.more(self)
  if self.scaled >= SCALED_MAX then return end
  self.scaled = self.scaled + 1
  self.cluster:signal("sigttin")
end

function events.fewer(self)
  if self.scaled == 0 then return end
  self.scaled = self.scaled - 1
  self.cluster:signal("sigttou")
end

local NAMES = {}
for name in pairs(events) do NAMES[#NAMES + 1] = name end
table.sort(NAMES) -- pairs() has another order in each process

-- A signal that waits unread would merge with the next one like it.
local function wait_scaled(self)
  self.cluster:wait(function() return self.cluster:count(" scaled from ") == self.counts.scalings end, "the scaling")
end

local function strike(self, random)
  local ready = {}
  for _, member in ipairs(self.cluster:workers()) do
    if member.ready then ready[#ready + 1] = member.pid end
  end
  local name = NAMES[random(#NAMES)]
  local pid = ready[random(math.max(1, #ready))]
  if not pid then return end
  local scaled = self.scaled
  events[name](self, pid)
  self.counts[name] = (self.counts[name] or 0) + 1
  if self.scaled ~= scaled then
    self.counts.scalings = self.counts.scalings + 1
    wait_scaled(self)
  end
  progress(self, random(60))
end

-- ---- the judgement ------------------------------------------------------------------------------------------------

-- token -> pids that have begun it
local function read_records(self)
  local begun = {}
  local request = assert(uv.fs_scandir(self.records))
  for name in function() return uv.fs_scandir_next(request) end do
    for line in io.lines(self.records .. "/" .. name) do
      local token = line:match("^%+(%w+)$")
      if token then
        begun[token] = begun[token] or {}
        table.insert(begun[token], tonumber(name))
      end
    end
  end
  return begun
end

local function killed_between(self, from, to, moment)
  for _, blow in ipairs(self.kills) do
    if blow.at >= from - moment and blow.at <= to then return true end
  end
  return false
end

local function is_explained(self, entry, begun)
  if entry.kind == "lost" or (entry.kind == "status" and entry.detail == 502) then
    local pids = begun[entry.token]
    if pids and not self.killed[pids[1]] then return false end
    return killed_between(self, entry.sent_at, entry.at, 0)
      -- Sent after the kill, into a connection whose last answer had not yet been called complete.
      or (not pids and entry.kind == "lost" and entry.answered_at ~= nil
        and killed_between(self, entry.answered_at, entry.at, MOMENT_S))
  end
  return entry.kind == "idle" and entry.answered_at ~= nil
    and killed_between(self, entry.answered_at, math.min(entry.at, entry.answered_at + MOMENT_S), MOMENT_S)
end

local function judge(self)
  local begun = read_records(self)
  self.explained = 0
  for _, entry in ipairs(self.incidents) do
    if is_explained(self, entry, begun) then
      self.explained = self.explained + 1
    else
      local pids = begun[entry.token or ""]
      violate(self, "%s: %s %s, request %s begun by %s, sent %.3f s and answered %.3f s before, at %.3f", entry.client,
        entry.kind, tostring(entry.detail), tostring(entry.token), pids and table.concat(pids, " ") or "nobody",
        entry.sent_at and entry.at - entry.sent_at or 0, entry.answered_at and entry.at - entry.answered_at or 0,
        entry.at - self.began)
    end
  end
  for token, pids in pairs(begun) do
    if #pids > 1 then violate(self, "request %s was executed by %s", token, table.concat(pids, " and ")) end
  end
end

local function wait_or_violate(self, what, predicate)
  local ok, message = pcall(loop.wait, predicate, 30, what)
  if not ok then violate(self, "%s", message) end
end

local function check_leftovers(self, fds)
  local c, workers = self.cluster, WORKERS + self.scaled
  wait_or_violate(self, workers .. " ready workers", function()
    local ready = 0
    for _, member in ipairs(c:workers()) do ready = ready + (member.ready and 1 or 0) end
    return ready == workers and #c:workers() == workers
  end)
  wait_or_violate(self, workers .. " processes, no other", function() return #c:left() == workers end)
  -- Of each worker channel, segment and pipe; one that libuv keeps for itself.
  wait_or_violate(self, "descriptors to be closed", function() return c:fds() <= fds + 3 * self.scaled + 1 end)
  c:signal("sigterm")
  wait_or_violate(self, "the master to end", function() return c.code end)
  if c.code ~= 0 or c.exit_signal ~= 0 then
    violate(self, "the master ended with status %s, signal %s", tostring(c.code), tostring(c.exit_signal))
  end
  wait_or_violate(self, "all processes to end", function() return #c:left() == 0 end)
  for _, entry in ipairs(c:events("^bug: ")) do violate(self, "log: %s", entry.text) end
  for _, entry in ipairs(c:events("nonsense")) do violate(self, "log: %s", entry.text) end
end

-- ---- the whole ----------------------------------------------------------------------------------------------------

function Torture:summary()
  local parts = {}
  for name, count in pairs(self.answers) do parts[#parts + 1] = name .. " " .. count end
  table.sort(parts)
  local blows = {}
  for _, name in ipairs(NAMES) do blows[#blows + 1] = name .. " " .. (self.counts[name] or 0) end
  return ("seed %d, %.0f s: %d answers (%s) on %d connections; events: %s; log: %d upgrades, %d reloads done, "
    .. "%d recycled; %d requests or connections lost with a worker that was killed; %d violations"):format(self.seed,
    loop.now() - self.began, self.answered, table.concat(parts, ", "), self.connections, table.concat(blows, ", "),
    self.cluster:count("upgraded, generation"), self.cluster:count("reload of .* done"),
    self.cluster:count("leaves %(maxc%)"), self.explained or 0, #self.violations)
end

--- Tortures a cluster of its own.
-- options: seconds, seed, print (function, hears violations and progress)
-- Returns an object with `violations` (texts), `answered`, `cluster`, summary().
function Torture.run(options)
  local self = setmetatable({ seed = options.seed, print = options.print, tokens = 0, answered = 0, connections = 0,
    scaled = 0, answers = {}, incidents = {}, violations = {}, kills = {}, killed = {}, counts = { scalings = 0 },
    began = loop.now() }, Torture)
  math.randomseed(options.seed)
  -- Clients draw from math.random(); the blows must not depend on how often.
  local state = options.seed
  local function random(max)
    state = (state * 1103515245 + 12345) % 2147483648
    return math.floor(state / 65536) % max + 1
  end
  self.cluster = cluster.start { dispatch = ([[
    local master = require("clua").Master { max_fatal_restart = 99999, restart_delay = 0.01, restart_delay_max = 0.05 }
    master:register("127.0.0.1:0", %q, { cnum = %d, linger = 0.05, maxc = 60, hang_timeout = 600, queue_timeout = 600,
      args = { "records" } })
    os.execute("mkdir -p records")
    master:dispatch()
  ]]):format(cluster.fixture("tortured"), WORKERS) }
  self.cluster:wait_log("all workers ready")
  self.records = self.cluster.dir .. "/records"
  self.address = self.cluster:address()
  local fds = self.cluster:fds()

  local running = 0
  for _, group in ipairs(CROWD) do
    for _ = 1, group[2] do
      running = running + 1
      loop.task(function() run_client(self, group[1]) end, function(task)
        running = running - 1
        if task.error then violate(self, "client: %s", task.error) end
      end)
    end
  end
  local next_report = loop.now() + PROGRESS_S
  repeat
    strike(self, random)
    if self.print and loop.now() > next_report then
      self.print(self:summary())
      next_report = loop.now() + PROGRESS_S
    end
  until loop.now() - self.began >= options.seconds
  self.over = true
  wait_or_violate(self, "the clients to end", function() return running == 0 end)
  check_leftovers(self, fds)
  judge(self)
  return self
end

return Torture
