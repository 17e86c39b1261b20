--- `clua logs [-f] [-n COUNT]`, `clua logs reopen`
-- @module clua.cli.logs

local Client = require "clua.control.client"
local Screen = require "clua.control.screen"
local async = require "clua.async"
local target = require "clua.control.target"
local text = require "clua.control.text"

local logs = { summary = "show the log, or have its files opened anew" }

local LINES_MAX = 100000
local RECONNECT_TRIES, RECONNECT_PAUSE_S = 100, 0.1

local function count(word)
  if word:find "^%d+$" then return tonumber(word) end
  return nil, ("the number of lines must be a whole number, got '%s'"):format(word)
end

function logs.configure(parser)
  parser:argument("action", "reopen: the log files, after they were renamed"):args("?"):choices { "reopen" }
  parser:flag("-f --follow", "go on with what comes, until the master is gone; over upgrades too")
  parser:option("-n --lines", "how many of the last lines"):argname("COUNT"):convert(count):default "10"
  target.configure(parser)
end

-- false when nobody reads it any more.
local function show(lines)
  local clean = Screen.is_there()
  for i, line in ipairs(lines) do lines[i] = (clean and text.clean(line) or line) .. "\n" end
  return io.stdout:write(table.concat(lines)) and io.stdout:flush()
end

local function reopen(args)
  local client = target.open(args)
  local done, message = client:request "reopen-logs"
  client:close()
  if done then return 0 end
  return target.fail("logs", message)
end

local function missing(how_many)
  return ("(%s lines are missing here: too many for this terminal)"):format(how_many or "some")
end

-- To the end of the connection; false when nobody reads it any more. `where` is how many lines there shall be, or
-- behind which position, and becomes the position behind what has been shown.
local function follow(client, where)
  local found, message, code = client:request("log", { lines = where.lines, after = where.after, follow = true })
  if not found then return nil, message, code end
  where.lines, where.after = nil, found.position
  if found.lost then table.insert(found.lines, 1, missing()) end
  if not show(found.lines) then return false end
  while true do
    local event
    event, message, code = client:event()
    if not event then return nil, message, code end
    if not show { event.line or missing(event.count) } then return false end
    where.after = event.position or where.after
  end
end

-- After an upgrade: the socket is the same.
local function reconnect(path)
  for _ = 1, RECONNECT_TRIES do
    local client, message, code = Client.open(path)
    if client then return client end
    if code == "ENOENT" or code == "ECONNREFUSED" then return nil end
    if code ~= "EOF" and code ~= "ECONNRESET" then return nil, message end
    async.sleep(RECONNECT_PAUSE_S)
  end
  return nil, "the master does not answer"
end

function logs.run(args)
  if args.action == "reopen" then return reopen(args) end
  local client = target.open(args)
  local path = client.path
  if not args.follow then
    local found, message = client:request("log", { lines = args.lines })
    client:close()
    if not found then return target.fail("logs", message) end
    show(found.lines)
    return 0
  end
  local where, pid, problem = { lines = args.lines }, client.pid, nil
  while client do
    local went_on, message, code = follow(client, where)
    client:close()
    if went_on == false then return 0 end
    if code ~= "EOF" and code ~= "ECONNRESET" then return target.fail("logs", message) end
    client, problem = reconnect(path)
    -- An upgraded one goes on counting; of another nothing has been shown yet.
    if client and client.pid ~= pid then where, pid = { lines = LINES_MAX }, client.pid end
  end
  if problem then return target.fail("logs", problem) end
  return 0
end

return logs
