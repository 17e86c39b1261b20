-- The documented examples, driven as a user would: the scripts of scripts/demo, over real sockets.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local demo = require "spec.support.demo"
local json = require "cjson"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local uv = require "luv"

local start = demo.start

-- Of many requests on connections of their own, until `enough` has been seen.
local function pids_of(port, enough)
  local seen, count = {}, 0
  loop.wait(function()
    local _, _, body = client.get(port, "/")
    local pid = tonumber(body:match("process (%d+)"))
    if not seen[pid] then count = count + 1 end
    seen[pid] = true
    return count >= enough
  end, 20, enough .. " workers to answer")
  return seen
end

describe("scripts/demo/main.lua", function()
  local PORTS = { 33749, 8080, 33750, 33751 }
  local c, http, echo, first, second

  local function up(command)
    local offset
    c, offset = start("main.lua", PORTS, command)
    http, echo, first, second = PORTS[1] + offset, PORTS[2] + offset, PORTS[3] + offset, PORTS[4] + offset
  end

  after_each(cluster.cleanup)

  it("prints commands that can be copied", function()
    up()
    local text = table.concat(c.out, "\n")
    for _, port in ipairs { http, first, second } do
      assert.truthy(text:find("curl[^\n]* http://localhost:" .. port .. "/"), text)
    end
    assert.truthy(text:find("nc localhost " .. echo, 1, true), text)
    assert.truthy(text:find("kill -USR1 " .. c.pid, 1, true), text)
  end)

  it("ends on Ctrl-C, which reaches every process of the group, with status 0", function()
    -- A group of its own, as an interactive shell makes one; the spec must not be in it.
    up 'exec setsid "$0" "$@"'
    assert(uv.kill(-c.pid, "sigint"))
    assert.same({ 0, 0 }, { c:wait_exit() })
    assert.same({}, c:left())
  end)

  describe("worker/http.lua", function()
    it("answers JSON with method, url and post", function()
      up()
      local conn = client.connect(http)
      local bodies = { "", "a=1&b=2", 'quotes " and \\ and\nlines', "ünïcödé", ("x"):rep(200000) }
      for i, post in ipairs(bodies) do
        local status, headers, body = conn:request("POST", "/path/" .. i .. "?q=" .. i, nil, post)
        assert.equal(200, status)
        assert.equal("application/json", headers["content-type"])
        assert.same({ method = "POST", url = "/path/" .. i .. "?q=" .. i, post = post }, json.decode(body))
      end
      local _, _, body = conn:request("GET", "/")
      assert.same({ method = "GET", url = "/", post = "" }, json.decode(body))
      conn:close()
    end)

    it("takes a chunked body", function()
      up()
      local conn = client.connect(http)
      conn:send("PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
      conn:send("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
      local _, _, body = conn:response()
      assert.same({ method = "PUT", url = "/c", post = "hello world" }, json.decode(body))
      conn:close()
    end)
  end)

  describe("worker/echo.lua", function()
    local function talk()
      local conn = assert(client.connect(echo))
      local greeting = assert(conn:read_until("\r\n"))
      return conn, greeting
    end

    it("greets with the date", function()
      up()
      local conn, greeting = talk()
      assert.truthy(greeting:find(os.date("%Y"), 1, true), greeting)
      assert.truthy(greeting:find("%d%d:%d%d:%d%d"), greeting)
      conn:close()
    end)

    it("echoes each line after 100 ms, however it is cut and ended", function()
      up()
      local conn = talk()
      local sent = loop.now()
      conn:send("hello\n")
      assert.equal("hello\r\n", conn:read_until("\r\n"))
      assert.is_true(loop.now() - sent >= 0.099, "too early")
      -- The echo of the first line shows that the piece behind it has been read and kept.
      conn:send("whole\npart of a l")
      assert.equal("whole\r\n", conn:read_until("\r\n"))
      conn:send("ine\r\nsecond\nthird\n\nfi")
      assert.equal("part of a line\r\nsecond\r\nthird\r\n\r\n", conn:read_until("third\r\n\r\n"))
      conn:send("fth\n")
      assert.equal("fifth\r\n", conn:read_until("\r\n"))
      conn:close()
    end)

    it("answers many clients at the same time, not one after another", function()
      up()
      local began = loop.now()
      loop.all(50, function(i)
        local conn = talk()
        conn:send("line " .. i .. "\n")
        assert(conn:read_until("\r\n") == "line " .. i .. "\r\n")
        conn:close()
      end)
      assert.is_true(loop.now() - began < 50 * 0.1, "took as long as one after another")
    end)

    it("echoes to a client that has shut down its side", function()
      up()
      local conn = talk()
      conn:send("one\ntwo\n")
      conn:shutdown()
      assert.same({ "one\r\ntwo\r\n", "eof" }, { conn:read_all() })
      conn:close()
    end)

    it("says Good Bye and closes", function()
      up()
      local conn = talk()
      conn:send("first\nbye\nignored\n")
      local text, reason = conn:read_all()
      assert.equal("first\r\nGood Bye\r\n", text)
      assert.equal("eof", reason)
      conn:close()
    end)

    it("has done with a client that has said bye: nothing delays the end of its worker", function()
      up()
      local conn = talk()
      conn:send("bye\n")
      conn:read_all()
      conn:close()
      c:signal("sigterm")
      assert.equal(0, (c:wait_exit(3)))
    end)

    it("answers what it has read before it ends, and does not wait for what may come", function()
      up()
      local busy, idle = talk(), talk()
      busy:send("one\ntwo\nthree\n")
      assert.equal("one\r\n", busy:read_until("\r\n"))
      c:signal("sigterm")
      assert.equal("two\r\nthree\r\n", (busy:read_all()))
      assert.equal("", (idle:read_all()))
      busy:close()
      idle:close()
      assert.equal(0, (c:wait_exit(5)))
    end)

    it("is ended by `fatal` with 127, and the cluster lives on", function()
      up()
      local before = #c:workers()
      local conn = talk()
      local bystander = client.connect(http)
      assert.equal(200, (bystander:request("GET", "/")))
      local mark = c:mark()
      conn:send("fatal\n")
      assert.equal("", (conn:read_all()))
      c:wait_log("exited, pid %d+.*127", mark)
      c:wait_workers(before)
      local again = talk()
      again:send("still there?\n")
      assert.equal("still there?\r\n", again:read_until("\r\n"))
      assert.equal(200, (bystander:request("GET", "/")))
      for _, one in ipairs { conn, bystander, again } do one:close() end
    end)

    it("runs without the rights of root", function()
      if uv.getuid() ~= 0 then return pending("needs root") end
      up()
      local nobody = tonumber(io.popen("id -u nobody"):read("*l"))
      local checked = 0
      for _, member in ipairs(c:workers()) do
        if member.name:find(echo, 1, true) then
          assert.equal(("%d\t%d\t%d\t%d"):format(nobody, nobody, nobody, nobody), proc.status(member.pid).Uid)
          checked = checked + 1
        end
      end
      assert.equal(2, checked)
    end)
  end)

  describe("worker/multi_port_http.lua", function()
    it("knows the port that the client came to", function()
      up()
      for _, port in ipairs { first, second } do
        local status, _, body = client.get(port, "/x?y")
        assert.equal(200, status)
        assert.truthy(body:find("^GET /x%?y on port " .. port .. ", by process %d+\n$"), body)
      end
    end)

    it("is one pool on both ports", function()
      up()
      assert.same(pids_of(first, 2), pids_of(second, 2))
    end)
  end)

  it("serves on after a reload, with a kept connection that stays open", function()
    up()
    local conn = client.connect(first)
    local _, _, before = conn:request("GET", "/")
    local mark = c:mark()
    c:signal("sigusr1")
    c:wait_log(("reload of %d,%d done"):format(first, second), mark)
    local status, _, after = conn:request("GET", "/")
    assert.equal(200, status)
    assert.not_equal(before:match("process %d+"), after:match("process %d+"))
    conn:close()
  end)
end)

describe("scripts/demo/connect", function()
  local c, port

  local function up()
    local offset
    c, offset = start("connect/dispatch.lua", { 19841 })
    port = 19841 + offset
  end

  after_each(cluster.cleanup)

  it("prints commands that can be copied", function()
    up()
    assert.truthy(table.concat(c.out, "\n"):find("curl http://localhost:" .. port .. "/", 1, true))
  end)

  it("shows index.html, and knows when the client has it", function()
    up()
    local conn = client.connect(port)
    local status, headers, body = conn:request("GET", "/")
    assert.equal(200, status)
    assert.truthy(body:find("Hello connect", 1, true))
    assert.equal("text/html; charset=utf-8", headers["content-type"])
    assert.equal(200, (conn:request("GET", "/index.html")))

    local head_status, head_headers = conn:request("HEAD", "/")
    assert.equal(200, head_status)
    assert.equal(headers["content-length"], head_headers["content-length"])
    assert.equal(304, (conn:request("GET", "/", { ["If-None-Match"] = headers.etag })))
    assert.equal(304, (conn:request("GET", "/", { ["If-Modified-Since"] = headers["last-modified"] })))
    assert.equal(200, (conn:request("GET", "/", { ["If-None-Match"] = '"old"' })))
    conn:close()
  end)

  it("answers url and pid for what is no file", function()
    up()
    local workers = {}
    for _, member in ipairs(c:workers()) do workers[member.pid] = true end
    local conn = client.connect(port)
    for _, url in ipairs { "/any/path?x=1", "/missing.html" } do
      local status, _, body = conn:request("GET", url)
      assert.equal(200, status)
      local shown, pid = body:match("^url: (.-)\npid: (%d+)\n$")
      assert.equal(url, shown)
      assert.is_true(workers[tonumber(pid)])
    end
    conn:close()
  end)

  it("shows no file from outside of its directory", function()
    up()
    local conn = client.connect(port)
    for _, url in ipairs { "/../main.lua", "/%2e%2e/main.lua", "/..%2fmain.lua", "/..%5cmain.lua", "//../main.lua" } do
      local status, _, body = conn:request("GET", url)
      assert.equal(200, status)
      assert.equal("url: " .. url, body:match("^[^\n]*"))
    end
    conn:close()
  end)
end)
