--- `clua test [ARGS]`: busted, inside clua. Specs run in a coroutine: whatever waits may be called straight down.
-- @module clua.cli.test

local test = { summary = "run the specs of a project (busted)" }

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
  _G.arg = { [0] = "clua test", unpack(args.args) }
  require("busted.runner") { standalone = false }
  testing.cleanup()
  return 0
end

return test
