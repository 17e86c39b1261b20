-- `clua repl`, from a pipe and in a real terminal (tmux).

local uv = require "luv"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"
local loop = require "spec.support.loop"

describe("clua repl", function()
  it("takes lines from a pipe", function()
    local script = [[printf 'x = 1\nfor i = 1, 2 do\nprint(i + x)\nend\nx\n'
      printf 'require("clua.timer").sleep(0.01) return "late"\n=x +']]
    local out, err, code = command.run("/bin/sh", { "-c", "(" .. script .. ') | "$0" repl', cluster.binary })
    assert.same({ '2\n3\n1\n"late"\nthe chunk has no end\n', "", 0 }, { out, err, code })
  end)

  if not command.exists "tmux" then
    pending("in a terminal: tmux is not installed")
    return
  end

  describe("in a terminal", function()
    local dir, socket

    local function tmux(...)
      local out, err, code = command.run("/usr/bin/env", { "tmux", "-S", socket, "-f", "/dev/null", ... })
      return out, err, code
    end

    local function keys(...)
      local _, err, code = tmux("send-keys", "-t", "clua", ...)
      assert.equal(0, code, err)
    end

    local function screen()
      local text = tmux("capture-pane", "-p", "-t", "clua")
      return (text:gsub(" +\n", "\n"):gsub("%s+$", ""))
    end

    -- Each key only when the one before has shown its effect: a terminal drops nothing, but a program may.
    local function wait(pattern)
      loop.wait(function() return screen():find(pattern) end, 20, function() return pattern .. " on:\n" .. screen() end)
    end

    before_each(function()
      dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX"))
      socket = dir .. "/tmux"
      local run = ("env HOME=%s TERM=xterm %s repl; echo status $?; exec tail -f /dev/null"):format(dir, cluster.binary)
      local _, err, code = tmux("new-session", "-d", "-s", "clua", "-x", "80", "-y", "24", run)
      assert.equal(0, code, err)
      wait "\n>$"
    end)

    after_each(function()
      tmux "kill-server"
      for _, name in ipairs { "tmux", ".clua_history" } do uv.fs_unlink(dir .. "/" .. name) end
      uv.fs_rmdir(dir)
    end)

    local function line(text, answer)
      keys("-l", text)
      keys "Enter"
      wait(answer)
    end

    it("edits lines, completes, goes on over lines, remembers, and lets timers run meanwhile", function()
      line("x = { 1, a = 2 }", "\n>$")
      line("x", "\n{ 1, a = 2 }\n>$")
      keys("-l", "string.rever")
      keys "Tab"
      wait "> string.reverse"
      keys("-l", "('abc')")
      keys "Enter"
      wait '\n"cba"\n>$'
      line("for i = 7, 8 do", "\n>>$")
      line("print('n' .. i)", "\n>>$")
      line("end", "\nn7\nn8\n>$")
      keys("-l", "unfinished(")
      wait "unfinished%("
      keys "C-c"
      wait "unfinished%(^?C?%s*\n?[^\n]*\n>$"
      line("t = require('clua.timer').after(0.01, function() print 'tick' end)", "> tick")
      keys "Enter"
      line("nil + 1", "\nrepl:1: attempt to perform arithmetic on a nil value\n>$")
      keys "Up"
      keys "BSpace"
      keys("-l", "2 == nil, 'again'")
      wait "> nil %+ 2 == nil, 'again'$"
      keys("C-u")
      keys "C-d"
      wait "status 0"
      local file = assert(io.open(dir .. "/.clua_history"))
      local text = file:read "*a"
      file:close()
      assert.truthy(text:find("string.reverse", 1, true), text)
    end)
  end)
end)
