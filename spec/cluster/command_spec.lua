-- The commands of the command line, and what is no command.

local uv = require "luv"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"

local function clua(...)
  return command.run(cluster.binary, { ... })
end

describe("clua COMMAND", function()
  it("help lists every command with one line, and says how each is used", function()
    local cli = require "clua.cli"
    local out, err, code = clua "help"
    assert.same({ "", 0 }, { err, code })
    for _, name in ipairs(cli.commands) do
      assert.truthy(out:find("\n  " .. name:gsub("%-", "%%-") .. " +%S"), name .. " is not listed:\n" .. out)
      local usage, _, status = clua("help", name)
      assert.equal(0, status)
      assert.truthy(usage:find("Usage: clua " .. name, 1, true), usage)
      local same = clua(name, "--help")
      assert.equal(usage:gsub("%s+$", ""), (same:gsub("%s+$", "")))
    end
  end)

  it("of a wrong name says what was meant", function()
    local out, err, code = clua "halp"
    assert.same({ "", "clua: no file of this name, and no command 'halp', did you mean 'help'?\n", 100 },
      { out, err, code })
    for _, word in ipairs { "", "-", "x", "zz" } do
      err = select(2, clua(word))
      assert.equal(("clua: no file of this name, and no command '%s': clua help lists them\n"):format(word), err)
    end
    out, err, code = clua("help", "qqqqqqq")
    assert.same({ "", "clua help: no command 'qqqqqqq': clua help lists them\n", 100 }, { out, err, code })
  end)

  it("of a wrong option says where to look", function()
    local out, err, code = clua("help", "--colour")
    assert.same({ "", 100 }, { out, code })
    assert.equal("clua help: unknown option '--colour': see clua help --help\n", err)
    err = select(2, clua("serve", "--wach", "."))
    assert.equal("clua serve: unknown option '--wach', did you mean '--watch'?: see clua serve --help\n", err)
  end)

  it("of a negative number says that there is none", function()
    for _, words in ipairs { { "scale", "web", "-12" }, { "logs", "-n", "-12" }, { "serve", "-w", "-12", "." } } do
      local out, err, code = clua(unpack(words))
      local message = ("clua %s: '-12' is no option, and no number may be negative: see clua %s --help\n"):format(
        words[1], words[1])
      assert.same({ "", message, 100 }, { out, err, code })
    end
  end)

  it("is a script when it has a slash or a dot", function()
    local dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX"))
    cluster.write(dir .. "/help", "print('a script', ...)")
    local out, err, code = clua(dir .. "/help", "one")
    uv.fs_unlink(dir .. "/help")
    uv.fs_rmdir(dir)
    assert.same({ "a script\tone\n", "", 0 }, { out, err, code })
  end)
end)

describe("clua -e", function()
  it("runs one chunk, and says so of a second", function()
    assert.same({ "1\n", "", 0 }, { clua("-e", "print(1)") })
    local out, err, code = clua("-e", "print(1)", "-e", "print(2)")
    assert.same({ "", 100 }, { out, code })
    assert.truthy(err:find("-e may be given once", 1, true), err)
  end)
end)

describe("the binary alone", function()
  it("has JSON and argparse in it, wherever it is run", function()
    local code_of = [[
      print(require("cjson").encode { 1, true }, type(require "argparse"), require("cjson.safe").decode "{" == nil)
    ]]
    local out, err, code = command.run("/usr/bin/env", { "-C", "/", "LUA_PATH=", "LUA_CPATH=", cluster.binary, "-e",
      code_of })
    assert.same({ "[1,true]\ttable\ttrue\n", "", 0 }, { out, err, code })
  end)
end)
