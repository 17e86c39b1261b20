-- The host of the Lua state: coroutines in this process; scripts, command line and exit statuses in children.

local host = require "clua.core.host"
local loop = require "spec.support.loop"
local uv = require "luv"

local WAIT = 20 -- seconds that bound a hang

local folder

local function path(name)
  return folder .. "/" .. name
end

local function write(name, text)
  local file = assert(io.open(path(name), "wb"))
  file:write(text)
  file:close()
  return path(name)
end

-- Runs clua to its end: { status =, signal =, out =, err = }.
local function clua(...)
  local child, open = { out = "", err = "" }, 3
  local function read(field)
    local pipe = uv.new_pipe(false)
    return pipe, function()
      pipe:read_start(function(_, chunk)
        if chunk then
          child[field] = child[field] .. chunk
        else
          pipe:close()
          open = open - 1
        end
      end)
    end
  end
  local out, read_out = read "out"
  local err, read_err = read "err"
  local handle
  handle = assert(uv.spawn(uv.exepath(), {
    args = { ... }, cwd = folder, stdio = { nil, out, err },
  }, function(status, signal)
    child.status, child.signal = status, signal
    handle:close()
    open = open - 1
  end))
  read_out()
  read_err()
  if not pcall(loop.wait, function() return open == 0 end, WAIT) then
    handle:kill("sigkill")
    loop.wait(function() return open == 0 end, WAIT, "the child to die")
    error("clua did not end; it said: " .. child.err)
  end
  return child
end

-- A script that must run well; what it has printed.
local function output(text, ...)
  local child = clua(write("script.lua", text), ...)
  assert.equal("", child.err)
  assert.equal(0, child.status)
  return child.out
end

local function lines(text)
  return select(2, text:gsub("\n", "\n"))
end

describe("clua", function()
  setup(function()
    folder = assert(uv.fs_mkdtemp("/tmp/clua-host-XXXXXX"))
  end)

  teardown(function()
    local request = uv.fs_scandir(folder)
    for name in function() return uv.fs_scandir_next(request) end do uv.fs_unlink(path(name)) end
    uv.fs_rmdir(folder)
  end)

  describe("host.spawn and host.resume", function()
    it("say whether the function has finished or waits", function()
      local co
      assert.equal("finished", host.spawn(function() end))
      assert.equal("suspended", host.spawn(function()
        co = coroutine.running()
        coroutine.yield()
        coroutine.yield()
      end))
      assert.equal("suspended", host.resume(co))
      assert.equal("finished", host.resume(co))
    end)

    it("pass arguments and values, nil among them", function()
      local co, got
      host.spawn(function(...)
        co = coroutine.running()
        got = { select("#", ...), ... }
        got[#got + 1] = { n = select("#", coroutine.yield("dropped")) }
      end, "a", false, 3)
      assert.same({ 3, "a", false, 3 }, got)
      host.resume(co, nil, nil)
      assert.same({ n = 2 }, got[5])
    end)

    it("use a coroutine again after its function has returned", function()
      local seen, co = {}, nil
      for _ = 1, 5 do host.spawn(function() co = coroutine.running() end) seen[co] = true end
      local count = 0
      for _ in pairs(seen) do count = count + 1 end
      assert.equal(1, count)
    end)

    it("may be nested, each in a coroutine of its own", function()
      local outer, inner
      host.spawn(function()
        outer = coroutine.running()
        host.spawn(function()
          inner = coroutine.running()
          coroutine.yield()
        end)
      end)
      assert.are_not.equal(outer, inner)
      assert.equal("finished", host.resume(inner))
    end)

    it("resume coroutines that a script has made, begun or not", function()
      local got = {}
      local co = coroutine.create(function(a)
        got[1] = a
        got[2] = coroutine.yield()
      end)
      assert.equal("suspended", host.resume(co, "first"))
      assert.equal("finished", host.resume(co, "second"))
      assert.same({ "first", "second" }, got)
      assert.equal("dead", coroutine.status(co))
    end)

    it("leave the waiting of a script's own coroutine inside a task to the script", function()
      local steps = {}
      host.spawn(function()
        local generate = coroutine.wrap(function()
          for i = 1, 3 do coroutine.yield(i) end
        end)
        for i in generate do steps[#steps + 1] = i end
      end)
      assert.same({ 1, 2, 3 }, steps)
    end)

    it("keep thousands of waiting tasks apart, with the collector at work", function()
      local waiting, sum = {}, 0
      for i = 1, 2000 do
        host.spawn(function()
          waiting[i] = coroutine.running()
          local factor = coroutine.yield()
          sum = sum + factor * i
        end)
      end
      collectgarbage()
      for i = 1, 2000 do assert.equal("finished", host.resume(waiting[i], 2)) end
      assert.equal(2000 * 2001, sum)
    end)

    it("refuse what is no function and no coroutine", function()
      assert.has_error(function() host.spawn("text") end)
      assert.has_error(function() host.resume(print) end)
      assert.has_error(function() host.log("loud", "text") end)
    end)
  end)

  describe("an error that nobody handles", function()
    local function fails(text, message)
      local child = clua(write("script.lua", text))
      assert.equal(1, child.status)
      assert.truthy(child.err:find(message, 1, true), child.err)
      assert.truthy(child.err:find("stack traceback:", 1, true), child.err)
      assert.is_nil(child.out:find("not reached"))
      return child.err
    end

    it("in the script ends the process with 1, message and traceback", function()
      local text = fails("local function f()\n  error 'broken'\nend\nf()\nprint 'not reached'", "script.lua:2: broken")
      assert.equal("clua: ", text:sub(1, 6))
      assert.truthy(text:find("script.lua:4:", 1, true))
      assert.truthy(text:find("\n     2 |  error 'broken'\n", 1, true), text)
    end)

    it("in the script after it has waited, too", function()
      fails([[
        local uv = require "luv"
        local timer, co = uv.new_timer(), coroutine.running()
        timer:start(0, 0, function() timer:close() require "clua.core.host".resume(co) end)
        coroutine.yield()
        error "late"
      ]], "script.lua:5: late")
    end)

    it("in a callback of luv", function()
      fails([[
        local timer = require "luv".new_timer()
        timer:start(0, 0, function() error "in a timer" end)
        timer = require "luv".new_timer()
        timer:start(50, 0, function() print "not reached" end)
      ]], "script.lua:2: in a timer")
    end)

    it("in a spawned function, at once or later", function()
      fails("require 'clua.core.host'.spawn(function() error 'spawned' end) print 'not reached'", "spawned")
      fails([[
        local host, co = require "clua.core.host"
        host.spawn(function() co = coroutine.running() coroutine.yield() error "later" end)
        host.resume(co)
        print "not reached"
      ]], "script.lua:2: later")
    end)

    it("in a script's own coroutine that an event has resumed", function()
      fails([[
        local co = coroutine.create(function() coroutine.yield() error "own" end)
        local host = require "clua.core.host"
        host.resume(co)
        host.resume(co)
      ]], "script.lua:1: own")
    end)

    it("by resuming what cannot be resumed: ended, running, or waiting for another", function()
      local what = "cannot resume"
      fails("local co = coroutine.create(print) coroutine.resume(co) require 'clua.core.host'.resume(co)", what)
      fails("require 'clua.core.host'.resume(coroutine.running(), 1, 2, 3)", what)
      fails("local host = require 'clua.core.host' local co = coroutine.create(function() " ..
        "host.resume(coroutine.running(), 1, 2) end) assert(coroutine.resume(co))", what)
      fails("local host = require 'clua.core.host' local outer = coroutine.create(function(self) " ..
        "coroutine.wrap(function() host.resume(self) end)() end) coroutine.resume(outer, outer)", what)
    end)

    it("may be any value", function()
      fails("error(setmetatable({}, { __tostring = function() return 'as text' end }))", "as text")
      fails("error({})", "(error object is a table value)")
      fails("error(setmetatable({}, { __tostring = function() error 'no' end }))", "(error object is a table value)")
      fails("error(setmetatable({}, { __tostring = function() return {} end }))", "(error object is a table value)")
      fails("error()", "(error object is a nil value)")
      fails("error(42)", "42")
    end)

    it("of the user's making is one line and has its own status", function()
      local child = clua("-e", "require 'clua.usage'.refuse('the disk is full', 'ENOSPC', 111)")
      assert.equal(111, child.status)
      assert.equal("clua: the disk is full\n", child.err)
    end)

    it("is none when a pcall has caught it, waiting included", function()
      assert.equal("caught\n", output [[
        local host, uv = require "clua.core.host", require "luv"
        local co, timer = coroutine.running(), uv.new_timer()
        timer:start(0, 0, function() timer:close() host.resume(co) end)
        local ok, message = pcall(function() coroutine.yield() error("x", 0) end)
        print(not ok and message == "x" and "caught")
      ]])
    end)
  end)

  describe("callbacks of luv", function()
    it("run in coroutines of their own and may wait", function()
      assert.equal("true\nwoken 7\n", output [[
        local uv, host = require "luv", require "clua.core.host"
        local co
        local first, second = uv.new_timer(), uv.new_timer()
        first:start(0, 0, function()
          first:close()
          co = coroutine.running()
          print(type(co) == "thread")
          print("woken", coroutine.yield())
        end)
        second:start(1, 1, function()
          if not co then return end
          second:close()
          host.resume(co, 7)
        end)
      ]]:gsub("\t", " "))
    end)

    it("keep the process until nothing is left to wait for", function()
      assert.equal("script\ntimer\n", output [[
        local timer = require "luv".new_timer()
        timer:start(1, 0, function() timer:close() print "timer" end)
        print "script"
      ]])
    end)

    it("work with the loop that clua runs, with the collector at pause 0", function()
      assert.equal("200\n", output [[
        collectgarbage("setpause", 0)
        local uv, count = require "luv", 0
        for _ = 1, 200 do
          local timer = uv.new_timer()
          timer:start(0, 0, function() timer:close() count = count + 1 if count == 200 then print(count) end end)
        end
      ]])
    end)
  end)

  describe("a script", function()
    it("gets its arguments as `...` and as `arg`, the command line around them", function()
      local child = clua("-e", "x = 1", write("script.lua", [[
        print(select("#", ...), ...)
        print(#arg, arg[0], arg[1], arg[2], arg[-1], arg[-2])
      ]]), "one", "-v", "")
      assert.equal(0, child.status)
      assert.equal(("3\tone\t-v\t\n3\t%s\tone\t-v\tx = 1\t-e\n"):format(path "script.lua"), child.out)
    end)

    it("knows its file and folder", function()
      assert.equal(path "script.lua" .. " " .. folder .. "\n", output "print(__filename .. ' ' .. __dirname)")
      write("script.lua", "print(__filename, __dirname)")
      assert.equal("script.lua\t.\n", clua("script.lua").out)
    end)

    it("finds modules beside itself first, wherever it is called from", function()
      write("beside_script.lua", "return 'beside'")
      assert.equal("beside\n", output "print(require 'beside_script')")
    end)

    it("cannot shadow a module of clua with a file", function()
      write("clua.lua", "error 'shadowed'")
      assert.equal("function\n", output "print(type(require 'clua'.Master))")
      uv.fs_unlink(path "clua.lua")
    end)

    it("may begin with #!, and line numbers count it", function()
      assert.equal("ok\n", output "#!/usr/bin/env clua\nprint 'ok'\n")
      local child = clua(write("script.lua", "#!/usr/bin/env clua\n\nerror 'here'"))
      assert.truthy(child.err:find("script.lua:3: here", 1, true), child.err)
    end)

    it("ends with the status that it asks for", function()
      for code, status in pairs { [""] = 0, ["7"] = 7, ["255"] = 255, ["true"] = 0, ["false"] = 1 } do
        assert.equal(status, clua("-e", "os.exit(" .. code .. ")").status)
      end
      assert.equal(9, clua(write("script.lua", [[
        require "luv".new_timer():start(0, 0, function() os.exit(9) end)
      ]])).status)
    end)

    it("that waits for what never comes ends with the loop", function()
      assert.equal(0, clua("-e", "coroutine.yield()").status)
    end)

    it("may be bytecode", function()
      write("script.lua", string.dump(function() print("compiled") end))
      assert.equal("compiled\n", clua("script.lua").out)
    end)
  end)

  describe("-e", function()
    it("runs code alone or before the script", function()
      assert.equal("alone\n", clua("-e", "print 'alone'").out)
      assert.equal("set\n", clua("-e", "word = 'set'", write("script.lua", "print(word)")).out)
    end)

    it("names its code in errors", function()
      local child = clua("-e", "\nerror 'x'")
      assert.equal(1, child.status)
      assert.truthy(child.err:find("(command line):2: x", 1, true), child.err)
    end)
  end)

  describe("wrong use ends with 100 and one line:", function()
    local function refused(pattern, ...)
      local child = clua(...)
      assert.equal(100, child.status)
      assert.equal("", child.out)
      assert.truthy(child.err:find(pattern), child.err)
      return child.err
    end

    local function one_line(pattern, ...)
      assert.equal(1, lines(refused("^clua: " .. pattern, ...)))
    end

    it("a script that is not there", function()
      one_line("cannot open .*missing%.lua.*No such file or directory\n$", "missing.lua")
    end)

    it("a folder", function()
      one_line(".* is a directory: name a Lua script\n$", folder)
    end)

    it("a script that does not compile, with file and line", function()
      one_line(".*script%.lua:3: .*near", write("script.lua", "local x = 1\n\nlocal = 2\n"))
    end)

    it("code that does not compile", function()
      one_line("%(command line%):1: .*near", "-e", "x =")
    end)

    it("an unknown option, or one without its argument", function()
      one_line("unknown option '%-z': see clua %-h\n$", "-z")
      one_line("an argument is missing after '%-e': see clua %-h\n$", "-e")
      one_line("unknown option '%-%-help%-me': see clua %-h\n$", "--help-me")
    end)

    it("playing the worker by hand", function()
      one_line("%-%-worker is how a master starts its workers", "--worker")
    end)

    it("nothing at all: the usage", function()
      assert.truthy(lines(refused "^usage: clua") > 2)
    end)
  end)

  it("-v says the versions", function()
    local child = clua("-v")
    assert.equal(0, child.status)
    assert.truthy(child.out:find("^clua %d+%.%d+%.%d+ %(LuaJIT [^,]+, libuv %d+%.%d+%.%d+%)\n$"), child.out)
    assert.equal(child.out, clua("--version").out)
    assert.truthy(clua("--help").out:find "^usage: clua ")
  end)

  it("-h says how to use it, with every option", function()
    local child = clua("-h")
    assert.equal(0, child.status)
    assert.equal("", child.err)
    for _, option in ipairs { "-e CODE", "-v", "-h", "SCRIPT", "ARGS" } do
      assert.truthy(child.out:find(option, 1, true), option)
    end
  end)

  it("says where it failed even when stderr is closed", function()
    local child = clua("-e", "io.stderr:close() error 'x'")
    assert.equal(1, child.status)
  end)
end)
