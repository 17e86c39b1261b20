--- The commands of the command line: `clua COMMAND [ARGS...]`. Each is a module clua.cli.NAME that returns
--
--     { summary = "one line for clua help",
--       configure = function(parser) end,     -- its arguments, for argparse
--       run = function(args) end }            -- what argparse has made of them
--
-- `run` is called in a coroutine. What it returns is the exit status; nil goes on with the event loop (a command that
-- has become a master, or that waits for something). An error of clua.usage ends the process with its message and
-- status.
-- @module clua.cli

local options = require "clua.options"

local EXIT_USAGE = 100
local HELP_COLUMNS = 100

local cli = {}

--- Names of the commands, as `clua help` lists them.
cli.commands = {
  "completion",
  "help",
  "new",
  "log-level",
  "logs",
  "ps",
  "reload",
  "repl",
  "scale",
  "serve",
  "status",
  "stop",
  "test",
  "top",
  "upgrade",
}

local known = {}
for _, name in ipairs(cli.commands) do known[name] = true end

--- The module of a command.
function cli.command(name)
  return require("clua.cli." .. name)
end

--- A parser with the arguments of a command.
function cli.parser(name)
  local command = cli.command(name)
  local parser = require "argparse"("clua " .. name, command.summary)
  if command.configure then command.configure(parser) end
  return parser:help_max_width(HELP_COLUMNS)
end

-- argparse takes a negative number for an option, and guesses on a line of its own.
local function explain(message, words)
  if message:find "^unknown option '%-%d" then
    for _, word in ipairs(words) do
      if word:find "^%-%d" then return ("'%s' is no option, and no number may be negative"):format(word) end
    end
  end
  return (message:gsub("\nDid you mean", ", did you mean"))
end

local function fail(name, message)
  io.stderr:write(("clua %s: %s: see clua %s --help\n"):format(name, message, name))
  os.exit(EXIT_USAGE)
end

--- What runs a command: a function that takes the words behind it. When there is no such command, a text that says so.
-- @tparam string name
-- @treturn function|string
function cli.find(name)
  if not known[name] then
    local near = options.nearest(name, known)
    local hint = near and (", did you mean '" .. near .. "'?") or ": clua help lists them"
    return ("no command '%s'%s"):format(name, hint)
  end
  return function(...)
    local parser = cli.parser(name)
    local ok, args = parser:pparse { ... }
    if not ok then fail(name, explain(args, { ... })) end
    local status = cli.command(name).run(args)
    if status then os.exit(status) end
  end
end

return cli
