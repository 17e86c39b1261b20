-- `clua repl`, of its own and in a worker, from a pipe and in a real terminal (tmux).

local uv = require "luv"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"
local loop = require "spec.support.loop"

local function up(options)
  return cluster.up { app = "app.lua", name = "job", options = options, files = { ["app.lua"] = [[
    local worker = require("clua").Worker()
    counter = 40 + worker.id
    worker:ready()
  ]] } }
end

-- What the shell commands write goes to `clua repl ...` of that cluster.
local function talk(c, commands, ...)
  return command.run("/usr/bin/env", { "CLUA_RUNTIME_DIR=" .. c.dir, "sh", "-c",
    'clua=$0; (' .. commands .. '\n) | "$0" repl "$@"', cluster.binary, ... })
end

describe("clua repl in a worker", function()
  after_each(cluster.cleanup)

  it("runs there what a pipe says: values, output, errors, chunks over lines", function()
    local c = up { cnum = 2, repl = true }
    local pid = c:workers()[2].pid
    for _, worker in ipairs { "2", tostring(pid) } do
      local out, err, code = talk(c, [[cat <<'END'
counter, require("luv").os_getpid()
for i = 1, 2 do
print("n" .. i)
end
counter = { 7 }
=counter
counter = 42
nil + 1
"on"
END]], "--worker", worker)
      out = out:gsub("(on a nil value)\n[^\"]*", "%1\n")
      assert.same({ ('42\n%d\nn1\nn2\n{ 7 }\nrepl:1: attempt to perform arithmetic on a nil value\n"on"\n'):format(pid),
        "", 0 }, { out, err, code })
    end
    c:stop()
  end)

  it("says why not: not enabled, no such worker, wrong use", function()
    local c = up { cnum = 1 }
    for arguments, expected in pairs {
      ["--worker 1"] = { "clua repl: no code is run in workers of job: register it with repl = true\n", 1 },
      ["--worker 9"] = { "clua repl: there is no worker 9: see clua status\n", 1 },
      ["--worker 1 --registration jbo"] = { "clua repl: there is no worker 1 of jbo: see clua status\n", 1 },
      ["--worker one"] = { "clua repl: a worker is named by its id or pid, got 'one': see clua repl --help\n", 100 },
      ["--name x"] = { "clua: --name needs --worker ID: see clua repl --help\n", 100 },
      ["--registration job"] = { "clua: --registration needs --worker ID: see clua repl --help\n", 100 },
      ["--worker 1 -l luv"] = { "clua: --require is not for a worker: require() there\n", 100 },
      ["--worker 1 --name none"] = { "clua: no cluster of yours is called 'none': see clua ps\n", 111 },
    } do
      local words = {}
      for word in arguments:gmatch "%S+" do words[#words + 1] = word end
      local out, err, code = talk(c, "echo 1", unpack(words))
      assert.same({ "", expected[1], expected[2] }, { out, err, code }, arguments)
    end
    c:stop()
  end)

  it("needs a name where several clusters run", function()
    local c = up { cnum = 1, repl = true }
    local other = cluster.up { app = cluster.fixture "hello", options = { cnum = 1 },
      env = { CLUA_RUNTIME_DIR = c.dir } }
    local out, err, code = talk(c, "echo counter", "--worker", "1")
    assert.same({ "", 100 }, { out, code })
    assert.truthy(err:find("several clusters run here: name one with --name\n", 1, true), err)
    assert.same({ "41\n", "", 0 }, { talk(c, "echo counter", "--worker", "1", "--name", tostring(c.pid)) })
    other:stop()
    c:stop()
  end)

  it("ends with the worker, and does not go on in its successor", function()
    local c = up { cnum = 1, repl = true }
    local mark = c:mark()
    assert.same({ "1\n", "clua repl: the worker has ended\n", 1 },
      { talk(c, "echo 1; echo 'os.exit(9)'; echo 3", "--worker", "1") })
    c:wait_log("worker 1 of job ready", mark)
    local old = c:workers()[1].pid
    -- What is typed behind the reload waits for it.
    local commands = [[cd '%s'; echo 'require("luv").fs_mkdir("%s/talks", 448)'
      until rmdir talks 2>/dev/null || ! [ -d "$CLUA_RUNTIME_DIR" ]; do sleep 0.02; done
      "$clua" reload --wait >&2; echo counter; echo 4]]
    local out, err, code = talk(c, commands:format(c.dir, c.dir), "--worker", "1")
    assert.same({ "true\n", ("clua repl: worker 1, pid %d, has been replaced by pid %d\n"):format(old,
      c:workers()[1].pid), 1 }, { out, err, code })
    out, err, code = talk(c, commands:format(c.dir, c.dir):gsub("reload", "stop"), "--worker", "1")
    assert.same({ "true\n", 1 }, { out, code })
    assert.truthy(err:find("^clua repl: [^\n]+\n$"), err)
  end)
end)

describe("clua repl", function()
  it("takes lines from a pipe", function()
    local script = [[printf 'x = 1\nfor i = 1, 2 do\nprint(i + x)\nend\nx\n'
      printf 'require("clua.timer").sleep(0.01) return "late"\n=x +']]
    local out, err, code = command.run("/bin/sh", { "-c", "(" .. script .. ') | "$0" repl', cluster.binary })
    assert.same({ '2\n3\n1\n"late"\nthe chunk has no end\n', "", 0 }, { out, err, code })
    -- The end comes when the line has been looked at already.
    script = "echo for; sleep 0.2"
    out, err, code = command.run("/bin/sh", { "-c", "(" .. script .. ') | "$0" repl', cluster.binary })
    assert.same({ "the chunk has no end\n", "", 0 }, { out, err, code })
  end)

  it("says in one line that it cannot load a module", function()
    local out, err, code = command.run(cluster.binary, { "repl", "-l", "no.such" })
    assert.same({ "", "clua: --require no.such: module 'no.such' not found\n", 100 }, { out, err, code })
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

    local function start(variables, arguments)
      local run = ("env HOME=%s TERM=xterm %s %s repl %s; echo status $?; exec tail -f /dev/null"):format(dir,
        variables, cluster.binary, arguments)
      local _, err, code = tmux("new-session", "-d", "-s", "clua", "-x", "80", "-y", "24", run)
      assert.equal(0, code, err)
      wait "\n>$"
    end

    before_each(function()
      dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX"))
      socket = dir .. "/tmux"
    end)

    after_each(function()
      cluster.cleanup()
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
      start("", "")
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
      line("t = require('clua.timer').after(0.01, function() print 'tick' end)", "\ntick\n>$")
      line("t = require('clua.timer').after(0.3, function() print 'tock' end)", "\n>")
      keys("-l", "'typed'")
      wait "\ntock\n> 'typed'$" -- not in the line, which is shown again
      keys "Enter"
      wait '\n"typed"\n>$'
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

    it("is interrupted by ctrl-C, and goes on: code that runs, and code that waits", function()
      start("", "")
      local mark = ("require('luv').fs_mkdir('%s/runs', 448) "):format(dir)
      for code, answer in pairs {
        ["while true do end"] = "[:C]%s*interrupted\n.*>$",
        ["f = function() while true do x = 1 end end f()"] = "[:C]%s*interrupted\n.*>$",
        ["require('clua.async').sleep(1000)"] = "interrupted: what was waited for goes on\n>$",
      } do
        keys("-l", mark .. code)
        keys "Enter"
        loop.wait(function() return uv.fs_rmdir(dir .. "/runs") end, 20, "the code to run")
        keys "C-c"
        wait(answer)
        line("6 * 7", "\n42\n>$")
        keys "C-l"
        wait "^[^\n]*>$"
      end
      keys "C-d"
      wait "status 0"
    end)

    it("completes the names that a worker has, and calls nothing there; what is typed meanwhile goes on", function()
      local c = cluster.up { app = "app.lua", name = "job", options = { cnum = 1, repl = true }, files = {
        ["app.lua"] = [[
          local worker = require("clua").Worker()
          local function called() print "called" end
          odd_table = setmetatable({ ["a b"] = 1, ["\27[31m"] = 2, alpha = { beta = 42 }, alphabet = 1 },
            { __index = called, __pairs = called, __tostring = called, __len = called })
          worker:ready()
        ]] } }
      start("CLUA_RUNTIME_DIR=" .. c.dir, "--worker 1")
      keys("-l", "1 + odd_t")
      keys "Tab"
      wait "> 1 %+ odd_table$"
      keys("-l", ".")
      keys "Tab"
      wait "\nodd_table%.alpha +odd_table%.alphabet\n> 1 %+ odd_table%.alpha$"
      keys("-l", ".b")
      keys "Tab"
      wait "> 1 %+ odd_table%.alpha%.beta$"
      line("", "\n43\n>$")
      -- Until the worker wakes, no answer comes; then the line is another, and stays as it is.
      assert(uv.kill(c:workers()[1].pid, "sigstop"))
      keys("-l", "odd_t")
      keys "Tab"
      keys("-l", "ype == nil")
      wait "> odd_type == nil$"
      assert(uv.kill(c:workers()[1].pid, "sigcont"))
      line("", "> odd_type == nil\ntrue\n>$")
      assert.equal(0, c:count("out: called"))
      keys "C-d"
      wait "status 0"
      c:stop()
    end)

    it("shows what a worker says without obeying it, and is left while code runs there", function()
      local c = up { cnum = 1, repl = true }
      start("CLUA_RUNTIME_DIR=" .. c.dir, "--worker 1")
      assert.truthy(screen():find(("Lua in worker 1, pid %d. Ctrl-D leaves it."):format(c:workers()[1].pid), 1, true))
      line("for i = 1, 2 do", "\n>>$")
      line("print('n' .. i .. '\\27[31m')", "\n>>$")
      line("end", "\nn1\\x1b%[31m\nn2\\x1b%[31m\n>$")
      keys("-l", ("require('luv').fs_mkdir('%s/runs', 448) require('clua.async').sleep(1000)"):format(dir))
      keys "Enter"
      loop.wait(function() return uv.fs_rmdir(dir .. "/runs") end, 20, "the code to run")
      keys "C-c"
      wait "clua repl: left; what was typed goes on in the worker\nstatus 1$"
      c:stop()
    end)
  end)
end)
