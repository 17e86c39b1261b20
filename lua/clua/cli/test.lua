--- `clua test [ARGS]`: busted, inside clua. Specs run in a coroutine: whatever waits may be called straight down.
-- @module clua.cli.test

local test = { summary = "run the specs of a project (busted)" }

local EXIT_USAGE = 100
local EXIT_SYSTEM = 111

function test.configure(parser)
  parser:argument("args", "files, folders and options of busted (default: spec)"):args "*"
  parser:handle_options(false)
end

local function missing(message)
  io.stderr:write("clua test: busted is not there: install the package lua-busted, or `luarocks install busted`\n")
  io.stderr:write((message:match("^[^\n]*") or "") .. "\n")
  return EXIT_SYSTEM
end

-- busted ends with 1 for an option that it does not know, too, as if a spec had failed.
local function refuse_wrong_options()
  local make = require "busted.modules.cli"
  package.loaded["busted.modules.cli"] = function(given)
    local cli = make(given)
    local parse = cli.parse
    function cli:parse(words)
      local found, message = parse(self, words)
      if found then return found end
      io.stderr:write("clua test: ", (message:gsub("^[^:]*: error: ", ""):gsub("; re%-run.*", "")),
        ": see busted --help\n")
      os.exit(EXIT_USAGE)
    end
    return cli
  end
end

function test.run(args)
  if args.args[1] == "--help" or args.args[1] == "-h" then
    print(require("clua.cli").parser("test"):get_help())
    return 0
  end
  local ok, compatibility = pcall(require, "busted.compatibility")
  if not ok then return missing(compatibility) end
  -- busted unloads what a spec file has loaded. These hold state of the process, and are there once.
  for _, name in ipairs { "luv", "cjson", "clua.testing", "clua.http", "clua.net", "clua.timer", "clua.async" } do
    require(name)
  end
  local testing = require "clua.testing"
  -- Before the runner is loaded, which keeps it.
  compatibility.exit = function(code)
    testing.cleanup()
    os.exit(code == 0 and 0 or 1) -- and not the number of failures, which is 0 when there are 256
  end
  refuse_wrong_options()
  _G.arg = { [0] = "clua test", unpack(args.args) }
  require("busted.runner") { standalone = false }
  testing.cleanup()
  return 0
end

return test
