-- Runs the specs with busted inside this very process, so that what is tested is the Lua of clua itself.
--
--     build/clua spec/support/run.lua [files or folders] [busted options]
--
-- Default: every *_spec.lua below spec/. Paths are relative to the root of the repository, wherever it is called from.
-- The last line of the output is `N passed, N failed`; the exit status is 0 when none failed and at least one passed.

-- busted unloads what a spec file has required, for the next file to begin afresh. luv must not be opened twice in one
-- process, and cluster.lua keeps there what is to be cleaned up; both are therefore loaded before busted looks.
local uv = require "luv"

local script = assert(uv.fs_realpath(arg[0]))
local root = assert(script:match("^(.*)/spec/support/[^/]+$"), "run.lua has left spec/support")
assert(uv.chdir(root))
package.path = root .. "/?.lua;" .. root .. "/spec/?.lua;" .. package.path

require "spec.support.running"

local FOLDERS = { "spec/unit", "spec/core", "spec/cluster" }
local OPTIONS_WITH_VALUE = { ["-p"] = true, ["-e"] = true, ["-o"] = true, ["-C"] = true, ["-f"] = true, ["-t"] = true,
  ["-m"] = true, ["-r"] = true, ["-Xoutput"] = true, ["-Xhelper"] = true, ["-X"] = true }

-- True when the user names files or folders himself.
local function names_paths(arguments)
  local skip = false
  for _, argument in ipairs(arguments) do
    if skip then
      skip = false
    elseif OPTIONS_WITH_VALUE[argument] then
      skip = true
    elseif argument:sub(1, 1) ~= "-" then
      return true
    end
  end
  return false
end

local arguments = { [0] = arg[0], "--pattern=_spec%.lua$", unpack(arg) }
if not names_paths(arg) then
  for _, folder in ipairs(FOLDERS) do
    if uv.fs_stat(folder) then arguments[#arguments + 1] = folder end
  end
end
arg = arguments -- luacheck: globals arg

-- busted would end with the number of failures, which is 0 when there are 256 of them.
require("busted.compatibility").exit = function(code)
  os.exit(code == 0 and 0 or 1)
end
local output = require "spec.support.output"
require "busted.runner" { standalone = false, output = "spec.support.output" }
os.exit(output.passed > 0 and output.failed == 0 and 0 or 1)
