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

-- The words that an argument of a command may be, or nil.
local function words_of(parser)
  if parser._name == "help" then return require("clua.cli").commands end
  for _, argument in ipairs(parser._arguments) do
    if argument._choices then return argument._choices end
  end
end

-- argparse offers the values of options only, and the options of clua itself behind a command, too, which refuses them.
local function bash(root)
  local cases = {}
  for _, parser in ipairs(root._commands) do
    local words = words_of(parser)
    if words then
      cases[#cases + 1] = ('        %s) COMPREPLY=($(compgen -W "%s" -- "$cur")) ;;\n'):format(parser._name,
        table.concat(words, " "))
    end
  end
  local all = '\n    case "$cmd" in\n' .. table.concat(cases) .. "    esac\n"
  local text, options = root:get_bash_complete():gsub('opts="%$opts ', 'opts="')
  local whole_text, ends = text:gsub('\n    if %[%[ "%$cur" = %-', function(found) return all .. found end)
  assert(options == #root._commands and ends == 1, "argparse writes something else for bash")
  return whole_text
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
  io.stdout:write(args.shell == "bash" and bash(root) or zsh(root), "\n")
  return 0
end

return completion
