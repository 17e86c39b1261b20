-- Code that an operator runs in a living worker.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local control = require "spec.support.control"
local uv = require "luv"

local function up(options)
  return cluster.up { app = "app.lua", name = "job", options = options, files = { ["app.lua"] = [[
    local worker = require("clua").Worker()
    counter = 40 + worker.id
    worker:on("message", function(message) print("message: " .. tostring(message)) end)
    worker:ready()
  ]] } }
end

describe("code in a worker", function()
  after_each(cluster.cleanup)

  it("is run where the operator says, and its answer comes back", function()
    local c = up { cnum = 2, repl = true }
    local conn = control.connect(c)
    for _, member in ipairs(c:workers()) do
      for _, worker in ipairs { member.id, member.pid } do
        local answer = control.ask(conn, { op = "evaluate", worker = worker, id = 1,
          code = "print('here') return counter, require('luv').os_getpid()" })
        assert.same({ true, { tostring(40 + member.id), tostring(member.pid) }, "here\n" },
          { answer.result.ok, answer.result.values, answer.result.output })
      end
    end
    assert.equal("true", control.ask(conn, { op = "evaluate", worker = 1,
      code = "require('clua.async').sleep(0.01) return true" }).result.values[1])
    assert.equal(2, c:count("warn: control socket: user %d+ %(pid %d+%) runs code in worker"))
    local failed = control.ask(conn, { op = "evaluate", worker = 1, code = "do error 'no such luck' end" }).result
    assert.is_false(failed.ok)
    assert.truthy(failed.error:find("repl:1: no such luck\nstack traceback:", 1, true))
    conn:close()
    c:stop()
  end)

  it("is not, unless the registration allows it; nor are its names told", function()
    local c = up { cnum = 1 }
    local conn = control.connect(c)
    for _, request in ipairs { { op = "evaluate", code = "os.exit(9)" }, { op = "complete", prefix = "count" } } do
      request.worker = 1
      local answer = control.ask(conn, request)
      assert.same({ false, "EACCES" }, { answer.ok, answer.code })
      assert.truthy(answer.error:find("register it with repl = true", 1, true))
    end
    conn:close()
    c:stop()
  end)

  it("is completed by the names that the worker has, without a word in the log", function()
    local c = up { cnum = 2, repl = true }
    local conn = control.connect(c)
    for _, member in ipairs(c:workers()) do
      local answer = control.ask(conn, { op = "complete", worker = member.id, prefix = "count" })
      assert.same({ { "counter" }, member.pid }, { answer.result.words, answer.result.pid })
    end
    local pid = c:workers()[1].pid
    assert.equal("ESRCH", control.ask(conn, { op = "complete", worker = 1, pid = pid + 1, prefix = "" }).code)
    assert.equal("EINVAL", control.ask(conn, { op = "complete", worker = 1 }).code)
    assert.equal(0, c:count("control socket:"))
    conn:close()
    c:stop()
  end)

  it("comes from the master alone: a worker cannot send it to another", function()
    local c = up { cnum = 2, repl = true }
    local conn = control.connect(c)
    local answer = control.ask(conn, { op = "evaluate", worker = 1, code = [[
      local wire = require "clua.wire"
      local core = require "clua.core.worker"
      core.broadcast("job", wire.encode({ id = 1, code = "os.exit(9)" }, "master", 0), 0)
      core.broadcast("\1evaluated", wire.encode({ id = 2, ok = true, values = {}, output = "forged" }, "x", 0))
      return core.broadcast("\1evaluated", "garbage")
    ]] })
    assert.is_true(answer.ok)
    c:wait_log("worker 2 of job.* out: message: table: 0x")
    assert.equal("42", control.ask(conn, { op = "evaluate", worker = 2, code = "counter" }).result.values[1])
    conn:close()
    c:stop()
  end)

  it("of a worker that dies of it is told so, and of one that is not there", function()
    local c = up { cnum = 1, repl = true }
    local conn = control.connect(c)
    local answer = control.ask(conn, { op = "evaluate", worker = 1, code = "os.exit(9)" })
    assert.same({ false, "ECONNRESET", "the worker has ended" }, { answer.ok, answer.code, answer.error })
    answer = control.ask(conn, { op = "evaluate", worker = 99, code = "1" })
    assert.same({ false, "ENOENT" }, { answer.ok, answer.code })
    c:wait_workers(1)
    -- Not the master's concern when it takes its time.
    conn:send('{"op":"evaluate","worker":1,"code":"require(\'luv\').sleep(500)","id":1}\n')
    local other = control.connect(c)
    assert.is_true(control.ask(other, { op = "status" }).ok)
    assert.equal(1, control.line(conn).id)
    other:close()
    conn:close()
    c:stop()
  end)

  it("needs the registration where ids are not clear", function()
    local app = cluster.fixture("hello")
    local c = cluster.up { dispatch = ([[
      require("clua").Master():register("127.0.0.1:0", %q, { cnum = 1, repl = true })
        :register("127.0.0.2:0", %q, { cnum = 1, repl = true }):dispatch()
    ]]):format(app, app) }
    local conn = control.connect(c)
    local answer = control.ask(conn, { op = "evaluate", worker = 1, code = "1" })
    assert.truthy(answer.error:find("several workers 1", 1, true), answer.error)
    answer = control.ask(conn, { op = "evaluate", worker = 1, name = "127.0.0.2:0",
      code = "require('luv').os_getpid()" })
    assert.equal(tostring(c:workers("127.0.0.2:0")[1].pid), answer.result.values[1])
    conn:close()
    assert.equal(200, (client.get(c:address(), "/")))
    c:stop()
  end)

  it("is what clua.control.remote does for clua repl", function()
    local c = up { cnum = 1, repl = true }
    cluster.write(c.dir .. "/remote.lua", [[
      local remote = require("clua.control.remote").open { worker = 1 }
      local answer = remote:evaluate "counter"
      print(answer.values[1], (remote:evaluate("for i = 1, 2 do")).incomplete)
      print(unpack(remote:complete "count"))
      local lies = "{ 'count\\27[31m', 7, 'other', 'count_2', {} }"
      remote:evaluate("require('clua.evaluate').words = function() return { words = " .. lies .. " } end")
      print(unpack(remote:complete "count"))
      local evaluator = remote:evaluator()
      local texts = { "print 'hi' return 1, 'two'", "do error 'no' end", "for", "local x" }
      local function go_on()
        local text = table.remove(texts, 1)
        if not text then return remote:close() end
        evaluator(text, function(result)
          print(result.incomplete, result.text, result.error and result.error:match "^[^\n]*")
          go_on()
        end)
      end
      go_on()
    ]])
    local out, err, code = control.run(c, c.dir .. "/remote.lua")
    local expected = '41\ttrue\ncounter\ncount_2\n' ..
      'nil\thi\n1\n"two"\tnil\nnil\tnil\trepl:1: no\ntrue\tnil\tnil\nnil\t\tnil\n'
    assert.same({ expected, "", 0 }, { out, err, code })
    assert.truthy(uv.fs_unlink(c.dir .. "/remote.lua"))
    c:stop()
  end)
end)
