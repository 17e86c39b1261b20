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

function completion.run(args)
  local root = whole()
  io.stdout:write(args.shell == "bash" and root:get_bash_complete() or root:get_zsh_complete(), "\n")
  return 0
end

return completion
