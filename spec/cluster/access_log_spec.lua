-- The access log: a line for every request, whatever became of it, and none lost when its file is renamed.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local json = require "cjson"
local load = require "spec.support.load"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local uv = require "luv"

local EXIT_USAGE, EXIT_SYSTEM = 100, 111
local COMBINED = '^127%.0%.0%.1 %- %- %[%d%d/%a%a%a/%d%d%d%d:%d%d:%d%d:%d%d [+-]%d%d%d%d%] "([^"]*)" (%d+) (%d+) '
  .. '"([^"]*)" "([^"]*)"$'
local REOPEN = 35 -- SIGRTMIN+1

local function lines(path)
  local list = {}
  local text = proc.read(path) or ""
  for line in text:gmatch("([^\n]*)\n") do list[#list + 1] = line end
  assert(text == "" or text:sub(-1) == "\n", "half a line at the end of " .. path)
  return list
end

-- A line is written at the end of the turn in which its request ends: a moment after the client has the answer.
local function wait_lines(c, count, name)
  local list
  c:wait(function()
    list = lines(c.dir .. "/" .. (name or "access.log"))
    return #list >= count
  end, count .. " lines")
  assert.equal(count, #list, table.concat(list, "\n"))
  return list
end

local function start(options)
  options.options = options.options or {}
  options.options.access_log = options.options.access_log or "access.log"
  return cluster.up(options)
end

local function raw(c, bytes)
  local conn = assert(client.connect(c:address()))
  conn:send(bytes)
  local answer = conn:read_all()
  conn:close()
  return answer
end

describe("the access log", function()
  after_each(cluster.cleanup)

  it("has a line for each request, in the Combined format", function()
    local c = start { app = "http_methods", options = { cnum = 1 } }
    local conn = assert(client.connect(c:address()))
    conn:request("GET", "/one?two=3", { Referer = "http://here/", ["User-Agent"] = "spec/1" })
    local _, _, body = conn:request("POST", "/two", nil, "body")
    local list = wait_lines(c, 2)
    assert.same({ "GET /one?two=3 HTTP/1.1", "200", "http://here/", "spec/1" },
      { list[1]:match(COMBINED), select(2, list[1]:match(COMBINED)), select(4, list[1]:match(COMBINED)) })
    local request, status, bytes, referer, agent = list[2]:match(COMBINED)
    assert.same({ "POST /two HTTP/1.1", "200", tostring(#body), "-", "-" }, { request, status, bytes, referer, agent })
    conn:close()
    c:stop()
  end)

  it("has pipelined requests in their order, those of HTTP/1.0, and those that reached no handler", function()
    local c = start { app = "hello", options = { cnum = 1 } }
    raw(c, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.0\r\n\r\n")
    raw(c, "GET /no-host HTTP/1.1\r\n\r\n")
    raw(c, "nonsense\r\n\r\n")
    raw(c, "GET /" .. ("x"):rep(9000) .. " HTTP/1.1\r\nHost: a\r\n\r\n")
    raw(c, "GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n")
    raw(c, "POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n")
    local list = wait_lines(c, 8)
    local seen = {}
    for i, line in ipairs(list) do
      local request, status = line:match(COMBINED)
      seen[i] = ("%s %s"):format(status, request and request:sub(1, 24))
    end
    assert.same({ "200 GET /1 HTTP/1.1", "200 GET /2 HTTP/1.1", "200 GET /3 HTTP/1.0", "400 GET /no-host HTTP/1.1",
      "501 nonsense", "414 GET /xxxxxxxxxxxxxxxxxxx", "400 GET / HTTP/1.1", "413 POST /big HTTP/1.1" }, seen)
    -- Nobody has asked for anything.
    client.connect(c:address()):close()
    raw(c, "GET /4 HTTP/1.0\r\n\r\n")
    wait_lines(c, 9)
    c:stop()
  end)

  it("cannot be made to say something that did not happen", function()
    local c = start { app = "hello", options = { cnum = 1 } }
    raw(c, 'GET /"\\x22 HTTP/1.0\r\nUser-Agent: a" "b\\\255\r\nReferer: \t\228\r\n\r\n')
    raw(c, "GET / HTTP/1.0\n127.0.0.1 - - [forged]\r\n\r\n")
    raw(c, 'x"\0\27[31m\r\r\n\r\n')
    local list = wait_lines(c, 3)
    assert.equal('GET /\\x22\\x5Cx22 HTTP/1.0', (list[1]:match(COMBINED)))
    assert.equal('a\\x22 \\x22b\\x5C\\xFF', (select(5, list[1]:match(COMBINED))))
    for _, line in ipairs(list) do
      assert.is_nil(line:find("[^ -~]"))
      assert.truthy(line:match(COMBINED), line)
    end
    c:stop()
  end)

  it("tells of clients that went away, and of answers that were cut short", function()
    local c = start { app = "slow", options = { cnum = 1, access_log = { path = "access.log",
      format = "$request_method $request_uri $status [$request_completion]" } } }
    local conn = assert(client.connect(c:address()))
    conn:send(client.format("GET", "/sleep/10000"))
    c:wait_log("sleep begins")
    conn:reset()
    wait_lines(c, 1)
    assert.equal(200, (client.get(c:address(), "/")))
    assert.same({ "GET /sleep/10000 499 [-]", "GET / 200 [OK]" }, wait_lines(c, 2))
    conn = assert(client.connect(c:address()))
    conn:send(client.format("GET", "/part"))
    assert(conn:read_until("a part"))
    conn:reset()
    assert.equal("GET /part 200 [-]", wait_lines(c, 3)[3])
    c:stop()
  end)

  it("has the Common and the JSON format, and any of one's own", function()
    local registrations = {}
    for name, log in pairs { common = { format = "common" }, json = { format = "json" }, ["own"] = {
      format = "$server_port|$remote_addr|${remote_port}|$request_time|$msec|$name|$worker_id|$pid|$http_x_it"
        .. "|$sent_http_x_it|$host|$$|$http_none" } } do
      log.path = name .. ".log"
      registrations[#registrations + 1] = ("master:register(%q, 'app.lua', %s)"):format("./" .. name .. ".sock",
        cluster.source { cnum = 1, access_log = log })
    end
    local c = cluster.up { files = { ["app.lua"] = [[
      local http = require "clua.http"
      local server = http.createServer(function(_, res) res:setHeader("X-It", "sent") res:finish("four") end)
      require("clua").ready(function(socket) server:emit("connection", socket) end)
    ]] }, dispatch = 'local master = require("clua").Master()\n' .. table.concat(registrations, "\n")
      .. "\nmaster:dispatch()" }
    for _, name in ipairs { "common", "json", "own" } do
      assert.equal(200, (client.get(c.dir .. "/" .. name .. ".sock", "/x", { ["X-It"] = "got \"it\"" })))
    end
    local line = wait_lines(c, 1, "common.log")[1]
    assert.truthy(line:match('^unix: %- %- %[[^]]+%] "GET /x HTTP/1.1" 200 4$'), line)

    local entry = json.decode(wait_lines(c, 1, "json.log")[1])
    assert.same({ "unix:", "GET", "/x", "HTTP/1.1", 200, 4, "spec", "", 1 }, { entry.remote_addr, entry.method,
      entry.uri, entry.protocol, entry.status, entry.body_bytes_sent, entry.host, entry.referer, entry.worker })
    assert.is_true(entry.request_time >= 0 and entry.request_time < 20)
    assert.truthy(entry.time:find("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$"), entry.time)
    local pids = {}
    for _, member in ipairs(c:workers()) do pids[member.pid] = true end
    assert.is_true(pids[entry.pid])

    local own = wait_lines(c, 1, "own.log")[1]
    local fields = {}
    for field in (own .. "|"):gmatch("([^|]*)|") do fields[#fields + 1] = field end
    assert.same({ "-", "unix:", "-" }, { fields[1], fields[2], fields[3] })
    assert.truthy(fields[4]:find("^%d+%.%d%d%d%d%d%d$") and fields[5]:find("^%d+%.%d%d%d$"), own)
    assert.truthy(fields[6]:find("own.sock$"))
    assert.truthy(proc.alive(tonumber(fields[8])))
    assert.same({ "1", 'got \\x22it\\x22', "sent", "spec", "$", "-" },
      { fields[7], fields[9], fields[10], fields[11], fields[12], fields[13] })
    c:stop()
  end)

  it("that cannot be had, or whose format is none, ends the start with the line that is wrong", function()
    local function ends(access_log, status, want)
      local c = cluster.start { app = "hello", options = { access_log = access_log }, files = { file = "" } }
      assert.equal(status, (c:wait_exit()), c:text())
      assert.truthy(c:find(want), c:text())
      assert.equal(1, #c.lines, c:text())
    end
    ends("file/access.log", EXIT_SYSTEM, "cannot open the access log /.*/file/access.log: not a directory")
    ends({ path = "a", format = "combind" }, EXIT_USAGE, "dispatch.lua:2: .*got 'combind', did you mean 'combined'")
    ends({ path = "a", format = "$statu" }, EXIT_USAGE,
      "dispatch.lua:2: .*no variable '$statu', did you mean '$status'")
    ends({ path = "a", escape = "xml" }, EXIT_USAGE, "dispatch.lua:2: .*escape must be default or json, got 'xml'")
    ends({ format = "json" }, EXIT_USAGE, "dispatch.lua:2: .*access_log needs a path")
    ends({ path = "a", formt = "json" }, EXIT_USAGE, "dispatch.lua:2: .*unknown option 'formt', did you mean 'format'")
  end)

  it("is written once for all requests of a turn", function()
    local c = start { app = "hello", options = { cnum = 1 } }
    local conn = assert(client.connect(c:address()))
    assert.equal(200, (conn:request("GET", "/")))
    local function writes()
      return tonumber(proc.read(("/proc/%d/io"):format(c:workers()[1].pid)):match("syscw: (%d+)"))
    end
    local before, count = writes(), 100
    conn:send(client.format("GET", "/"):rep(count))
    for _ = 1, count do assert.equal(200, (conn:response("GET"))) end
    wait_lines(c, count + 1)
    -- The answers, the lines, and what else a worker may have to say.
    assert.is_true(writes() - before < count / 4, writes() - before)
    conn:close()
    c:stop()
  end)

  it("has what was answered in the turn in which a script ends the process", function()
    local c = start { files = { ["app.lua"] = [[
      local http = require "clua.http"
      local server = http.createServer(function(req, res)
        if req.url == "/exit" then os.exit(7) end
        res:finish("answered")
      end)
      require("clua").ready(function(socket) server:emit("connection", socket) end)
    ]] }, app = "app.lua", master = { restart_delay = 0.01 }, options = { cnum = 1, linger = 60 } }
    local one, two = assert(client.connect(c:address())), assert(client.connect(c:address()))
    for _, conn in ipairs { one, two } do assert.equal(200, (conn:request("GET", "/before"))) end
    local pid = c:workers()[1].pid
    assert(uv.kill(pid, "sigstop"))
    one:send(client.format("GET", "/last"))
    two:send(client.format("GET", "/exit"))
    loop.wait(function() return one.written and two.written end, 10)
    assert(uv.kill(pid, "sigcont"))
    c:wait_log("exited, pid " .. pid .. ", status 7")
    -- By this worker, or by the next one, if this one has ended before it looked at the request.
    wait_lines(c, one:response("GET") == 200 and 3 or 2)
    for _, conn in ipairs { one, two } do conn:close() end
    c:stop()
  end)

  it("is not lost when workers end: by a reload, a stop, or an error", function()
    local c = start { app = "hello", options = { cnum = 2 } }
    local clients = load.start(c:address(), { clients = 10, think = 0.005 })
    clients:wait(100)
    for _ = 1, 2 do
      local mark = c:mark()
      c:signal("sigusr1")
      c:wait_log("reload of .* done", mark)
      clients:wait(50)
    end
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    c:stop()
    assert.equal(clients.ok, #lines(c.dir .. "/access.log"))
  end)

  it("loses no line, and tears none, when its file is renamed under load", function()
    local c = start { app = "hello", options = { cnum = 2, linger = 0.02 } }
    local fds = c:fds()
    local clients = load.start(c:address(), { clients = 20, think = 0.005 })
    local once = load.start(c:address(), { clients = 4, think = 0.005, once = true })
    clients:wait(50)
    local files = 10
    for i = 1, files do
      assert(uv.fs_rename(c.dir .. "/access.log", ("%s/access.log.%d"):format(c.dir, i)))
      assert(uv.kill(c.pid, i % 3 == 0 and "sigusr1" or REOPEN))
      c:wait_log("log files opened anew", nil, i)
      -- The workers write to the new file once they have been told.
      c:wait(function() return #lines(c.dir .. "/access.log") > 0 end, "lines in the new file")
      clients:wait(20)
    end
    clients:stop()
    once:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    assert.equal(0, #once.incidents, tostring(once))
    local sent, found, broken = clients.ok + once.ok, 0, {}
    c:wait(function()
      found = 0
      for i = 0, files do
        for _, line in ipairs(lines(c.dir .. (i == 0 and "/access.log" or "/access.log." .. i))) do
          found = found + 1
          if not line:match(COMBINED) then broken[#broken + 1] = line end
        end
      end
      return found >= sent
    end, function() return ("%d lines for %d requests"):format(found, sent) end)
    assert.equal(sent, found)
    assert.same({}, broken)
    -- A worker lets go of the old file.
    c:wait(function()
      for _, member in ipairs(c:workers()) do
        for _, target in pairs(proc.fds(member.pid)) do
          if target:find("access.log.", 1, true) then return false end
        end
      end
      return true
    end, "the old files to be closed")
    c:wait(function() return c:fds() == fds end, "the master's descriptors")
    c:stop()
  end)

  it("comes through an upgrade, and follows its new path and format", function()
    local c = start { app = "hello", options = { cnum = 2 } }
    local clients = load.start(c:address(), { clients = 5, think = 0.005 })
    clients:wait(50)
    local mark = c:mark()
    c:signal("sigusr2")
    c:wait_log("upgraded, generation 1", mark)
    clients:wait(50)
    clients:stop()
    wait_lines(c, clients.ok)
    assert.equal(0, c:count("reload of"))
    local text = proc.read(c.dir .. "/dispatch.lua")
    cluster.write(c.dir .. "/dispatch.lua", (text:gsub('"access%.log"', '{ path = "new.log", format = "$status" }')))
    c:signal("sigusr2")
    c:wait_log("reload of .* done", mark)
    assert.equal(200, (client.get(c:address(), "/")))
    assert.same({ "200" }, wait_lines(c, 1, "new.log"))
    assert.equal(clients.ok, #lines(c.dir .. "/access.log"))
    c:stop()
  end)

  it("is written by workers without rights to a file that is the master's", function()
    if uv.getuid() ~= 0 then return pending("needs root") end
    local c = start { app = "hello", copied = true, options = { cnum = 1, user = "nobody" } }
    assert.equal(200, (client.get(c:address(), "/")))
    wait_lines(c, 1)
    assert(uv.fs_rename(c.dir .. "/access.log", c.dir .. "/access.log.1"))
    assert(uv.kill(c.pid, REOPEN))
    c:wait_log("log files opened anew")
    c:wait(function()
      assert.equal(200, (client.get(c:address(), "/")))
      return #lines(c.dir .. "/access.log") > 0
    end, "a line in the new file")
    assert.equal(0, uv.fs_stat(c.dir .. "/access.log").uid)
    c:stop()
  end)

  it("on a full disk, or that nobody reads, holds up no request; what is lost is told", function()
    local c = start { app = "hello", options = { cnum = 1, access_log = "/dev/full" } }
    for _ = 1, 20 do assert.equal(200, (client.get(c:address(), "/"))) end
    c:wait_log("worker 1 of .* error: cannot write to the access log: no space left on device: %d+ lines are lost")
    assert.equal(1, c:count("cannot write to the access log"))
    c:stop()

    local dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX"))
    local path = dir .. "/fifo"
    assert.equal(0, os.execute("mkfifo " .. path))
    local reader = assert(uv.fs_open(path, uv.constants.O_RDONLY + uv.constants.O_NONBLOCK, 0))
    c = start { app = "hello", options = { cnum = 1, access_log = path } }
    local conn = assert(client.connect(c:address()))
    local count = 2000 -- more than the pipe holds
    for _ = 1, count do assert.equal(200, (conn:request("GET", "/" .. ("x"):rep(60)))) end
    conn:close()
    local text = ""
    loop.wait(function()
      text = text .. (uv.fs_read(reader, 65536) or "")
      return select(2, text:gsub("\n", "")) >= count
    end, 20, function() return select(2, text:gsub("\n", "")) .. " lines" end)
    uv.fs_close(reader)
    uv.fs_unlink(path)
    uv.fs_rmdir(dir)
    c:stop()
  end)
end)
