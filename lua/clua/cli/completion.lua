--- `clua completion bash|zsh`
-- @module clua.cli.completion

local completion = { summary = "print the completions of a shell" }

function completion.configure(parser)
  parser:argument("shell", "bash: to be sourced; zsh: a file _clua in a folder of $fpath"):choices { "bash", "zsh" }
end

-- The whole command line as one parser.
local function whole()
  local cli = require "clua.cli"
  local root = require "argparse"("clua", "runs Lua scripts and clusters")
  root:option("-e", "run this code first"):argname "CODE"
  root:flag("-t", "test a dispatch script")
  root:flag("-v", "print the version")
  for _, name in ipairs(cli.commands) do
    local command = cli.command(name)
    local parser = root:command(name, command.summary)
    if command.configure then command.configure(parser) end
  end
  return root
end

-- The first word may be a script, too. (bash offers files by itself where there is no command.)
local function zsh(root)
  local text, count = root:get_zsh_complete():gsub('\n  _describe "command" commands\n', function(found)
    return found .. '  _files -g "*.lua"\n'
  end)
  assert(count == 1, "argparse writes something else for zsh")
  return text
end

function completion.run(args)
  local root = whole()
  io.stdout:write(args.shell == "bash" and root:get_bash_complete() or zsh(root), "\n")
  return 0
end

return completion
