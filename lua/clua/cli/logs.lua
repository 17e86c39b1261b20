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
  parser:flag("-f --follow", "go on with what comes, until the master is gone; over upgrades too, where the"
    .. " last lines before one may be missing (the log itself has them)")
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

-- To the end of the connection; false when nobody reads it any more.
local function follow(client, lines)
  local found, message, code = client:request("log", { lines = lines, follow = true })
  if not found then return nil, message, code end
  if not show(found.lines) then return false end
  while true do
    local event
    event, message, code = client:event()
    if not event then return nil, message, code end
    local line = event.line or ("(%s lines are missing here: too many for this terminal)"):format(event.count or "some")
    if not show { line } then return false end
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
  local lines, generation, problem = args.lines, client.generation, nil
  while client do
    local went_on, message, code = follow(client, lines)
    client:close()
    if went_on == false then return 0 end
    if code ~= "EOF" and code ~= "ECONNRESET" then return target.fail("logs", message) end
    client, problem = reconnect(path)
    -- An upgraded master keeps the lines that it has written itself.
    lines = client and client.generation ~= generation and LINES_MAX or 0
    generation = client and client.generation
  end
  if problem then return target.fail("logs", problem) end
  return 0
end

return logs
