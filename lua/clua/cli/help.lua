--- `clua help [COMMAND]`
-- @module clua.cli.help

local help = { summary = "list the commands, or say how one is used" }

local EXIT_USAGE = 100

function help.configure(parser)
  parser:argument("command", "name of a command"):args "?"
end

local function list()
  local cli = require "clua.cli"
  print "usage: clua COMMAND [ARGS...]\n"
  for _, name in ipairs(cli.commands) do print(("  %-12s%s"):format(name, cli.command(name).summary)) end
  print "\nclua COMMAND --help says more, clua -h is about scripts. A script of the name of a command is run as ./NAME."
  return 0
end

function help.run(args)
  local cli = require "clua.cli"
  if not args.command then return list() end
  local found = cli.find(args.command)
  if type(found) == "string" then
    io.stderr:write("clua help: " .. found .. "\n")
    return EXIT_USAGE
  end
  print(cli.parser(args.command):get_help())
  return 0
end

return help
