-- The control socket: where it is, who may connect, and what clients cannot do to the master.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"
local control = require "spec.support.control"
local proc = require "spec.support.proc"
local uv = require "luv"

local EXIT_SYSTEM, EXIT_NO_MASTER = 111, 111
local LINE_BYTES = 65536 -- of src/README.md
local CLIENTS_MAX = 64
local NOBODY = 65534

local function mode_of(path)
  return ("%o"):format(uv.fs_lstat(path).mode % 4096)
end

local function ls(dir)
  local names, request = {}, uv.fs_scandir(dir)
  for name in function() return request and uv.fs_scandir_next(request) end do names[#names + 1] = name end
  return table.concat(names, " ")
end

describe("the control socket", function()
  after_each(cluster.cleanup)

  it("is there without an option, for its user alone, whatever the umask, and gone at the end", function()
    for _, mask in ipairs { "000", "777" } do
      local c = cluster.up { app = "hello", options = { cnum = 1 }, shell = "umask " .. mask }
      local path = control.path(c)
      assert.equal("600", mode_of(path))
      assert.equal("socket", uv.fs_lstat(path).type)
      c:stop()
      assert.is_nil(uv.fs_lstat(path))
    end
  end)

  it("is not there with control = false", function()
    local c = cluster.up { app = "hello", master = { control = false }, options = { cnum = 1 } }
    assert.is_nil(control.path(c))
    local _, err, code = control.run(c, "status")
    assert.same({ "clua: no cluster of yours runs here: see clua ps\n", EXIT_NO_MASTER }, { err, code })
    c:stop()
  end)

  it("stands beside the pid file, or where the option says, and is found by a link", function()
    for _, options in ipairs { { pidfile = "app.pid" }, { control = "app.pid.control" } } do
      local c = cluster.up { app = "hello", master = options, options = { cnum = 1 } }
      assert.equal("600", mode_of(c.dir .. "/app.pid.control"))
      assert.equal(c.dir .. "/app.pid.control", uv.fs_readlink(control.path(c)))
      local out, err = control.run(c, "status")
      assert.truthy(out:find("control socket " .. c.dir .. "/app.pid.control", 1, true), out .. err)
      c:stop()
      assert.is_nil(ls(c.dir):find("control", 1, true), ls(c.dir))
    end
  end)

  it("of a master that was killed is replaced, that of a live one is not, nor is another file", function()
    local c = cluster.up { app = "hello", master = { control = "here" }, options = { cnum = 1 } }
    local second = cluster.start { app = "hello", master = { control = c.dir .. "/here" }, options = { cnum = 1 } }
    assert.equal(EXIT_SYSTEM, (second:wait_exit()))
    assert.truthy(second:text():find("cannot open the control socket .*here: another master listens there"))
    c:signal("sigkill")
    c:wait_exit()
    assert.truthy(uv.fs_lstat(c.dir .. "/here"))
    local third = cluster.up { app = "hello", master = { control = c.dir .. "/here" }, options = { cnum = 1 } }
    third:stop()
    assert.is_nil(uv.fs_lstat(c.dir .. "/here"))

    cluster.write(c.dir .. "/here", "precious")
    local fourth = cluster.start { app = "hello", master = { control = c.dir .. "/here" }, options = { cnum = 1 } }
    assert.equal(EXIT_SYSTEM, (fourth:wait_exit()))
    assert.truthy(fourth:text():find("there is a file that is no socket"))
    assert.equal("precious", io.open(c.dir .. "/here"):read("*a"))
  end)

  it("that cannot be had does not stop a cluster that has not asked for one", function()
    local dir = "/tmp/" .. ("long"):rep(30)
    local c = cluster.up { app = "hello", options = { cnum = 1 }, env = { CLUA_RUNTIME_DIR = dir } }
    c:wait_log("warn: no control socket: cannot open .* name too long")
    c:stop()
    uv.fs_rmdir(dir)
  end)

  it("goes when the start fails", function()
    local c = cluster.start { dispatch = [[
      local master = require("clua").Master { control = "here" }
      master:register("127.0.0.1:0", "app.lua"):register("1.2.3.4:1", "app.lua"):dispatch()
    ]], files = { ["app.lua"] = "" } }
    assert.equal(EXIT_SYSTEM, (c:wait_exit()))
    assert.is_nil(ls(c.dir):find("here", 1, true), ls(c.dir))
  end)

  it("refuses another user, by its mode and by who connects", function()
    if uv.getuid() ~= 0 or not command.exists("setpriv") then pending("needs root and setpriv") end
    local c = cluster.up { app = "hello", options = { cnum = 1 }, own_binary = true }
    local function try()
      return command.run("setpriv", { "--reuid=" .. NOBODY, "--regid=" .. NOBODY, "--clear-groups", c.dir .. "/clua",
        "stop", "--now", "--control", control.path(c) })
    end
    local _, err, code = try()
    assert.equal(EXIT_NO_MASTER, code)
    assert.truthy(err:find("only the user of the master, or root, may do that", 1, true), err)
    assert.equal(0, c:count("was refused"))
    uv.fs_chmod(control.path(c), tonumber("666", 8))
    _, err, code = try()
    assert.equal(EXIT_NO_MASTER, code)
    assert.truthy(err:find("only the user of the master, or root, may do that", 1, true), err)
    c:wait_log("control socket: user 65534 %(pid %d+%) was refused")
    c:stop()
  end)
end)

describe("a client of the control socket", function()
  after_each(cluster.cleanup)

  local function up()
    return cluster.up { app = "hello", options = { cnum = 1 } }
  end

  local function assert_served(c)
    local conn = control.connect(c)
    assert.equal(c.pid, control.ask(conn, { op = "status", id = 7 }).result.master.pid)
    conn:close()
    assert.equal(200, (client.get(c:address(), "/")))
  end

  it("gets an error for what is no request, and may go on", function()
    local c = up()
    local conn = control.connect(c)
    for text, pattern in pairs {
      ["GET / HTTP/1.1"] = "a request is a line of JSON", ["[]"] = "a request is", ["{\"op\":1}"] = "a request is",
      ["null"] = "a request is", ["\0\255"] = "a request is", [("["):rep(5000)] = "a request is",
      ['{"op":"statas"}'] = "no request 'statas', did you mean 'status'",
      ['{"op":"status","x":1}'] = "unknown option 'x'", ['{"op":"scale","name":"a"}'] = "'count' is missing",
      ['{"op":"scale","name":"a","count":1.5}'] = "'count' must be integer",
      ['{"op":"scale","name":"a","count":-1}'] = "must not be negative",
      ['{"op":"scale","name":"a","count":1}'] = "nothing is registered under 'a'",
      ['{"op":"log-level","level":"loud"}'] = "must be debug, info, warn or error",
    } do
      conn:send(text .. "\n")
      local answer = control.line(conn)
      assert.is_false(answer.ok)
      assert.truthy(answer.error:find(pattern, 1, true), answer.error)
    end
    assert.is_true(control.ask(conn, { op = "status" }).ok)
    conn:close()
    c:stop()
  end)

  it("gets the answers to many requests at once, in order", function()
    local c = up()
    local conn, lines = control.connect(c), {}
    for i = 1, 100 do lines[i] = ('{"op":"status","id":%d}\r\n'):format(i) end
    conn:send(table.concat(lines))
    for i = 1, 100 do assert.equal(i, control.line(conn).id) end
    conn:close()
    c:stop()
  end)

  it("that sends nothing but line ends costs the master little", function()
    local c = up()
    local conn, before = control.connect(c), proc.stat(c.pid).cpu
    for _ = 1, 20 do conn:send(("\n"):rep(65536)) end
    assert.is_true(control.ask(conn, { op = "status" }).ok)
    local cpu = proc.stat(c.pid).cpu - before
    assert.is_true(cluster.is_sanitized or cpu < 1, cpu .. " s of processor time")
    conn:close()
    c:stop()
  end)

  it("gets JSON, whatever bytes a worker has printed", function()
    local c = cluster.up { app = "app.lua", options = { cnum = 1 }, files = { ["app.lua"] = [[
      print("caf\233 \240\159\152\128")
      require("clua").ready(function() end)
    ]] } }
    local conn = control.connect(c)
    local lines = control.ask(conn, { op = "log", lines = 100 }).result.lines
    assert.truthy(table.concat(lines, "\n"):find("out: caf\239\191\189 \240\159\152\128", 1, true))
    conn:close()
    c:stop()
  end)

  it("that sends a line without end is closed, with the reason", function()
    local c = up()
    local conn = control.connect(c)
    conn:send(("x"):rep(LINE_BYTES + 1))
    local answer = control.line(conn)
    assert.same({ false, "EMSGSIZE" }, { answer.ok, answer.code })
    assert.is_nil(control.line(conn))
    conn:close()
    assert_served(c)
    c:stop()
  end)

  it("that does not read its answers costs the master little, and holds up nobody", function()
    local c = up()
    assert_served(c)
    local before = tonumber(proc.status(c.pid).VmRSS:match("%d+"))
    local deaf = {}
    for i = 1, 10 do
      deaf[i] = control.connect(c)
      deaf[i]:pause()
      deaf[i]:send(('{"op":"status"}\n'):rep(20000)) -- 30 MiB of answers each
    end
    for _ = 1, 20 do assert_served(c) end
    local sanitized = cluster.is_sanitized -- keeps freed memory for a while
    local after = not sanitized and tonumber(proc.status(c.pid).VmRSS:match("%d+")) or before
    assert.is_true(after - before < 32768, ("the master has grown by %d KiB"):format(after - before))
    for _, conn in ipairs(deaf) do conn:close() end
    c:stop()
  end)

  it("that does not read delays no stop", function()
    local c = up()
    local deaf = control.connect(c)
    deaf:pause()
    deaf:send(('{"op":"status"}\n'):rep(20000))
    assert_served(c)
    c:stop()
    deaf:close()
  end)

  it("is one of a limited number, whatever they say", function()
    local c = up()
    local fds, conns = c:fds(), {}
    for i = 1, CLIENTS_MAX do conns[i] = control.connect(c) end
    local one_more = assert(client.connect("unix:" .. control.path(c)))
    local answer = control.line(one_more)
    assert.same({ false, "EAGAIN" }, { answer.ok, answer.code })
    one_more:close()
    for _, conn in ipairs(conns) do conn:close() end
    c:wait(function() return c:fds() <= fds end, "the clients to be forgotten")
    assert_served(c)
    c:stop()
  end)

  it("may have only so many requests under way", function()
    local c = cluster.up { app = "app.lua", options = { cnum = 1, ready_timeout = 600 },
      files = { ["app.lua"] = io.open(cluster.fixture("hello")):read("*a") } }
    cluster.write(c.dir .. "/app.lua", io.open(cluster.fixture("never_ready")):read("*a"))
    local conn = control.connect(c)
    conn:send(('{"op":"reload","wait":true}\n'):rep(40))
    local answer = control.line(conn)
    assert.same({ false, "EBUSY" }, { answer.ok, answer.code })
    conn:close()
    c:stop()
  end)

  it("that is connected sees the end of its connection at an upgrade, and finds the new master there", function()
    local c = up()
    local path, conn = control.path(c), control.connect(c)
    local ino = uv.fs_lstat(path).ino
    for generation = 1, 3 do
      c:signal("sigusr2")
      assert.is_nil(control.line(conn))
      conn:close()
      conn = control.connect(c)
      assert.equal(generation, control.ask(conn, { op = "status" }).result.master.generation)
      assert.same({ ino, "600" }, { uv.fs_lstat(path).ino, mode_of(path) })
    end
    conn:close()
    c:stop()
    assert.is_nil(uv.fs_lstat(path))
  end)

  it("finds it where the new dispatch script wants it, or not at all", function()
    local function script(option)
      return ([[
        local master = require("clua").Master { control = %s }
        master:register("127.0.0.1:0", %q, { cnum = 1 }):dispatch()
      ]]):format(option, cluster.fixture("hello"))
    end
    local c = cluster.up { dispatch = script('"first"') }
    local fds
    for i, step in ipairs { { '"second"', "second" }, { "false" }, { '"third"', "third" }, { '"third"', "third" } } do
      cluster.write(c.dir .. "/dispatch.lua", script(step[1]))
      local mark = c:mark()
      c:signal("sigusr2")
      c:wait_log("upgraded, generation " .. i, mark)
      for _, name in ipairs { "first", "second", "third" } do
        assert.equal(name == step[2], uv.fs_lstat(c.dir .. "/" .. name) ~= nil, name .. " in " .. ls(c.dir))
      end
      assert.equal(step[2] ~= nil, control.path(c) ~= nil)
      if step[2] then
        assert_served(c)
        c:wait(function() return not fds or c:fds() <= fds end, "no descriptor to be left")
        fds = fds or c:fds()
      end
    end
    c:stop()
    assert.is_nil(ls(c.dir):find("third", 1, true))
  end)
end)
