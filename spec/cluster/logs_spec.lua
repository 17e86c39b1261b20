-- What master and workers log and print: all of it in one log, line by line, with who has said it.
-- (Making lines of text, and the ring of the last ones: spec/core/log_spec.lua.)

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local dispatch = require "spec.support.dispatch"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local uv = require "luv"

local EXIT_USAGE, EXIT_SYSTEM = 100, 111
local REOPEN = 35 -- SIGRTMIN+1

local function talk(c, what, text, seconds)
  local conn = assert(client.connect(c:address()))
  local status, headers, body = conn:request("POST", "/" .. what, { Connection = "close" }, tostring(text), seconds)
  conn:close()
  assert.equal(200, status, tostring(headers))
  return body
end

local function wait_text(c, path, pattern)
  return c:wait(function() return (proc.read(path) or ""):match(pattern) end, ("%q in %s"):format(pattern, path))
end

-- Source of a dispatch script that does what a worker tells the master: "METHOD ARGUMENT".
local function told(options, extra)
  return ([[
local master = require("clua").Master(%s)
master:register("127.0.0.1:0", %q, { cnum = 2 })
master:dispatch()
master:on("message", function(text)
  local method, argument = text:match("^(%%S+) ?(.*)$")
  local ok, message = master[method](master, argument ~= "" and argument or nil)
  io.stdout:write(method, " ", tostring(ok), " ", tostring(message), "\n")
  io.stdout:flush()
end)
%s
]]):format(cluster.source(options or {}), cluster.fixture("talks"), extra or "")
end

describe("what a worker writes", function()
  after_each(cluster.cleanup)

  it("to its standard output and error is in the log, line by line, with its place, name and pid", function()
    local c = cluster.up { app = "talks", options = { cnum = 2 } }
    local pid = tonumber(talk(c, "out", "one\ntwo\r\n\n  three \27[31mred\n"))
    talk(c, "err", "first half, ")
    talk(c, "log", "warn four")
    c:wait_log("four")
    local seen = {}
    for _, entry in ipairs(c:events()) do
      if entry.level == "out" then
        assert.equal("127.0.0.1:0", entry.name)
        assert.truthy(entry.role:find("^worker [12]$"), entry.role)
        if entry.pid == pid then seen[#seen + 1] = entry.text end
      end
    end
    assert.same({ "one", "two", "", "  three \\x1b[31mred" }, { seen[1], seen[2], seen[3], seen[4] })
    assert.equal("warn", c:events("^four$")[1].level)
    c:stop()
  end)

  it("has the level that stands in front of the line, as daemons of systemd write it", function()
    local c = cluster.up { app = "talks", options = { cnum = 1 } }
    talk(c, "err", "<3>grave\n<4>odd\n<5>notable\n<6>usual\n<7>too much\n<8>none\n<3 none\nlast\n")
    c:wait_log("out: last$")
    local seen = {}
    for i, entry in ipairs(c:events()) do
      if entry.role == "worker 1" then seen[#seen + 1] = entry.level .. " " .. entry.text end
      assert.is_nil(c.lines[i]:find("<[0-7]>"), c.lines[i])
    end
    assert.same({ "error grave", "warn odd", "info notable", "info usual", "out <8>none", "out <3 none", "out last" },
      seen)
    c:stop()
  end)

  it("without a line end stays apart from what its worker logs", function()
    local c = cluster.up { app = "talks", options = { cnum = 1 } }
    for i = 1, 3 do
      talk(c, "out", "half " .. i)
      talk(c, "log", "warn whole " .. i)
    end
    talk(c, "log", "warn last")
    c:wait_log("warn: last$")
    local seen = {}
    for _, entry in ipairs(c:events()) do
      if entry.role == "worker 1" then seen[#seen + 1] = entry.level .. " " .. entry.text end
    end
    assert.same({ "out half 1", "warn whole 1", "out half 2", "warn whole 2", "out half 3", "warn whole 3",
      "warn last" }, seen)
    c:stop()
  end)

  it("cannot look like somebody else's event", function()
    local c = cluster.up { app = "talks", options = { cnum = 1 } }
    local forged = "2026-01-01T00:00:00.000Z master[1] error: forged"
    talk(c, "out", forged .. "\n")
    talk(c, "log", "error first\n" .. forged)
    c:wait_log("\t.*forged$")
    assert.equal(0, c:count("^" .. forged:gsub("[%[%].-]", "%%%0")))
    assert.equal(2, c:count("forged$"))
    c:stop()
  end)

  it("is not lost when it is killed right after: its last words stand in front of its death", function()
    local c = cluster.up { app = "talks", options = { cnum = 1, linger = 60 } }
    local conn = assert(client.connect(c:address()))
    local _, _, pid = conn:request("POST", "/log", nil, "debug nothing")
    -- The master sees all of it at once: the words, as many as a pipe takes, and the death.
    assert(uv.kill(c.pid, "sigstop"))
    conn:send(client.format("POST", "/die", nil, "farewell"))
    c:wait(function() return not proc.alive(tonumber(pid)) end, "the worker to die")
    assert(uv.kill(c.pid, "sigcont"))
    c:wait_log("exited, pid .*killed by SIGKILL")
    local order, words = {}, 0
    for _, entry in ipairs(c:events()) do
      if entry.text == "word " .. words + 1 then
        words = words + 1
      elseif entry.level == "out" then
        order[#order + 1] = entry.text
      elseif entry.text:find("killed by SIGKILL") then
        order[#order + 1] = "dead after " .. words
      end
    end
    assert.same({ "farewell", "and half a", "dead after 3000" }, order)
    conn:close()
    c:stop()
  end)

  it("without end, and without a line's end, costs the master no memory", function()
    local c = cluster.up { app = "talks", options = { cnum = 1 } }
    talk(c, "endless", 1)
    local before = tonumber(proc.status(c.pid).VmRSS:match("%d+"))
    local total = 4000
    talk(c, "endless", total)
    talk(c, "out", "\nthe end\n")
    c:wait(function() return c.lines[#c.lines]:find("out: the end$") end, "its end")
    local bytes = 0
    for _, entry in ipairs(c:events("^x+\\?$")) do
      local line = entry.text:match("^x+")
      bytes = bytes + #line
      assert.is_true(#line <= 8192, #line)
    end
    assert.equal((total + 1) * 1000, bytes)
    local grown = tonumber(proc.status(c.pid).VmRSS:match("%d+")) - before
    if not cluster.is_sanitized then assert.is_true(grown < 2000, grown .. " KiB more") end
    c:stop()
  end)

  it("in floods is all there and in order, and holds up nobody else", function()
    local count = 5000
    local c = cluster.up { app = "talks", options = { cnum = 2 } }
    local floods = {}
    for i, name in ipairs { "alpha", "beta" } do
      floods[i] = loop.task(function() talk(c, "lines", name .. " " .. count, 60) end)
    end
    local calm = loop.task(function()
      while not (floods[1].done and floods[2].done) do
        talk(c, "master", "none", 60) -- a worker and the master itself answer
      end
    end)
    loop.wait(function() return calm.done end, 120)
    for _, task in ipairs { calm, unpack(floods) } do assert.is_nil(task.error) end
    c:wait(function() return #c.log >= 2 * count + 6 end, "all lines", 60)
    local seen, wrong = { alpha = 0, beta = 0 }, {}
    for _, entry in ipairs(c.log) do
      local name, number = entry.text:match("^(%a+) (%d+)$")
      if name and tonumber(number) ~= seen[name] + 1 then wrong[#wrong + 1] = entry.text end
      if name then seen[name] = tonumber(number) end
    end
    assert.same({}, wrong)
    assert.same({ alpha = count, beta = count }, seen)
    c:stop()
  end)

  it("is still read when a child of it writes it, after its own death, which is known at once", function()
    local c = cluster.up { app = "talks", options = { cnum = 1 }, files = { wait = "" } }
    local fds = c:fds()
    local worker = c:workers()[1].pid
    local child = tonumber(talk(c, "child", c.dir .. "/wait"))
    assert(uv.kill(worker, "sigkill"))
    c:wait_log("exited, pid " .. worker)
    c:wait_workers(1)
    assert.is_true(proc.alive(child))
    assert.equal(fds + 1, c:fds())
    assert(uv.fs_unlink(c.dir .. "/wait"))
    c:wait_log("worker 1 of .*%[" .. worker .. "%] out: child speaks$")
    c:wait_log("worker 1 of .*%[" .. worker .. "%] error: child complains$")
    c:wait(function() return c:fds() == fds end, "its pipe to be closed")
    c:stop()
  end)

  it("comes through an upgrade of the master, also half a line, and what is written meanwhile", function()
    local c = cluster.up { app = "talks", options = { cnum = 2 }, files = { wait = "" } }
    local fds = c:fds()
    local dead = c:workers()[1].pid
    local child = talk(c, "child", c.dir .. "/wait")
    assert(uv.kill(dead, "sigkill"))
    c:wait_log("exited, pid " .. dead)
    c:wait_workers(2)
    local half = talk(c, "out", "begun, ")
    local mark = c:mark()
    local flood = loop.task(function() talk(c, "lines", "line 3000", 60) end)
    c:signal("sigusr2")
    c:wait_log("upgraded, generation 1", mark)
    loop.wait(function() return flood.done end, 60)
    assert.is_nil(flood.error)
    c:wait_log("line 3000$")
    -- The first may be the end of the half line, when it is the same worker.
    assert.equal(3000, c:count("line %d+$"))
    for _ = 1, 20 do
      if talk(c, "out", "ended\n") == half then break end
    end
    c:wait_log("%[" .. half .. "%] out: .*ended$")
    assert.equal(1, c:count("out: begun, .*"), c:text())
    assert(uv.fs_unlink(c.dir .. "/wait"))
    c:wait_log("out: child speaks$")
    c:wait(function() return not proc.alive(tonumber(child)) and c:fds() <= fds end, "its pipe to be closed")
    c:stop()
  end)

  it("goes to the log without the master, once that is gone", function()
    local c = cluster.up { app = "talks", options = { cnum = 1 } }
    local conn = assert(client.connect(c:address()))
    assert.equal(200, (conn:request("POST", "/out", nil, "before\n")))
    c:wait_log("out: before$")
    assert(uv.kill(c.pid, "sigkill"))
    c:wait_log("worker 1 of .*%[%d+%] warn: the master is gone")
    conn:close()
    c:wait_exit()
  end)
end)

describe("what a worker prints, with output = 'inherit',", function()
  after_each(cluster.cleanup)

  local function script(output, error_log)
    return dispatch.script {
      app = "talks", options = { cnum = 1, output = output }, master = { error_log = error_log },
    }
  end

  -- What it prints on both ways comes out as it is, what it logs as of any other.
  local function assert_inherited(c, word)
    talk(c, "out", word .. " out\n")
    talk(c, "err", "<3>" .. word .. " err\n")
    talk(c, "log", "warn " .. word .. " log")
    c:wait(function() return c.out[#c.out] == word .. " out" end, "standard output")
    c:wait_log("^<3>" .. word .. " err$")
    c:wait_log("worker 1 of 127.0.0.1:0%[%d+%] warn: " .. word .. " log$")
    assert.equal(0, c:count("%] out: "))
  end

  it("goes where the master prints, past the log, which still has what it logs", function()
    local c = cluster.up { app = "talks", options = { cnum = 1, output = "inherit" } }
    assert_inherited(c, "first")
    local fds = proc.fds(c:workers()[1].pid)
    for fd = 1, 2 do assert.equal(proc.fds(c.pid)[fd], fds[fd]) end
    c:stop()
  end)

  it("goes there after a reload and an upgrade as well; another upgrade brings it into the log, and back", function()
    local c = cluster.up { dispatch = script "inherit" }
    local function upgrade(generation, output)
      local mark = c:mark()
      cluster.write(c.dir .. "/dispatch.lua", script(output))
      c:signal("sigusr2")
      c:wait_log("upgraded, generation " .. generation, mark)
      return mark
    end
    c:signal("sigusr1")
    c:wait_log("reload of .+ done")
    assert_inherited(c, "second")
    local pid = c:workers()[1].pid
    upgrade(1, "inherit")
    assert_inherited(c, "third")
    assert.equal(pid, c:workers()[1].pid)
    local mark = upgrade(2, "log")
    c:wait_log("reload of .+ done", mark)
    talk(c, "out", "captured\n")
    c:wait_log("worker 1 of 127.0.0.1:0%[%d+%] out: captured$")
    mark = upgrade(3, "inherit")
    c:wait_log("reload of .+ done", mark)
    talk(c, "out", "free\n")
    c:wait(function() return c.out[#c.out] == "free" end, "standard output")
    c:stop()
  end)

  it("goes with the error log: into the new one when that is opened anew, or is another after an upgrade", function()
    local c = cluster.start { dispatch = script("inherit", "error.log") }
    local path = c.dir .. "/error.log"
    local address = wait_text(c, path, "listening on (%S+) for")
    wait_text(c, path, "all workers ready")
    function c.address() return address end
    talk(c, "err", "raw one\n")
    wait_text(c, path, "\nraw one\n")
    assert(uv.fs_rename(path, path .. ".1"))
    c:signal(REOPEN)
    wait_text(c, path, "log files opened anew")
    -- The worker is told after that, and serves on meanwhile.
    c:wait(function()
      talk(c, "err", "raw two\n")
      return (proc.read(path) or ""):find("\nraw two\n")
    end, "the worker to know of it")
    cluster.write(c.dir .. "/dispatch.lua", script("inherit", "other.log"))
    c:signal("sigusr2")
    wait_text(c, c.dir .. "/other.log", "upgraded, generation 1")
    c:wait(function()
      talk(c, "err", "raw three\n")
      return proc.read(c.dir .. "/other.log"):find("\nraw three\n")
    end, "the worker to know of it")
    c:stop()
    assert.same({}, c.out)
    assert.equal("", c:text())
  end)

  it("goes there without the master, once that is gone, as does what it logs", function()
    local c = cluster.up { app = "talks", options = { cnum = 1, output = "inherit" }, files = { wait = "" } }
    local conn = assert(client.connect(c:address()))
    assert.equal(200, (conn:request("POST", "/out", nil, "before\n")))
    talk(c, "child", c.dir .. "/wait")
    assert(uv.kill(c.pid, "sigkill"))
    c:wait_log("worker 1 of .*%[%d+%] warn: the master is gone")
    assert(uv.fs_unlink(c.dir .. "/wait"))
    c:wait_log("^<3>child complains$")
    assert.same({ "before", "child speaks" }, c.out)
    conn:close()
    c:wait_exit()
  end)

  it("is not what another word means", function()
    for _, word in ipairs { "none", "", "Inherit" } do
      local c = cluster.start { app = "talks", options = { output = word } }
      assert.equal(EXIT_USAGE, (c:wait_exit()))
      assert.truthy(c:find(("dispatch.lua:%%d+: register: option 'output' must be 'log' or 'inherit', got '%s'")
        :format(word)), c:text())
    end
  end)
end)

describe("the error log", function()
  after_each(cluster.cleanup)

  it("takes what master and workers say from the first line on; nothing is left on standard error", function()
    local c = cluster.start { app = "talks", master = { error_log = "error.log" }, options = { cnum = 1 } }
    local path = c.dir .. "/error.log"
    local address = wait_text(c, path, "listening on (%S+) for")
    wait_text(c, path, "all workers ready")
    function c.address() return address end
    talk(c, "err", "from a worker\n")
    wait_text(c, path, "out: from a worker\n")
    c:stop()
    assert.truthy(proc.read(path):find("info: stopped\n$"))
    assert.equal("", c:text())
  end)

  it("is there for the next one: lines are appended, also by an upgraded master", function()
    local c = cluster.start { app = "talks", master = { error_log = "error.log" }, options = { cnum = 1 },
      files = { ["error.log"] = "an older line\n" } }
    local path = c.dir .. "/error.log"
    local address = wait_text(c, path, "listening on (%S+) for")
    wait_text(c, path, "all workers ready")
    function c.address() return address end
    c:signal("sigusr2")
    wait_text(c, path, "upgraded, generation 1")
    talk(c, "err", "from a worker\n")
    wait_text(c, path, "out: from a worker\n")
    c:stop()
    assert.truthy(proc.read(path):find("^an older line\n"))
    assert.equal("", c:text())
  end)

  it("that cannot be written ends the start, and whoever starts it is told why", function()
    local cases = {
      ["nowhere/error.log"] = "cannot open the error log /.*/nowhere/error.log: no such file or directory",
      ["."] = "cannot open the error log /.*: illegal operation on a directory",
      ["file/error.log"] = "cannot open the error log /.*/file/error.log: not a directory",
    }
    for path, message in pairs(cases) do
      local c = cluster.start { app = "talks", master = { error_log = path, pidfile = "pid" }, files = { file = "" } }
      assert.equal(EXIT_SYSTEM, (c:wait_exit()))
      assert.truthy(c:find(message), c:text())
      assert.equal(1, #c.lines, c:text())
      assert.is_nil(uv.fs_stat(c.dir .. "/pid"))
    end
    local c = cluster.start { app = "talks", master = { log_prefix = "tima" } }
    assert.equal(EXIT_USAGE, (c:wait_exit()))
    assert.truthy(c:find("'log_prefix' must be auto, time or priority, got 'tima'"), c:text())
  end)

  it("does not take the reason why a start fails", function()
    local c = cluster.up { app = "talks", options = { cnum = 1 } }
    local other = cluster.start { app = "talks", name = c:address(), master = { error_log = "error.log" } }
    assert.equal(EXIT_SYSTEM, (other:wait_exit()))
    assert.truthy(other:find("address already in use"), other:text())
    assert.is_nil(uv.fs_stat(other.dir .. "/error.log"))
    c:stop()
  end)

  it("on a full disk hurts nobody; what is lost is counted, and said when there is room", function()
    local c = cluster.start { dispatch = told { error_log = "error.log" } }
    local path = c.dir .. "/error.log"
    local address = wait_text(c, path, "listening on (%S+) for")
    wait_text(c, path, "all workers ready")
    function c.address() return address end
    assert(uv.fs_unlink(path))
    assert(uv.fs_symlink("/dev/full", path))
    talk(c, "master", "reopen_logs")
    c:wait(function() return c.out[1] == "reopen_logs true nil" end, "the log to be opened anew")
    for _ = 1, 5 do talk(c, "lines", "lost 10") end
    talk(c, "master", "reload")
    c:wait(function() return c.out[2] end, "the reload to begin")
    assert(uv.fs_unlink(path))
    talk(c, "master", "reopen_logs")
    local count = wait_text(c, path, "warn: (%d+) lines of the log are lost: no space left on device\n")
    assert.is_true(tonumber(count) >= 50, count)
    c:stop()
  end)

  it("of which nobody reads holds up no worker that writes, and no master", function()
    local pipe = assert(uv.pipe())
    local c = cluster.start { dispatch = told(), stderr = pipe.write }
    assert(uv.fs_close(pipe.write))
    -- Its address is in the log.
    local text = ""
    c:wait(function()
      text = text .. (uv.fs_read(pipe.read, 1000) or "")
      return text:find("all workers ready")
    end, "the start")
    local address = text:match("listening on (%S+) for")
    function c.address() return address end
    talk(c, "lines", "much 30000")
    talk(c, "master", "log_level")
    c:wait(function() return c.out[1] end, "the master to answer")
    local rest = ""
    c:wait(function()
      rest = rest .. (uv.fs_read(pipe.read, 65536) or "")
      return rest:find("lines of the log are lost: they were not read")
    end, "the count of what was lost")
    uv.fs_close(pipe.read)
    assert.truthy(rest:find("out: much 1\n"))
    c:stop()
  end)
end)

describe("the log level", function()
  after_each(cluster.cleanup)

  it("is changed while all run: of master and workers, those of today and of tomorrow, also over an upgrade", function()
    local c = cluster.up { dispatch = told() }
    local function level(wanted)
      local done = #c.out
      talk(c, "master", "log_level " .. wanted)
      c:wait(function() return c.out[done + 1] end, "the level")
    end
    -- Every worker is asked; each knows the level a moment after the master.
    local function wait_level(wanted, hidden)
      local heard, want = {}, {}
      for _, member in ipairs(c:workers()) do want[member.pid] = true end
      c:wait(function()
        for _ = 1, 3 do talk(c, "log", wanted .. " heard") end -- connections go round
        for _ = 1, hidden and 2 or 0 do talk(c, "log", hidden .. " hidden") end
        for _, entry in ipairs(c:events("^heard$")) do
          if entry.level == wanted then heard[entry.pid] = true end
        end
        for each in pairs(want) do
          if not heard[each] then return false end
        end
        return true
      end, wanted .. " of all workers")
    end
    level "debug"
    wait_level("debug")
    level "error"
    local mark = c:mark()
    c:wait(function()
      local before = c:mark()
      for _ = 1, 4 do talk(c, "log", "warn unheard") end
      talk(c, "out", "always\n")
      c:wait_log("out: always$", before)
      return c:count("unheard", before) == 0
    end, "the workers to be quiet")
    c:signal("sigusr2")
    c:wait(function() return proc.alive(c.pid) and c:count("upgraded, generation 1") == 1 end, "the upgrade")
    wait_level("info", "debug")
    assert.equal(0, c:count("hidden", mark))
    c:stop()
  end)

  it("refuses what is none", function()
    local c = cluster.start { dispatch = told({}, 'master:log_level("loud")') }
    assert.equal(EXIT_USAGE, (c:wait_exit()))
    assert.truthy(c:find("log_level: must be debug, info, warn or error, got 'loud'"), c:text())
  end)
end)

describe("lines for the journal", function()
  after_each(cluster.cleanup)

  it("have a priority and no time, each of them", function()
    local c = cluster.start { app = "talks", options = { cnum = 1 },
      shell = 'export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)' }
    local address = c:wait_log("^<6>master%[%d+%] info: listening on (%S+) for")
    c:wait_log("^<6>master%[%d+%] info: all workers ready$")
    function c.address() return address end
    talk(c, "out", "plain\n<4>odd\n")
    talk(c, "log", "error one\ntwo")
    c:wait_log("^<6>worker 1 of .*%[%d+%] out: plain$")
    c:wait_log("^<4>worker 1 of .*%[%d+%] warn: odd$")
    c:wait_log("^<3>worker 1 of .*%[%d+%] error: one$")
    c:wait_log("^<3>\ttwo$")
    c:stop()
  end)

  it("are made when another log of systemd is behind the pipe, if the script says so", function()
    local c = cluster.start { app = "hello", options = { cnum = 1 }, master = { log_prefix = "priority" } }
    c:wait_log("^<6>master%[%d+%] info: all workers ready$")
    c:stop()
    c = cluster.start { app = "hello", options = { cnum = 1 }, env = { JOURNAL_STREAM = "1:1" } }
    c:wait_log("^%d.* info: all workers ready$")
    c:stop()
  end)
end)

describe("who follows the log", function()
  after_each(cluster.cleanup)

  it("gets every line once, but for those that it brings about itself; one that fails gets no more", function()
    local c = cluster.up { dispatch = told({}, [[
      local host = require "clua.core.host"
      local function say(...)
        io.stdout:write(table.concat({ ... }, " "), "\n")
        io.stdout:flush()
      end
      master:on_log(function(line)
        say("told", line)
        host.log("info", "about " .. #line)
      end)
      master:on_log(function() error("one that fails") end)
      host.log("info", "known already")
      master:on_log(function(line) if line:find "known already" then say "told twice" end end)
      local stop
      stop = master:on_log(function(line) say("short", line) stop() end)
      function master:say_last() say("last", unpack(master:last_log(3))) end
    ]]) }
    talk(c, "out", "something\n")
    c:wait(function() return c.out[#c.out]:find("^told .* out: something$") end, "the line")
    local told_lines, short = 0, 0
    for _, line in ipairs(c.out) do
      if line:find("^told ") then told_lines = told_lines + 1 end
      if line:find("^short ") then short = short + 1 end
    end
    -- Those before it began: listening, and two workers started.
    local own = c:count("info: about %d+$") + c:count("a follower of the log has failed") + c:count("^\t")
    assert.equal(told_lines + own, #c.lines - 3, c:text() .. "\n" .. table.concat(c.out, "\n"))
    assert.equal(told_lines, c:count("info: about %d+$"))
    assert.equal(1, short)
    assert.equal(1, c:count("a follower of the log has failed.*one that fails"))
    talk(c, "master", "say_last")
    c:wait(function() return c.out[#c.out]:find("^say_last") end, "the last lines")
    assert.truthy(c.out[#c.out - 1]:find("^last .*info: about %d+"), c.out[#c.out - 1])
    c:stop()
  end)

  it("learns that it has missed something when there was too much", function()
    local c = cluster.up { dispatch = told({}, [[
      local missed, last = 0, ""
      master:on_log(function(line)
        if line then last = line else missed = missed + 1 end
        if line and line:find("say it") then
          io.stdout:write("missed ", missed, " times\n")
          io.stdout:flush()
        end
      end)
      function master:much()
        for i = 1, 2000 do require("clua.core.host").log("info", "number " .. i .. (" "):rep(100)) end
      end
    ]]) }
    talk(c, "master", "much")
    talk(c, "out", "say it\n")
    c:wait(function() return c:count("out: say it$") == 1 and c.out[#c.out] == "missed 1 times" end, "the word")
    assert.equal(2000, c:count("info: number %d+ *$"))
    c:stop()
  end)
end)
