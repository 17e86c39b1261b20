-- What a worker was executing when it died: told by the log; and refused, when that is wanted and it goes on killing.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local loop = require "spec.support.loop"
local uv = require "luv"

local QUIET = { max_fatal_restart = 1000, restart_delay = 0.01, restart_delay_max = 0.05 }

local function up(options, master)
  return cluster.up { app = "kills_worker", options = options, master = master or QUIET, events = { "quarantine" } }
end

-- The line that tells of a death, for the worker of this pid or for the next one.
local function death(c, mark, pid)
  return c:wait_log(("(worker %%d+ of .* exited, pid %s, .*)$"):format(pid or "%d+"), mark)
end

-- A request on a connection of its own that is in execution when this returns.
local function sleeping(c, path)
  local mark = c:mark()
  local conn = assert(client.connect(c:address())):send(client.format("GET", path))
  c:wait_log("sleep begins", mark)
  return conn
end

local function ask(c, path)
  local conn = assert(client.connect(c:address()))
  local status, headers, body = conn:request("GET", path)
  conn:close()
  return status, headers, body
end

describe("the death of a worker is told", function()
  after_each(cluster.cleanup)

  it("with its signal, its age, its number of requests, and the request that it was executing", function()
    local c = up { cnum = 1 }
    for _ = 1, 3 do assert.equal(200, (ask(c, "/"))) end
    local mark = c:mark()
    assert.equal(502, (ask(c, "/die/1?x=y")))
    local signal = cluster.is_sanitized and "SIGABRT" or "SIGSEGV" -- a sanitizer reports it, then aborts
    local told = "killed by " .. signal .. ' %(age %d+%.%d s, 4 requests%), executing "GET /die/1%?x=y"$'
    assert.truthy(death(c, mark):find(told))
  end)

  it("without any, when it was executing none", function()
    local c = up { cnum = 1 }
    assert.equal(200, (ask(c, "/")))
    local mark = c:mark()
    assert(uv.kill(c:workers()[1].pid, "sigkill"))
    assert.truthy(death(c, mark):find("requests%)$"))
  end)

  it("with the one whose code ran first, and the others, some by number", function()
    local c = up { cnum = 1 }
    local conns = {}
    for i = 1, 6 do conns[i] = sleeping(c, "/sleep/" .. i) end
    local mark = c:mark()
    assert.equal(502, (ask(c, "/later/this")))
    local line = death(c, mark)
    local other = ', "GET /sleep/%d"'
    assert.truthy(line:find('executing "GET /later/this"' .. other:rep(3) .. " and 3 more$"), line)
    for _, conn in ipairs(conns) do conn:close() end
  end)

  it("with those that wait when it was killed from outside", function()
    local c = up { cnum = 1 }
    local conns = { sleeping(c, "/sleep/1"), sleeping(c, "/sleep/2") }
    assert.equal(200, (ask(c, "/"))) -- over: not told
    local mark = c:mark()
    assert(uv.kill(c:workers()[1].pid, "sigkill"))
    local line = death(c, mark)
    assert.truthy(line:find('executing "GET /sleep/%d", "GET /sleep/%d"$'), line)
    for _, conn in ipairs(conns) do conn:close() end
  end)

  it("with a request that was answered already, when its code ran on", function()
    local c = up { cnum = 1 }
    local mark = c:mark()
    assert.equal(200, (ask(c, "/answered/1")))
    assert.truthy(death(c, mark):find('executing "GET /answered/1"$'))
  end)

  it("with an endless loop that was killed after hang_timeout", function()
    local c = up { cnum = 1, hang_timeout = 1 }
    local mark = c:mark()
    assert.equal(502, (ask(c, "/loop/1")))
    assert.truthy(death(c, mark):find('killed by SIGKILL .*executing "GET /loop/1"$'))
  end)

  it("with the beginning of a long line, and bytes that are none of a log as numbers", function()
    local c = up { cnum = 1 }
    local mark = c:mark()
    assert.equal(502, (ask(c, "/die/" .. ("x"):rep(3000))))
    local line = death(c, mark)
    assert.truthy(line:find('executing "GET /die/x+%.%.%."$'), line)
    assert.is_true(#line < 500)
    mark = c:mark()
    assert.equal(502, (ask(c, '/die/"\\quoted')))
    assert.truthy(death(c, mark):find('executing "GET /die/\\x22\\x5cquoted"$'))
  end)

  it("with the newest requests, when there are more than it can note", function()
    local c = up { cnum = 1 }
    local conns = {}
    for i = 1, 100 do conns[i] = assert(client.connect(c:address())):send(client.format("GET", "/sleep/" .. i)) end
    c:wait_log("sleep begins", nil, 100)
    local mark = c:mark()
    assert.equal(502, (ask(c, "/die/last")))
    local line = death(c, mark)
    assert.truthy(line:find('executing "GET /die/last", .* and 60 more$'), line)
    for _, conn in ipairs(conns) do conn:close() end
  end)
end)

describe("quarantine", function()
  after_each(cluster.cleanup)

  local LOST = "HTTP/1.1 500 Lost\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsorry\n"

  local function killed(c, path)
    local mark = c:mark()
    local status = ask(c, path)
    death(c, mark)
    c:wait_workers(#c:workers())
    return status
  end

  it("answers a line at once with the `lost` reply after three deaths, and no other line", function()
    local c = up { cnum = 2, quarantine = 600, lost = LOST }
    local innocent = sleeping(c, "/sleep/1") -- one that dies with them, and is not to blame
    for _ = 1, 3 do
      assert.equal(500, killed(c, "/later/x"))
      innocent:close()
      innocent = sleeping(c, "/sleep/1")
    end
    c:wait_log('quarantine: "GET /later/x" has killed workers of .*: refused for 600 s')
    assert.equal("GET /later/x", c:wait_log("^event quarantine %S+ (.*) 600$"))
    local pids = c:wait_workers(2)
    for _ = 1, 20 do
      local conn = assert(client.connect(c:address())):send(client.format("GET", "/later/x"))
      assert.equal(LOST, (conn:read_all()))
      conn:close()
    end
    assert.same(pids, c:wait_workers(2))
    assert.equal(500, killed(c, "/later/y")) -- another line: it still kills
    assert.equal(1, c:count("^event quarantine"))
    assert.equal(200, (ask(c, "/")))
    innocent:close()
  end)

  it("holds in workers that start later, after a reload and after an upgrade", function()
    local c = up { cnum = 1, quarantine = 600 }
    for _ = 1, 3 do killed(c, "/exit/0") end
    c:wait_log("^event quarantine")
    local function assert_refused()
      for _ = 1, 3 do assert.equal(502, (ask(c, "/exit/0"))) end
    end
    assert_refused()
    c:signal("sigusr1")
    c:wait_log("reload of .* done")
    assert_refused()
    c:signal("sigusr2")
    c:wait_log("upgraded, generation 1")
    assert_refused()
    local mark = c:mark()
    c:signal("sigttin")
    c:wait_log("worker 2 of .* ready", mark)
    assert(uv.kill(c:workers()[1].pid, "sigterm"))
    c:wait_log("exited, pid %d+, status 0", mark)
    assert_refused()
    assert.equal(0, c:count("exited, .*executing", mark))
  end)

  it("refuses in the middle of a pipeline: what stands before is answered, what stands behind is not", function()
    local c = up { cnum = 1, quarantine = 600, lost = LOST }
    for _ = 1, 3 do killed(c, "/die/1") end
    c:wait_log("^event quarantine")
    local conn = assert(client.connect(c:address()))
    conn:send(client.format("GET", "/") .. client.format("GET", "/die/1") .. client.format("GET", "/"))
    assert.equal(200, (conn:response("GET")))
    assert.same({ LOST, "eof" }, { conn:read_all() })
    conn:close()
  end)

  it("ends after its time", function()
    local c = up { cnum = 1, quarantine = 0.5 }
    for _ = 1, 3 do killed(c, "/die/1") end
    c:wait_log("^event quarantine")
    local deaths = c:count("exited")
    -- Refused or not, the client gets 502: what tells is the worker.
    loop.wait(function()
      ask(c, "/die/1")
      return c:count("exited") > deaths
    end, 20, c:explain("the line to be tried again"))
  end)

  it("is off by default", function()
    local c = up { cnum = 1 }
    for _ = 1, 5 do assert.equal(502, killed(c, "/die/1")) end
    assert.equal(0, c:count("quarantine"))
  end)

  it("does not count workers that are killed from outside while they execute several requests", function()
    local c = up { cnum = 1, quarantine = 600 }
    for _ = 1, 4 do
      local conns = { sleeping(c, "/sleep/1"), sleeping(c, "/sleep/2") }
      assert.equal(200, (ask(c, "/"))) -- by then nobody's code runs
      local mark = c:mark()
      assert(uv.kill(c:workers()[1].pid, "sigkill"))
      death(c, mark)
      c:wait_workers(1)
      for _, conn in ipairs(conns) do conn:close() end
    end
    assert.equal(0, c:count("quarantine"))
  end)
end)
