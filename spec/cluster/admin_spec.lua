-- The admin listener: health, readiness, metrics and status, by a worker of clua's own.

local cjson = require "cjson"
local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"
local control = require "spec.support.control"
local proc = require "spec.support.proc"
local prometheus = require "spec.support.prometheus"
local status = require "spec.support.status"
local uv = require "luv"

local USAGE = 100
local IS_ROOT = uv.getuid() == 0

describe("the admin listener", function()
  after_each(cluster.cleanup)

  -- options: of Master(), besides `admin`
  local function up(registrations, options, admin)
    options = options or {}
    options.admin = admin or "127.0.0.1:0"
    return cluster.up { dispatch = status.script(registrations, options) }
  end

  local function address(c)
    return c:wait_log("listening on (%S+) for admin")
  end

  local function ask(c, path)
    local code, headers, body = client.get(address(c), path)
    assert(code, tostring(headers))
    return code, body, headers
  end

  local function scrape(c)
    local code, body, headers = ask(c, "/metrics")
    assert.equal(200, code)
    assert.equal("text/plain; version=0.0.4; charset=utf-8", headers["content-type"])
    return prometheus.parse(body)
  end

  local function wait_answer(c, path, code, body)
    c:wait(function()
      local got, text = ask(c, path)
      return got == code and text == body
    end, path .. " to answer " .. body)
  end

  local function app(c)
    return c:address(1)
  end

  local function send(c, path, where)
    local conn = assert(client.connect(where or app(c)))
    conn:send(client.format("GET", path))
    return conn
  end

  it("serves four pages, and nothing else", function()
    local c = up { { "127.0.0.1:0", "answers", { cnum = 1 } } }
    local code, body = ask(c, "/healthz?verbose=1")
    assert.same({ 200, "ok\n" }, { code, body })
    code, body = ask(c, "/readyz")
    assert.same({ 200, "ready\n" }, { code, body })
    assert.equal(200, (ask(c, "/")))
    assert.equal(404, (ask(c, "/metrics/")))
    local conn = assert(client.connect(address(c)))
    local headers
    code, headers = conn:request("POST", "/metrics")
    assert.equal(405, code)
    assert.equal("GET, HEAD", headers.allow)
    code, headers, body = conn:request("HEAD", "/status")
    assert.equal(200, code)
    assert.equal("application/json", headers["content-type"])
    assert.equal("", body)
    conn:close()
    c:stop()
  end)

  it("counts what clients have counted, over reloads, deaths and upgrades, and never less than before", function()
    local c = up { { "127.0.0.1:0", "answers", { cnum = 2 } } }
    local name = "127.0.0.1:0"
    local sent = { ["2xx"] = 0, ["4xx"] = 0 }
    local seen = {} -- sample -> its value in the last scrape

    local function check_monotonic(families)
      for _, family in pairs(families) do
        for _, sample in ipairs(family.type ~= "gauge" and family.samples or {}) do
          local key = { sample.name }
          for _, pair in ipairs(sample.pairs) do key[#key + 1] = pair[1] .. "=" .. pair[2] end
          key = table.concat(key, " ")
          if sample.value < (seen[key] or 0) then
            error(("%s went from %s to %s"):format(key, seen[key], sample.value))
          end
          seen[key] = sample.value
        end
      end
    end

    local function check(exits)
      c:wait(function()
        local families = scrape(c)
        check_monotonic(families)
        local function value(metric, labels)
          labels = labels or {}
          labels.registration = name
          return prometheus.value(families, metric, labels)
        end
        local requests = sent["2xx"] + sent["4xx"]
        local by_worker = 0
        for id = 1, 2 do by_worker = by_worker + value("clua_worker_requests_total", { worker = tostring(id) }) end
        for cause, count in pairs(exits) do
          if value("clua_worker_exits_total", { cause = cause }) ~= count then return false end
        end
        return value("clua_responses_total", { class = "2xx" }) == sent["2xx"]
          and value("clua_responses_total", { class = "4xx" }) == sent["4xx"]
          and value("clua_requests_total") == requests and by_worker == requests
          and value("clua_request_seconds_count") == requests
          and value("clua_request_seconds_bucket", { le = "+Inf" }) == requests
          and value("clua_connections_accepted_total") == requests
          and value("clua_queue_seconds_count") >= requests
      end, "the metrics to be what the clients have counted")
    end

    local function request(count, path)
      for _ = 1, count do
        local code = client.get(app(c), path)
        local class = tostring(code):sub(1, 1) .. "xx"
        sent[class] = sent[class] + 1
      end
    end

    request(10, "/")
    request(3, "/404")
    check {}
    c:signal("sigusr1")
    c:wait_log("reload of .+ done")
    request(10, "/")
    check { reload = 2 }
    for _, member in ipairs(c:workers(name)) do uv.kill(member.pid, "sigkill") end
    c:wait_log("exited, pid %d+, killed by SIGKILL", nil, 2)
    request(4, "/404")
    check { reload = 2, SIGKILL = 2 }
    for generation = 1, 2 do
      c:signal("sigusr2")
      c:wait_log("upgraded, generation " .. generation)
      request(5, "/")
      check { reload = 2, SIGKILL = 2 }
      assert.equal(generation, prometheus.value(scrape(c), "clua_master_upgrades_total"))
    end
    assert.equal(6, prometheus.value(scrape(c), "clua_worker_starts_total", { registration = name }))
    c:stop()
  end)

  it("shows what workers publish, as gauges and in the status", function()
    local c = up { { "127.0.0.1:0", "answers", { cnum = 2 } } }
    local families = scrape(c)
    for id = 1, 2 do
      local labels = { worker = tostring(id), registration = "127.0.0.1:0" }
      assert.equal(42, prometheus.value(families, "clua_value_answer", labels))
      labels.key = "2nd-value"
      assert.equal(-1.5e-3, prometheus.value(families, "clua_value_2nd_value", labels))
    end
    local _, text = ask(c, "/status")
    local all = cjson.decode(text)
    assert.equal(c.pid, all.master.pid)
    assert.equal("127.0.0.1:0", all.registrations[1].name)
    assert.is_true(all.registrations[2].builtin)
    assert.same({ answer = "42", ['a "b"\\\n'] = "x", ["2nd-value"] = "-0.0015" },
      all.registrations[1].workers[1].values)
    assert.is_nil(text:find("[\128-\255]"))
  end)

  it("shows metrics that promtool has nothing to say of", function()
    if not command.exists "promtool" then pending "promtool (package prometheus) is not installed" end
    local c = up { { "127.0.0.1:0", "answers", { cnum = 2 } } }
    local _, body = ask(c, "/metrics")
    cluster.write(c.dir .. "/metrics.txt", body)
    local out, err, code = command.run("sh", { "-c", 'promtool check metrics <"$0"', c.dir .. "/metrics.txt" })
    assert.same({ "", "", 0 }, { out, err, code })
    c:stop()
  end)

  it("answers truly while every worker of the application is blocked", function()
    local c = up { { "127.0.0.1:0", "blocks_loop", { cnum = 2 } } }
    local conns = {}
    for i = 1, 2 do
      conns[i] = send(c, "/block/600000")
      c:wait_log("block begins", nil, i)
    end
    conns[3] = send(c, "/")
    assert.equal(200, (ask(c, "/healthz")))
    assert.equal(200, (ask(c, "/readyz")))
    c:wait(function()
      local families = scrape(c)
      local stuck, active = 0, 0
      for id = 1, 2 do
        local labels = { registration = "127.0.0.1:0", worker = tostring(id) }
        stuck = stuck + prometheus.value(families, "clua_worker_stuck", labels)
        active = active + prometheus.value(families, "clua_worker_requests_active", labels)
      end
      return stuck == 2 and active == 2
    end, "both workers to be seen stuck")
    assert.equal(200, (ask(c, "/status")))
    for _, conn in ipairs(conns) do conn:close() end
  end)

  it("is not ready while a registration has no worker, and says which", function()
    local c = up({ { "127.0.0.1:0", "answers", { cnum = 1 } } }, { restart_delay = 600, restart_delay_max = 600 })
    local conn = send(c, "/exit/1")
    conn:read_all()
    conn:close()
    wait_answer(c, "/readyz", 503, "no worker of 127.0.0.1:0 is ready\n")
    assert.equal(200, (ask(c, "/healthz")))
    local families = scrape(c)
    assert.equal(0, prometheus.value(families, "clua_ready"))
    assert.equal(0, prometheus.value(families, "clua_registration_ready", { registration = "127.0.0.1:0" }))
    assert.equal(1, prometheus.value(families, "clua_worker_exits_total", { cause = "status 1" }))
  end)

  it("stays ready through a reload", function()
    local c = up { { "127.0.0.1:0", "answers", { cnum = 1 } } }
    c:signal("sigusr1")
    local asked = 0
    while not c:find("reload of .+ done") do
      assert.equal(200, (ask(c, "/readyz")))
      asked = asked + 1
    end
    assert.is_true(asked > 0)
  end)

  it("is a lame duck's, and a stopping master's to the end", function()
    local c = up({ { "127.0.0.1:0", "slow", { cnum = 1 } } }, { lame_duck = 600 })
    c:signal("sigterm")
    wait_answer(c, "/readyz", 503, "lame duck\n")
    assert.equal(200, (ask(c, "/healthz")))
    assert.equal(200, (client.get(app(c), "/")))
    c:signal("sigquit")
    assert.equal(3, (c:wait_exit()))

    c = up { { "127.0.0.1:0", "slow", { cnum = 1 } } }
    local conn = send(c, "/part")
    c:wait(function() return conn.buffer:find("a part", 1, true) end, "a part of an answer")
    c:signal("sigterm")
    wait_answer(c, "/readyz", 503, "stopping\n")
    assert.equal(200, (ask(c, "/healthz")))
    assert.equal(0, prometheus.value(scrape(c), "clua_ready"))
    uv.kill(c:workers("127.0.0.1:0")[1].pid, "sigkill") -- its request would never end
    conn:close()
    assert.equal(0, (c:wait_exit()))
    assert.truthy(c:find("worker 1 of admin exited, pid %d+, status 0"))
  end)

  it("listens on a unix socket with the mode that is given", function()
    local c = up({ { "127.0.0.1:0", "answers", { cnum = 1 } } }, nil, { listen = "unix:admin.sock", mode = "0600" })
    local path = c.dir .. "/admin.sock"
    assert.equal(tonumber("600", 8), uv.fs_stat(path).mode % 512)
    local code, _, body = client.get(path, "/healthz")
    assert.same({ 200, "ok\n" }, { code, body })
    c:signal("sigusr2")
    c:wait_log("upgraded")
    assert.equal(200, (client.get(path, "/readyz")))
    c:stop()
    assert.is_nil((uv.fs_stat(path)))
  end)

  it("means this machine's port when it is given a number", function()
    local c = up({ { "127.0.0.1:0", "answers", { cnum = 1 } } }, nil, 0)
    assert.truthy(address(c):find("^127%.0%.0%.1:%d+$"))
    assert.equal(200, (ask(c, "/readyz")))
  end)

  it("comes back when its worker is killed", function()
    local c = up { { "127.0.0.1:0", "answers", { cnum = 1 } } }
    local pid = c:workers("admin")[1].pid
    local idle = assert(client.connect(address(c)))
    assert.equal(200, (idle:request("GET", "/readyz")))
    uv.kill(pid, "sigkill")
    c:wait_log("worker 1 of admin exited, pid " .. pid)
    assert.equal(200, (ask(c, "/readyz")))
    assert.equal(200, (idle:request("GET", "/healthz"))) -- an idle connection is kept, as everywhere
    idle:close()
    assert.equal(1, prometheus.value(scrape(c), "clua_worker_exits_total", { registration = "admin" }))
  end)

  it("is left alone by a reload of all and by scaling, is replaced when it is named, and by an upgrade", function()
    local c = cluster.up { dispatch = ([[
      local master = require("clua").Master { admin = 0 }
      master:register("127.0.0.1:0", %q, { cnum = 1 })
      for _, event in ipairs { "fork", "ready", "exit", "reload" } do
        master:on(event, function(name) io.stderr:write("event " .. event .. " of " .. name .. "\n") end)
      end
      master:on("message", function(message)
        if message == "admin" then master:reload("admin") end
        local ok, why = pcall(master.scale, master, "admin", 2)
        io.stderr:write("scaled: " .. tostring(ok) .. " " .. tostring(why) .. "\n")
      end)
      master:dispatch()
    ]]):format(cluster.fixture("reload_admin")) }
    local pid = c:workers("admin")[1].pid
    c:signal("sigusr1")
    c:wait_log("reload of 127.0.0.1:0 done")
    c:signal("sigttin")
    c:wait_workers(2, "127.0.0.1:0")
    assert.equal(pid, c:wait_workers(1, "admin")[1].pid)
    assert.equal(200, (client.get(app(c), "/")))
    c:wait_log("reload of admin done")
    assert.truthy(c:wait_log("scaled: false .+ there is one"))
    local replaced = c:wait_workers(1, "admin")[1].pid
    assert.not_equal(pid, replaced)
    c:signal("sigusr2")
    c:wait_log("reload of admin done", nil, 2)
    assert.not_equal(replaced, c:wait_workers(1, "admin")[1].pid)
    assert.equal(200, (ask(c, "/readyz")))
    assert.truthy(c:find("event reload of 127"))
    assert.is_nil(c:find("event %a+ of admin"))
  end)

  it("is none of the registrations that clua reload waits for, and clua scale leaves it alone", function()
    local c = up { { "127.0.0.1:0", "answers", { cnum = 1 } } }
    local pid = c:workers("admin")[1].pid
    local _, err, code = control.run(c, "reload", "--wait")
    assert.same({ "", 0 }, { err, code })
    assert.equal(pid, c:workers("admin")[1].pid)
    _, err, code = control.run(c, "reload", "admin", "--wait")
    assert.same({ "", 0 }, { err, code })
    assert.not_equal(pid, c:wait_workers(1, "admin")[1].pid)
    _, err, code = control.run(c, "scale", "admin", "2")
    assert.truthy(err:find("there is one", 1, true), err)
    assert.not_equal(0, code)
    local out = control.run(c, "status", "--json")
    local _, body = ask(c, "/status")
    local mine, theirs = cjson.decode(out), cjson.decode(body)
    assert.equal(theirs.master.pid, mine.master.pid)
    assert.equal(#theirs.registrations, #mine.registrations)
    assert.truthy(out:find('"buckets":[]', 1, true), out)
  end)

  it("passes on any number of figures", function()
    local c = up { { "127.0.0.1:0", "publishes", { cnum = 24 } } }
    local _, text = ask(c, "/status")
    assert.is_true(#text > 72 * 1024)
    local workers = cjson.decode(text).registrations[1].workers
    assert.equal(24, #workers)
    for _, worker in ipairs(workers) do
      local count = 0
      for key, value in pairs(worker.values) do
        assert.equal(31, #key)
        assert.equal(("%02d"):format(worker.id):rep(31), value)
        count = count + 1
      end
      assert.equal(32, count)
    end
    assert.equal(32 * 24, (function()
      local count = 0
      for name, family in pairs(scrape(c)) do
        if name:find("^clua_value_") then count = count + #family.samples end
      end
      return count
    end)())
  end)

  it("tells the workers of the application nothing", function()
    local c = up { { "127.0.0.1:0", "asks", { cnum = 1 } } }
    c:wait_log("a worker of 127%.0%.0%.1:0 asks what only the admin worker may know")
    assert.equal(200, (client.get(app(c), "/")))
    assert.is_nil(c:find("was told"))
  end)

  local it_as_root = IS_ROOT and it or pending

  it_as_root("runs as the user of the application", function()
    local c = cluster.up {
      dispatch = 'local master = require("clua").Master { admin = 0 }\n'
        .. 'master:register("127.0.0.1:0", "app.lua", { cnum = 1, user = "nobody" })\nmaster:dispatch()\n',
      files = { ["app.lua"] = 'require("clua").ready(function(socket) socket:destroy() end)' },
    }
    local nobody = uv.fs_stat("/proc/" .. c:workers("127.0.0.1:0")[1].pid).uid
    assert.not_equal(0, nobody)
    assert.equal(nobody, uv.fs_stat("/proc/" .. c:workers("admin")[1].pid).uid)
    assert.equal(200, (ask(c, "/readyz")))
  end)

  it("leaves no descriptor behind", function()
    local c = up { { "127.0.0.1:0", "answers", { cnum = 1 } } }
    ask(c, "/metrics")
    local pid = c:workers("admin")[1].pid
    local before, its = c:fds(), proc.count_fds(pid)
    for _ = 1, 20 do
      ask(c, "/status")
      ask(c, "/readyz")
    end
    -- The connection before may not have been over yet.
    c:wait(function() return c:fds() <= before and proc.count_fds(pid) <= its end, "no more descriptors than before")
  end)

  describe("refuses", function()
    local function refused(source, wanted)
      local c = cluster.start { dispatch = source }
      assert.equal(USAGE, (c:wait_exit()))
      assert.truthy(c:find("^clua: .*dispatch%.lua:%d+: .*" .. wanted), c:text())
    end

    for wanted, value in pairs {
      ["'nowhere' is no address"] = '"nowhere"',
      ["must name an address"] = '{ user = "nobody" }',
      ["unknown option 'lisen', did you mean 'listen'"] = '{ lisen = "127.0.0.1:0" }',
      ["'70000' is not a port"] = "70000",
      ["option 'admin' must be string or integer or table, got boolean"] = "true",
      ["'mode' must be an octal string like '0660', got 'rw'"] = '{ listen = "./a.sock", mode = "rw" }',
    } do
      it("what is wrong: " .. wanted, function()
        refused(('require("clua").Master { admin = %s }\n'):format(value), wanted)
      end)
    end

    it("another registration of its name", function()
      refused('local master = require("clua").Master { admin = 0 }\nmaster:register("admin", "x.lua")\n',
        "'admin' is the name of the registration that the option 'admin' makes")
    end)

    it("a user that there is not", function()
      local c = cluster.start { app = "hello", master = { admin = { listen = 0, user = "nobody-of-this-name" } } }
      assert.not_equal(0, (c:wait_exit()))
      assert.truthy(c:find("^clua: register admin: .*nobody%-of%-this%-name"), c:text())
    end)
  end)
end)
