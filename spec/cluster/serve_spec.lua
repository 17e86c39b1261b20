-- `clua serve`, and watch mode on real edits.

local uv = require "luv"
local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"
local load = require "spec.support.load"
local loop = require "spec.support.loop"

local DEADLINE_S = 20

local APP = [[
local model = require "model"
return function(req, res)
  res:setHeader("Content-Type", "text/html")
  res:finish("<p>" .. model.value .. "</p>")
end
]]

local function model(value)
  return ("return { value = %q }\n"):format(value)
end

-- clua serve ARGS in a directory of its own with these files.
local function serve(files, ...)
  local words = { ... }
  for i, word in ipairs(words) do words[i] = "'" .. word .. "'" end
  return cluster.start {
    files = files, shell = ('exec "$0" serve %s'):format(table.concat(words, " ")),
  }
end

local function serve_app(files, ...)
  local c = serve(files, "app.lua", "-p", "127.0.0.1:0", "-w", "2", ...)
  c:wait_log "all workers ready"
  return c
end

local function body(c, path, headers)
  return (select(3, client.get(c:address(), path or "/", headers)))
end

-- Every worker answers so.
local function wait_body(c, pattern)
  c:wait(function()
    for _ = 1, 4 do
      if not (body(c) or ""):find(pattern) then return false end
    end
    return true
  end, "answers like " .. pattern)
end

-- As an editor does that keeps the old file until the new one is whole.
local function replace(path, text)
  cluster.write(path .. ".new~", text)
  assert(uv.fs_rename(path .. ".new~", path))
end

describe("clua serve", function()
  after_each(cluster.cleanup)

  it("makes an app of a file that returns a function, and says where it is", function()
    local c = serve_app({ ["app.lua"] = "return function(req, res) res:finish('hello\\n') end\n" })
    assert.equal("hello\n", body(c))
    c:wait(function() return #c.out >= 3 end, "what it prints")
    assert.equal("app.lua is served by 2 workers on", c.out[1])
    assert.equal("  http://" .. c:address() .. "/", c.out[2])
    c:stop()
  end)

  it("takes an app of clua.connect, and a script that calls ready() itself, with arguments", function()
    local c = serve_app({ ["app.lua"] = "local app = require 'clua.connect'()\n"
      .. "app:get('/x/:id', function(req, res) res:finish(req.params.id) end)\nreturn app\n" })
    assert.equal("seven", body(c, "/x/seven"))
    c:stop()
    local own = [[
      local http = require "clua.http"
      local words = table.concat({ ... }, "-") .. " " .. arg[0]:match("[^/]+$") .. " " .. __dirname
      local server = http.createServer(function(_, res) res:finish(words) end)
      require("clua").ready(function(socket) server:emit("connection", socket) end)
    ]]
    c = serve({ ["app.lua"] = own }, "-p", "127.0.0.1:0", "-w", "1", "app.lua", "one", "two")
    c:wait_log "all workers ready"
    assert.equal("one-two app.lua " .. c.dir, body(c))
    c:stop()
  end)

  it("serves several ports, and a unix socket", function()
    local c = serve({ ["app.lua"] = "return function(req, res) res:finish('hello') end\n" }, "app.lua", "-w", "1",
      "-p", "127.0.0.1:0", "-p", "[::1]:0", "-p", "./x.sock")
    c:wait_log "all workers ready"
    for i = 1, 3 do
      assert.equal("hello", (select(3, client.get(c:address(i), "/"))), c:address(i))
    end
    c:stop()
  end)

  it("serves a directory: index, and a listing on request", function()
    local c = serve({ ["index.html"] = "<p>index</p>", ["a.txt"] = "text" }, ".", "-p", "127.0.0.1:0", "-w", "1")
    c:wait_log "all workers ready"
    assert.equal("<p>index</p>", body(c))
    assert.equal("text", body(c, "/a.txt"))
    assert.equal(404, (client.get(c:address(), "/none")))
    c:stop()
    c = serve({ ["a.txt"] = "text" }, ".", "-p", "127.0.0.1:0", "-w", "1", "--listing")
    c:wait_log "all workers ready"
    assert.truthy(body(c, "/", { Accept = "text/html" }):find('href="./a.txt"', 1, true))
    c:stop()
  end)

  it("refuses what cannot be served, with a word about it", function()
    local dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX"))
    local path = dir .. "/app.lua"
    local function refused(text, ...)
      local out, err, code = command.run(cluster.binary, { "serve", ... })
      assert.same({ "", 100 }, { out, code })
      assert.truthy(err:find(text), err)
    end
    refused("cannot read .*app.lua", path)
    cluster.write(path, "local = 1\n")
    refused("app.lua:1: .-\n +1 |  local = 1\n", path)
    cluster.write(path, "return 1\n")
    refused("listing is for directories", path, "--listing")
    for _, count in ipairs { "many", "1.5", "" } do
      refused(("^clua serve: %%-w: the number of workers must be a whole number, got '%s'"):format(count), path, "-w",
        count)
    end
    refused("^clua serve: %-%-also: cannot watch nosuchdir: ENOENT", dir, "--also", "nosuchdir")
    refused("^clua serve: 'a:b' is no port", dir, "-p", "a:b")
    refused("^clua serve: '99999' is not a port", dir, "-p", "99999")
    refused("^clua serve: %-p localhost: no address, .*: give a port, host:port", dir, "-p", "localhost")
    uv.fs_unlink(path)
    uv.fs_rmdir(dir)
  end)

  it("says what is missing in a file that is no app", function()
    local c = serve({ ["app.lua"] = "return 1\n" }, "app.lua", "-p", "127.0.0.1:0", "-w", "1")
    c:wait_log "app.lua is no app: return a function%(req, res%) at its end, or call cluster.ready%(%)"
  end)

  it("survives an upgrade in place, and goes on watching what the workers had told", function()
    local c = serve_app({ ["app.lua"] = APP, ["model.lua"] = model "one" }, "--watch")
    wait_body(c, "one")
    c:signal "sigusr2"
    c:wait_log "upgraded, generation 1"
    replace(c.dir .. "/model.lua", model "two")
    wait_body(c, "two")
    c:stop()
  end)
end)

describe("watch mode", function()
  after_each(cluster.cleanup)

  it("reloads on edits of script and modules, however they are saved, and loses no request", function()
    local c = serve_app({ ["app.lua"] = APP, ["model.lua"] = model "one" }, "--watch")
    local clients = load.start(c:address(), { clients = 8 })
    for i = 1, 4 do
      local value = "edit " .. i
      if i % 2 == 0 then replace(c.dir .. "/model.lua", model(value)) else
        cluster.write(c.dir .. "/model.lua", model(value))
      end
      wait_body(c, value)
    end
    cluster.write(c.dir .. "/app.lua", (APP:gsub("<p>", "<p>new ")))
    wait_body(c, "new edit 4")
    clients:wait(100)
    clients:stop()
    assert.equal(0, #clients.incidents, tostring(clients))
    c:stop()
  end)

  -- Of several edits the fastest: a neighbour on the machine can hold up all but hardly each of them.
  it("has no old answer 200 ms after the save, from any worker", function()
    local c = serve_app({ ["app.lua"] = APP, ["model.lua"] = model "edit 0" }, "--watch")
    local asked, stopping, tasks = {}, false, {} -- asked: when the last request was sent that was answered so
    for i = 1, 4 do
      tasks[i] = loop.task(function()
        local conn = assert(client.connect(c:address()))
        while not stopping do
          local at = loop.now()
          local status, _, text = conn:request("GET", "/")
          assert(status == 200, tostring(text))
          asked[text] = math.max(asked[text] or 0, at)
          loop.sleep(0.002)
        end
        conn:close()
      end)
    end
    c:wait(function() return asked["<p>edit 0</p>"] end, "the first answer")
    local best, edits = math.huge, 0
    while best >= 0.2 and edits < 30 do
      edits = edits + 1
      local mark = c:mark()
      cluster.write(c.dir .. "/model.lua", model("edit " .. edits))
      local saved = loop.now()
      c:wait_log("reload of %S+ done", mark)
      c:wait(function() return asked[("<p>edit %d</p>"):format(edits)] end, "a new answer")
      best = math.min(best, asked[("<p>edit %d</p>"):format(edits - 1)] - saved)
    end
    stopping = true
    c:wait(function()
      for _, task in ipairs(tasks) do
        if not task.done then return false end
      end
      return true
    end, "the clients to end")
    for _, task in ipairs(tasks) do assert.is_nil(task.error) end
    if not cluster.is_sanitized then assert.is_true(best < 0.2, ("%.0f ms"):format(best * 1000)) end
    c:stop()
  end)

  it("shows a syntax error and goes on with the old code until it is mended", function()
    local c = serve_app({ ["app.lua"] = APP, ["model.lua"] = model "one" }, "--watch")
    local pids = c:workers()
    replace(c.dir .. "/model.lua", "local x = 1\nlocal = 'oops'\n")
    c:wait_log "model.lua changed, but does not compile: the old workers of %S+ go on"
    c:wait_log "model.lua:2: "
    c:wait_log "2 |  local = 'oops'"
    replace(c.dir .. "/app.lua", APP .. "-- another edit\n")
    c:wait_log("app.lua changed, but does not compile")
    assert.same({ pids[1].pid, pids[2].pid }, { c:workers()[1].pid, c:workers()[2].pid })
    assert.equal("<p>one</p>", body(c))
    replace(c.dir .. "/model.lua", model "mended")
    wait_body(c, "mended")
    c:stop()
  end)

  it("goes on with the old code when the new one fails, also when it never becomes ready", function()
    local c = serve_app({ ["app.lua"] = APP, ["model.lua"] = model "one" }, "--watch")
    replace(c.dir .. "/model.lua", "error 'at start'")
    c:wait_log "model.lua:1: at start"
    c:wait_log "reload of %S+ failed"
    assert.equal("<p>one</p>", body(c))
    -- Not to be waited for until its ready_timeout.
    cluster.write(c.dir .. "/model.lua", model "mended")
    replace(c.dir .. "/app.lua", "print 'waits' require('clua.timer').sleep(1000)")
    c:wait_log "out: waits"
    replace(c.dir .. "/app.lua", (APP:gsub("<p>", "<p>new ")))
    wait_body(c, "new mended")
    c:stop()
  end)

  it("goes on with the old code when the new one fails behind its ready()", function()
    local app = [[
      local http = require "clua.http"
      local server = http.createServer(function(_, res) res:finish("<p>%s</p>") end)
      require("clua").ready(function(socket) server:emit("connection", socket) end)
      %s
    ]]
    local c = serve_app({ ["app.lua"] = app:format("one", "") }, "--watch")
    local pids = c:workers()
    replace(c.dir .. "/app.lua", app:format("two", "error 'behind ready'"))
    c:wait_log "app.lua:4: behind ready"
    c:wait_log "reload of %S+ failed"
    assert.same({ pids[1].pid, pids[2].pid }, { c:workers()[1].pid, c:workers()[2].pid })
    assert.equal("<p>one</p>", body(c))
    -- One that waits has ended its turn: what comes later is an accident like any other.
    replace(c.dir .. "/app.lua", app:format("three", "require('clua.timer').sleep(1000)"))
    wait_body(c, "three")
    c:stop()
  end)

  it("knows modules that are loaded later, new ones, and those behind links", function()
    local app = [[
      return function(req, res)
        local ok, late = pcall(require, "lib.late")
        res:finish(ok and late or "none")
      end
    ]]
    local c = serve_app({ ["app.lua"] = app }, "--watch")
    assert.equal("none", body(c))
    for _, name in ipairs { "v1", "v2" } do
      uv.fs_mkdir(c.dir .. "/" .. name, tonumber("755", 8))
      cluster.write(c.dir .. "/" .. name .. "/late.lua", ("return %q\n"):format(name))
    end
    assert(uv.fs_symlink("v1", c.dir .. "/lib"))
    wait_body(c, "v1")
    -- Each worker tells of it; the last of them may have answered just now.
    c:wait(function()
      cluster.write(c.dir .. "/v1/late.lua", "return 'edited'\n")
      return c:find "v1/late.lua changed" or c:find "lib/late.lua changed"
    end, "the module to be watched")
    wait_body(c, "edited")
    assert(uv.fs_symlink("v2", c.dir .. "/lib.new"))
    assert(uv.fs_rename(c.dir .. "/lib.new", c.dir .. "/lib"))
    wait_body(c, "v2")
    c:stop()
  end)

  it("is an option of register(), with files and directories besides", function()
    local c = cluster.up {
      app = "hello", options = { cnum = 1, watch = { "words.txt", "views" } },
      files = { ["words.txt"] = "one" },
    }
    local function reloaded(edit, n)
      edit()
      c:wait_log("reload of %S+ done", nil, n)
    end
    reloaded(function() replace(c.dir .. "/words.txt", "two") end, 1)
    uv.fs_mkdir(c.dir .. "/views", tonumber("755", 8))
    c:wait_log("reload of %S+ done", nil, 2)
    reloaded(function() cluster.write(c.dir .. "/views/a.html", "new") end, 3)
    assert.equal(1, c:count("watch of %S+: /.*/views is not there; it is watched when it comes"))
    assert.equal(0, c:count("words.txt is not there"))
    c:stop()
  end)

  it("leaves nothing behind in the master", function()
    local c = serve_app({ ["app.lua"] = APP, ["model.lua"] = model "0" }, "--watch")
    local before
    for i = 1, 4 do
      replace(c.dir .. "/model.lua", model("v" .. i))
      wait_body(c, "v" .. i)
      c:wait_workers(2)
      if i == 1 then before = c:fds() end
    end
    c:wait(function() return c:fds() <= before end, "descriptors like before")
    c:stop()
  end)
end)

describe("live reload", function()
  after_each(cluster.cleanup)

  local function events(c)
    local conn = assert(client.connect(c:address()))
    conn:send(client.format("GET", "/.clua/livereload"))
    assert(conn:read_until("\r\n\r\n"))
    local token = assert(conn:read_until("\ndata: %d+\n")):match("(%d+)\n$")
    return token, conn
  end

  it("knows the pages of a master that was started in the same second", function()
    local tokens = {}
    for i = 1, 3 do
      local c = serve_app({ ["app.lua"] = APP, ["model.lua"] = model "one" }, "--livereload")
      local conn
      tokens[i], conn = events(c)
      conn:close()
      c:stop()
    end
    assert.not_equal(tokens[1], tokens[2])
    assert.not_equal(tokens[2], tokens[3])
  end)

  it("puts a script into HTML, whose stream tells that there is new code", function()
    local c = serve_app({ ["app.lua"] = APP, ["model.lua"] = model "one" }, "--livereload")
    local page = body(c)
    local token = page:match('^<p>one</p>\n<script src="/.clua/livereload.js" data%-token="(%d+)"></script>\n$')
    assert.truthy(token, page)
    assert.truthy(body(c, "/.clua/livereload.js"):find('EventSource("/.clua/livereload")', 1, true))
    local told, conn = events(c)
    assert.equal(token, told)
    replace(c.dir .. "/model.lua", model "two")
    -- The old worker ends its stream, so that the browser comes back.
    assert(conn:await(function() return conn.closed or conn.buffer:find("0\r\n\r\n", 1, true) end, DEADLINE_S))
    conn:close()
    loop.wait(function()
      local now, again = events(c)
      again:close()
      return now ~= token
    end, DEADLINE_S, "another token")
    c:stop()
  end)

  it("holds up no worker that finishes, also when the page asks just then", function()
    local slow = [[
      return function(req, res)
        print "waiting"
        require("clua.timer").sleep(0.3)
        res:finish("slow")
      end
    ]]
    local c = serve({ ["app.lua"] = slow }, "app.lua", "-p", "127.0.0.1:0", "-w", "1", "--livereload")
    c:wait_log "all workers ready"
    local conn = assert(client.connect(c:address()))
    conn:send(client.format("GET", "/") .. client.format("GET", "/.clua/livereload"))
    c:wait_log "out: waiting"
    c:signal "sigusr1"
    c:wait_log "reload of %S+ done" -- long before term_timeout
    conn:close()
    c:stop()
  end)

  it("puts it into files too, coded for nobody, and not into other types", function()
    local c = serve({ ["index.html"] = "<p>index</p>", ["a.txt"] = "text" }, ".", "-p", "127.0.0.1:0", "-w", "1",
      "--livereload")
    c:wait_log "all workers ready"
    local status, headers, page = client.get(c:address(), "/", { ["Accept-Encoding"] = "gzip" })
    assert.equal(200, status)
    assert.truthy(page:find("^<p>index</p>\n<script "), page)
    assert.same({ nil, "no-store" }, { headers.etag, headers["cache-control"] })
    assert.equal("text", body(c, "/a.txt"))
    cluster.write(c.dir .. "/index.html", "<p>changed</p>")
    wait_body(c, "changed")
    c:wait_log "reload of %S+ done"
    c:stop()
  end)
end)
