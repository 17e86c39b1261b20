-- Completions and manual: made of, or compared with, what the commands really take.

local cli = require "clua.cli"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"
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
  end)

  it("zsh names every command", function()
    local out = completions "zsh"
    assert.equal("#compdef clua", out:match("^[^\n]*"))
    for _, name in ipairs(cli.commands) do assert.truthy(out:find("\n    " .. name .. ")", 1, true), name) end
    if command.exists "zsh" then
      local path = os.tmpname()
      cluster.write(path, out)
      local _, err, code = command.run("zsh", { "-n", path })
      uv.fs_unlink(path)
      assert.same({ "", 0 }, { err, code })
    end
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
