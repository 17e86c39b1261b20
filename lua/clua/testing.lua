--- Helpers for specs of applications: a real cluster, asked over real connections. `clua test` runs the specs.
--
--     local testing = require "clua.testing"
--     describe("the shop", function()
--       local shop
--       setup(function() shop = testing.start "dispatch.lua" end)
--       teardown(testing.cleanup)
--       it("says hello", function()
--         local res = shop:get "/"
--         assert.same({ 200, "hello\n" }, { res.status, res.body })
--       end)
--     end)
--
-- A spec is written straight down, like a handler: whatever waits lets the loop go on (clua.http, clua.async, sockets).
-- There is nothing to sleep for: what one waits for is a line of the log, an answer, an end.
-- @module clua.testing

local host = require "clua.core.host"
local http = require "clua.http"
local options = require "clua.options"
local usage = require "clua.usage"
local uv = require "luv"

local testing = {}

--- Seconds after which a wait has failed. Generous, since a machine may be slow.
testing.deadline = tonumber(os.getenv("CLUA_SPEC_DEADLINE")) or 20

local KNOWN = { script = "string", serve = "string", args = "table", env = "table", cwd = "string" }

local KNOWN_OF_REQUEST = { headers = "table", body = "string|table|function", listener = "integer" }

local Cluster = {}
Cluster.__index = Cluster
testing.Cluster = Cluster

local started = {}

-- ---- waiting -------------------------------------------------------------------------------------------------------

local function wake(self)
  local list = {}
  for co in pairs(self.waiting) do list[#list + 1] = co end
  for _, co in ipairs(list) do
    if self.waiting[co] then
      self.waiting[co] = nil
      host.resume(co)
    end
  end
end

--- Waits until predicate() is true, which is asked whenever the cluster writes a line or ends; returns its value.
-- @tparam function predicate
-- @tparam string what for the message, when it does not come true in time
-- @tparam[opt] number seconds default: testing.deadline
function Cluster:wait(predicate, what, seconds)
  seconds = seconds or testing.deadline
  local co, late = coroutine.running(), false
  if not co then usage.fail(1, "wait: only in a coroutine: run the specs by `clua test`") end
  local timer = uv.new_timer()
  timer:start(math.ceil(seconds * 1000), 0, function()
    late = true
    wake(self)
  end)
  local value = predicate()
  while not value and not late do
    self.waiting[co] = true
    coroutine.yield()
    value = predicate()
  end
  timer:close()
  if value then return value end
  error(("waited %g s for %s; the log:\n%s"):format(seconds, what, self:text()), 2)
end

--- Waits for a line of the log that matches a Lua pattern; returns its captures, or the match.
-- @tparam string pattern
-- @tparam[opt] number after lines up to this one are not looked at; see mark()
function Cluster:wait_log(pattern, after)
  local line = self:wait(function()
    for i = (after or 0) + 1, #self.lines do
      if self.lines[i]:find(pattern) then return self.lines[i] end
    end
    return self.over and "over"
  end, ("a line like %q"):format(pattern))
  if line == "over" then
    error(("ended with status %s before a line like %q:\n%s"):format(self.status, pattern, self:text()), 2)
  end
  return line:match(pattern)
end

--- How many lines the log has by now.
function Cluster:mark()
  return #self.lines
end

--- The whole log.
function Cluster:text()
  return table.concat(self.lines, "\n")
end

-- ---- life ----------------------------------------------------------------------------------------------------------

local function read_lines(self, pipe)
  local rest = ""
  pipe:read_start(function(_, bytes)
    rest = rest .. (bytes or "")
    for line in rest:gmatch("([^\n]*)\n") do
      self.lines[#self.lines + 1] = line
      local address = line:match("info: listening on (%S+) for ")
      if address then self.addresses[#self.addresses + 1] = address end
    end
    rest = rest:match("[^\n]*$")
    if not bytes then
      if rest ~= "" then self.lines[#self.lines + 1] = rest end
      pipe:close()
      self.open = self.open - 1
      self.over = self.open == 0
    end
    wake(self)
  end)
end

local function environment(extra)
  local all = uv.os_environ()
  all.PORT = "0"
  for name, value in pairs(extra or {}) do all[name] = value or nil end
  local list = {}
  for name, value in pairs(all) do list[#list + 1] = name .. "=" .. value end
  return list
end

--- Starts a cluster and waits until all its workers are ready; raises an error with its log when it does not come up.
-- @tparam string|table given a dispatch script, which finds PORT=0 in its environment; or options: `script`; or
--   `serve`, what `clua serve` takes, on a free port with one worker; `args`; `env` (name = value, false takes one
--   out); `cwd`
-- @treturn Cluster fields `lines`, `addresses`, `pid`
function testing.start(given)
  if type(given) == "string" then given = { script = given } end
  given = options.check(given, KNOWN, "testing.start")
  if (given.script == nil) == (given.serve == nil) then
    usage.fail(1, "testing.start: one of 'script' and 'serve' is needed")
  end
  local self = setmetatable({ lines = {}, addresses = {}, waiting = {}, open = 3 }, Cluster)
  local args = given.script and { given.script } or { "serve", "-p", "127.0.0.1:0", "-w", "1", given.serve }
  for _, arg in ipairs(given.args or {}) do args[#args + 1] = arg end
  local out, err = uv.new_pipe(false), uv.new_pipe(false)
  local handle, pid
  handle, pid = uv.spawn("/proc/self/exe", {
    args = args, cwd = given.cwd, env = environment(given.env), stdio = { nil, out, err },
  }, function(code, signal)
    self.status = signal ~= 0 and 128 + signal or code
    handle:close()
    self.open = self.open - 1
    self.over = self.open == 0
    wake(self)
  end)
  if not handle then
    out:close()
    err:close()
    error(("cannot start a cluster%s: %s"):format(given.cwd and " in " .. given.cwd or "", tostring(pid)), 2)
  end
  self.handle, self.pid = handle, pid
  started[#started + 1] = self
  read_lines(self, out)
  read_lines(self, err)
  self:wait_log "all workers ready"
  return self
end

--- Sends it a signal: "USR1", "SIGUSR1" or "sigusr1". Nothing, when it has ended.
function Cluster:signal(name)
  local full = type(name) == "string" and "sig" .. name:lower():gsub("^sig", "")
  if not full or not uv.constants[full:upper()] then
    usage.fail(1, "signal: a name such as 'USR1' is expected, got '%s'", tostring(name))
  end
  if self.status then return self end
  local ok, message = self.handle:kill(full)
  if not ok then error(("signal: cannot send %s: %s"):format(full:upper(), message), 2) end
  return self
end

--- Stops it as an operator does; raises an error with its log unless it ends with 0.
function Cluster:stop()
  self:signal "sigterm"
  self:wait(function() return self.over end, "the end")
  if self.status ~= 0 then error(("ended with status %d:\n%s"):format(self.status, self:text()), 2) end
end

--- Ends all clusters that are still there. For teardown() or after_each().
function testing.cleanup()
  for _, cluster in ipairs(started) do cluster:signal "sigquit" end
  while #started > 0 do
    local cluster = table.remove(started)
    if not pcall(cluster.wait, cluster, function() return cluster.over end, "the end", 10) then
      cluster:signal "sigkill"
    end
  end
end

-- ---- requests ------------------------------------------------------------------------------------------------------

--- The address of the i-th listener, as `net.connect` and a URL want it: "127.0.0.1:41234".
function Cluster:address(i)
  local address = self.addresses[i or 1]
  if not address then usage.fail(1, "address: the cluster has %d listeners", #self.addresses) end
  return (address:gsub("^0%.0%.0%.0:", "127.0.0.1:"):gsub("^%[::%]:", "[::1]:"))
end

--- Asks, and waits for the whole answer.
-- @tparam string method
-- @tparam string path
-- @tparam[opt] table given `headers`, `body` (a table is sent as JSON), `listener` (1)
-- @treturn table `status`, `headers`, `body`, and `json`, when it is JSON
-- @raise no answer; the log is in the message
function Cluster:request(method, path, given)
  given = options.check(given, KNOWN_OF_REQUEST, "request")
  local headers, body = {}, given.body
  if type(body) == "table" then
    headers["Content-Type"], body = "application/json", require("cjson").encode(body)
  end
  for name, value in pairs(given.headers or {}) do headers[name] = value end
  local address = self:address(given.listener)
  local is_path = address:sub(1, 1) == "/"
  local res, message = http.request {
    method = method, url = ("http://%s%s"):format(is_path and "localhost" or address, path), headers = headers,
    body = body, agent = false, timeout = testing.deadline, socketPath = is_path and address or nil,
  }
  local text
  if res then text, message = res:body() end
  if not text then
    error(("%s %s of %s: %s; the log:\n%s"):format(method, path, address, message, self:text()), 2)
  end
  local answer = { status = res.status, headers = res.headers, body = text }
  if (res.headers["content-type"] or ""):find("json", 1, true) then
    answer.json = require("cjson.safe").decode(text)
  end
  return answer
end

--- GET.
function Cluster:get(path, headers)
  return self:request("GET", path, { headers = headers })
end

--- POST.
function Cluster:post(path, body, headers)
  return self:request("POST", path, { headers = headers, body = body })
end

return testing
