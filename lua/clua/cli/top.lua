--- `clua top`
-- @module clua.cli.top

local Client = require "clua.control.client"
local Screen = require "clua.control.screen"
local async = require "clua.async"
local target = require "clua.control.target"
local top = require "clua.control.top"
local uv = require "luv"

local command = { summary = "watch the workers of a cluster" }

local INTERVAL_MIN, INTERVAL_MAX = 0.1, 3600
local RECONNECT_TRIES, RECONNECT_PAUSE_S = 100, 0.1
local EXIT_NO_MASTER = 111

local sort_keys = {}
for _, sort in ipairs(top.sorts) do sort_keys[sort.key] = true end

local function seconds(word)
  local number = tonumber(word)
  if number and number >= INTERVAL_MIN and number <= INTERVAL_MAX then return number end
  return nil, ("the interval must be seconds, %g to %g, got '%s'"):format(INTERVAL_MIN, INTERVAL_MAX, word)
end

function command.configure(parser)
  target.configure(parser)
  parser:option("--interval", "seconds between two looks"):argname("SECONDS"):convert(seconds):default "1"
  parser:option("--sort", "i id, r remain, s requests/s, l lag, m memory, c cpu"):argname("KEY"):default("i")
    :choices { "i", "r", "s", "l", "m", "c" }
  parser:flag("--once", "one look, after one interval")
end

-- A master that is being upgraded is back in a moment.
local function sample(self)
  for _ = 1, RECONNECT_TRIES do
    local status, message, code
    if self.client then status, message, code = self.client:request "status" end
    if status then return { at = uv.hrtime() / 1e9, status = status } end
    if self.client and code ~= "EOF" and code ~= "ECONNRESET" and code ~= "EPIPE" then return nil, message end
    if self.client then self.client:close() end
    self.client, message, code = Client.open(self.path)
    if code == "ENOENT" or code == "ECONNREFUSED" then return nil, "the master has ended" end
    if not self.client then
      self.problem = message
      async.sleep(RECONNECT_PAUSE_S)
    end
  end
  return nil, self.problem
end

-- Until the interval is over, or somebody wakes it.
local function wait(self)
  async.await(function(done)
    local timer = uv.new_timer()
    uv.update_time()
    self.wake = function()
      self.wake = nil
      timer:close()
      done()
    end
    timer:start(math.ceil(self.interval * 1000), 0, self.wake)
  end)
end

local function wake(self)
  if self.wake then self.wake() end
end

local function show(self)
  local options = { sort = self.sort, utf8 = self.utf8 }
  if self.screen then options.width, options.height = self.screen:size() end
  local lines, heading = top.lines(self.now, self.before, self.history, options)
  if self.screen then return self.screen:draw(lines, heading) end
  self.broken = not io.stdout:write(table.concat(lines, "\n"), "\n\n") or not io.stdout:flush()
end

-- What has been pressed; a cursor key is several bytes, and none of ours.
local function on_key(self, bytes)
  if bytes == "q" or bytes == "Q" or bytes == "\3" or bytes == "\27" then self.over = true end
  if sort_keys[bytes] then
    self.sort = bytes
    if self.now then show(self) end
  end
  if self.over or bytes == " " then wake(self) end
end

local function on_resize(self)
  if self.now then show(self) end
end

local function watch(self)
  local problem
  self.before, problem = sample(self)
  while self.before and not self.over do
    wait(self)
    if self.over then break end
    local now
    now, problem = sample(self)
    if not now then break end
    if self.now then self.before = self.now end
    self.now = now
    top.remember(self.history, self.now, self.before)
    show(self)
    if self.once or self.broken then break end
  end
  return problem
end

function command.run(args)
  local self = {
    client = target.open(args), interval = args.interval, sort = args.sort, once = args.once, history = {},
    utf8 = Screen.is_utf8(),
  }
  self.path = self.client.path
  if Screen.is_there() and not args.once then
    self.screen = Screen.enter {
      key = function(bytes) on_key(self, bytes) end,
      resize = function() on_resize(self) end,
      signal = function(number)
        self.over, self.status = true, 128 + number
        wake(self)
      end,
    }
  end
  local ok, problem = xpcall(watch, debug.traceback, self)
  if self.screen then self.screen:leave() end
  if not ok then error(problem, 0) end
  if problem then
    target.fail("top", problem)
    return EXIT_NO_MASTER
  end
  return self.status or 0
end

return command
