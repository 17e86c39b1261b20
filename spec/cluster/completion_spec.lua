-- Completions and manual: made of, or compared with, what the commands really take.

local cli = require "clua.cli"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"
local terminal = require "spec.support.terminal"
local uv = require "luv"

local function completions(shell)
  local out, err, code = command.run(cluster.binary, { "completion", shell })
  assert.same({ "", 0 }, { err, code })
  return out
end

-- What bash offers for the last of these words.
local function offers(words)
  local script = ([[
    source /dev/fd/3 3<<'COMPLETIONS'
%s
COMPLETIONS
    COMP_WORDS=(%s) COMP_CWORD=%d
    _clua
    echo "${COMPREPLY[@]}"
  ]]):format(completions "bash", table.concat(words, " "), #words - 1)
  local out, err, code = command.run("bash", { "-c", script })
  assert.same({ "", 0 }, { err, code })
  return out:gsub("%s+$", "")
end

describe("clua completion", function()
  it("bash offers commands, their options and the values of these", function()
    assert.equal("reload", offers { "clua", "rel" })
    assert.equal("log-level logs", offers { "clua", "log" })
    assert.equal("--wait", offers { "clua", "upgrade", "--w" })
    assert.equal("--now", offers { "clua", "stop", "--no" })
    assert.equal("--json", offers { "clua", "status", "--j" })
    assert.equal("http connect echo api", offers { "clua", "new", "-t", "''" })
  end)

  it("bash offers the words that an argument may be", function()
    assert.equal("debug info warn error", offers { "clua", "log-level", "''" })
    assert.equal("reopen", offers { "clua", "logs", "''" })
    assert.equal("bash zsh", offers { "clua", "completion", "''" })
    assert.equal("scale serve status stop", offers { "clua", "help", "s" })
    assert.equal(table.concat(cli.commands, " "), offers { "clua", "help", "''" })
  end)

  it("bash offers the options of clua itself before a command only, and each once", function()
    assert.equal("-h --help -e -t -v", offers { "clua", "-" })
    assert.equal("-h --help --json", offers { "clua", "ps", "-" })
    assert.equal("-h --help", offers { "clua", "help", "-" })
  end)

  it("zsh names every command", function()
    local out = completions "zsh"
    assert.equal("#compdef clua", out:match("^[^\n]*"))
    for _, name in ipairs(cli.commands) do assert.truthy(out:find("\n    " .. name .. ")", 1, true), name) end
  end)

  -- A shell with its completions in a terminal, in a folder with a script.
  local function in_shell(shell, start)
    if not command.exists(shell) then pending(shell .. " is not installed") end
    if not terminal.exists() then pending "tmux is not installed" end
    local dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX"))
    cluster.write(dir .. "/script.lua", "")
    cluster.write(dir .. "/" .. (shell == "zsh" and "_clua" or "clua.bash"), completions(shell))
    cluster.write(dir .. "/.zshrc", "fpath=($PWD $fpath); PS1='ready> '; autoload -U compinit; compinit -u -d dump\n")
    cluster.write(dir .. "/rc.bash", "source ./clua.bash; PS1='ready> '; bind 'set bell-style none'\n")
    local screen = terminal.open(dir, ("cd %s; ZDOTDIR=. TERM=screen exec %s"):format(dir, start), 110, 40)
    finally(function()
      terminal.cleanup()
      cluster.remove(dir)
    end)
    screen.wait "ready>"
    return function(typed, pattern)
      screen.press("C-c")
      screen.press("C-l")
      screen.wait "^ready> *\n"
      screen.press("-l", typed)
      screen.press "Tab"
      if shell == "bash" then screen.press "Tab" end -- shows at the second what there is
      screen.wait(pattern)
    end
  end

  it("works in zsh, when TAB is pressed", function()
    local type_in = in_shell("zsh", "zsh -i")
    type_in("clua ", "completion +%-%- print the completions.*scale +%-%- set the number.*script.lua")
    type_in("clua sca", "^ready> clua scale *\n")
    type_in("clua sc", "^ready> clua sc[^\n]*\n.*script.lua")
    type_in("clua scr", "^ready> clua script.lua *\n")
    type_in("clua reload --", "%-%-control +%-%- .*%-%-wait +%-%- until the last old worker is gone")
    type_in("clua log-level ", "debug +error +info +warn")
    type_in("clua serve scr", "^ready> clua serve script.lua *\n")
  end)

  it("works in bash, when TAB is pressed", function()
    local type_in = in_shell("bash", "bash --noprofile --rcfile rc.bash -i")
    type_in("clua s", "scale +serve +status +stop")
    type_in("clua sca", "^ready> clua scale *\n")
    type_in("clua scr", "^ready> clua script.lua *\n")
    type_in("clua reload --", "%-%-control +%-%-help +%-%-name +%-%-pidfile +%-%-wait")
    type_in("clua serve scr", "^ready> clua serve script.lua *\n")
  end)

  it("of another shell is wrong use", function()
    local out, err, code = command.run(cluster.binary, { "completion", "fish" })
    assert.same({ "", 100 }, { out, code })
    assert.truthy(err:find("must be one of 'bash', 'zsh'", 1, true), err)
  end)
end)

describe("clua.1", function()
  local file = assert(io.open("scripts/man/clua.1"))
  local page = file:read("*a"):gsub("\\%-", "-"):gsub("\\f.", ""):gsub("\n%.[A-Z]+ ", "\n")
  file:close()

  it("has every command, and every option of it", function()
    for _, name in ipairs(cli.commands) do
      assert.truthy(page:find("\n" .. name:gsub("%-", "%%-") .. "[ \n]"), name .. " is not in the manual")
      local usage = cli.parser(name):get_help()
      for option in usage:gmatch("%-%-[%a-]+") do
        assert.truthy(page:find(option, 1, true), ("%s of %s is not in the manual"):format(option, name))
      end
    end
  end)

  it("is well formed", function()
    if not command.exists "man" then pending("man is not installed") end
    local _, err = command.run("man", { "--warnings", "-l", "-Tutf8", "scripts/man/clua.1" })
    assert.equal("", err)
  end)
end)
