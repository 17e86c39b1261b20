-- The two demo apps, driven by real clients: todo through its API and its page, chat through deaths and reloads.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"
local demo = require "spec.support.demo"
local json = require "cjson"
local loop = require "spec.support.loop"
local uv = require "luv"

local JSON = { ["Content-Type"] = "application/json" }

describe("scripts/demo/todo", function()
  local c, port, conn

  before_each(function()
    local offset
    c, offset = demo.start("todo/dispatch.lua", { 19861 })
    port = 19861 + offset
    conn = client.connect(port)
  end)
  after_each(function()
    conn:close()
    cluster.cleanup()
  end)

  local function api(method, path, value, headers)
    local all = { ["Content-Type"] = value and "application/json" or nil, Accept = "application/json" }
    for name, text in pairs(headers or {}) do all[name] = text end
    local status, answer, body = conn:request(method, "/api/todos" .. path, all, value and json.encode(value))
    return status, body ~= "" and json.decode(body) or nil, answer
  end

  it("is a JSON API", function()
    assert.same({}, select(2, api("GET", "")))
    local status, todo, headers = api("POST", "", { title = "milk <b>" })
    assert.equal(201, status)
    assert.same({ "milk <b>", false }, { todo.title, todo.done })
    assert.equal("/api/todos/" .. todo.id, headers.location)
    assert.truthy(headers["x-request-id"]:find("^%x+$"))
    assert.truthy(headers["x-response-time"]:find("ms$"))
    assert.equal("*", headers["access-control-allow-origin"])
    assert.truthy(headers["ratelimit-limit"])
    assert.same(todo, select(2, api("GET", "/" .. todo.id)))
    assert.is_true(select(2, api("PATCH", "/" .. todo.id, { done = true })).done)
    assert.same({}, select(2, api("GET", "?done=false")))
    assert.equal(1, #select(2, api("GET", "?done=true")))
    assert.equal(204, (api("DELETE", "/" .. todo.id)))
    assert.equal(404, (api("GET", "/" .. todo.id)))
  end)

  it("refuses what is wrong, as JSON", function()
    for _, value in ipairs { { title = "" }, { title = 5 }, {}, { title = ("x"):rep(201) } } do
      local status, body = api("POST", "", value)
      assert.equal(422, status)
      assert.truthy(body.message:find("title", 1, true))
    end
    assert.equal(400, (conn:request("POST", "/api/todos", JSON, '{"title":')))
    local status, _, headers = api("PUT", "")
    assert.same({ 405, "GET, HEAD, OPTIONS, POST" }, { status, headers.allow })
    assert.equal(413, (conn:request("POST", "/api/todos", JSON, ('"%s"'):format(("x"):rep(20000)))))
    conn:close()
    conn = client.connect(port)
    for _, id in ipairs { "..%2f..%2fetc%2fpasswd", "%2e%2e", "..", "a%00", "%zz" } do
      assert.equal(400, (api("GET", "/" .. id)), id)
    end
    for _, id in ipairs { "a%2fb", "a.b", "%252e%252e%252f", "-" } do assert.equal(404, (api("GET", "/" .. id)), id) end
    assert.equal(404, (api("GET", "/a/b")))
  end)

  it("answers other sites, other hosts and the administrator", function()
    local status, headers = conn:request("OPTIONS", "/api/todos", {
      Origin = "http://other.example", ["Access-Control-Request-Method"] = "POST",
    })
    assert.same({ 204, "*" }, { status, headers["access-control-allow-origin"] })
    conn:send("GET / HTTP/1.1\r\nHost: status.localhost:80\r\n\r\n")
    local _, _, body = conn:response()
    assert.equal(0, json.decode(body).entries)
    assert.equal(401, (conn:request("GET", "/admin")))
    local secret = { Authorization = "Basic YWRtaW46YWRtaW4=" }
    status, headers, body = conn:request("GET", "/admin", secret)
    assert.same({ 200, 1 }, { status, json.decode(body).visits })
    secret.Cookie = headers["set-cookie"]:match("^[^;]+")
    local other = client.connect(port) -- most likely another worker
    assert.equal(2, json.decode(select(3, other:request("GET", "/admin", secret))).visits)
    other:close()
    api("POST", "", { title = "x" })
    secret.Accept = "application/json"
    local list = json.decode(select(3, conn:request("GET", "/admin/files/", secret)))
    assert.equal(1, #list)
    assert.equal("x", json.decode(select(3, conn:request("GET", "/admin/files/" .. list[1].name, secret))).title)
    assert.equal(400, (conn:request("GET", "/admin/files/..%2fsessions/", secret)))
    assert.equal(200, (conn:request("GET", "/favicon.ico")))
  end)

  -- curl with its cookies, as a browser would use the forms.
  local function curl(path, ...)
    local jar = c.dir .. "/jar"
    local args = { "-sS", "-L", "-b", jar, "-c", jar, "--compressed", "http://127.0.0.1:" .. port .. path }
    for i = 1, select("#", ...) do args[#args + 1] = (select(i, ...)) end
    return (command.run("curl", args))
  end

  it("is a page with forms", function()
    local text = curl("/")
    local token = text:match('name="_csrf" value="([^"]+)"')
    text = curl("/todos", "--data-urlencode", "title=<script>alert(1)</script>", "-d", "_csrf=" .. token)
    assert.truthy(text:find("<span>&lt;script&gt;alert(1)&lt;/script&gt;</span> (new)", 1, true), text)
    assert.truthy(text:find('<p id="notice">added</p>', 1, true), text)
    local id = text:match('action="/todos/([%w]+)"')
    text = curl("/todos/" .. id, "-d", "_method=put&done=true&_csrf=" .. token)
    assert.truthy(text:find("<del>&lt;script", 1, true), text)
    cluster.write(c.dir .. "/list.txt", "eggs\n\n  \nbread & butter\n")
    text = curl("/import", "-F", "_csrf=" .. token, "-F", "file=@" .. c.dir .. "/list.txt")
    assert.truthy(text:find("2 imported", 1, true), text)
    assert.truthy(text:find("bread &amp; butter", 1, true), text)
    cluster.write(c.dir .. "/list.txt", "cheese\n" .. ("x"):rep(201) .. "\n")
    text = curl("/import", "-F", "_csrf=" .. token, "-F", "file=@" .. c.dir .. "/list.txt", "-w", "%{http_code}")
    assert.truthy(text:find("422$"), text)
    assert.is_nil(curl("/"):find("cheese", 1, true))
    text = curl("/todos/" .. id, "-d", "_method=delete&_csrf=" .. token)
    assert.is_nil(text:find("script", 1, true), text)
    assert.truthy(curl("/todos", "-d", "title=x", "-w", "%{http_code}"):find("403$"))
    assert.truthy(curl("/todos", "-d", "title=x&_csrf=wrong", "-w", "%{http_code}"):find("403$"))
  end)

  it("is used by Node's fetch", function()
    if not command.exists("node") then return pending("node is not installed") end
    local out, err, code = command.run("node", { "-e", [[
      const base = process.argv[1], headers = { "Content-Type": "application/json", Origin: "http://x.example" };
      (async () => {
        const body = JSON.stringify({ title: "from node" });
        const made = await (await fetch(base, { method: "POST", headers, body })).json();
        const list = await (await fetch(base)).json();
        const wrong = await fetch(base, { method: "DELETE" });
        const gone = await fetch(base + "/" + made.id, { method: "DELETE" });
        console.log(list[0].title, wrong.status, wrong.headers.get("allow"), gone.status);
      })();
    ]], "http://127.0.0.1:" .. port .. "/api/todos" })
    assert.equal("from node 405 GET, HEAD, OPTIONS, POST 204\n", out, err)
    assert.equal(0, code)
  end)
end)

describe("scripts/demo/chat", function()
  local c, port

  before_each(function()
    local offset
    c, offset = demo.start("chat/dispatch.lua", { 19851 })
    port = 19851 + offset
  end)
  after_each(cluster.cleanup)

  -- Says something until it has been taken; a worker that dies in the middle may have taken it all the same.
  local function say(text)
    for _ = 1, 100 do
      local conn = client.connect(port)
      local status = conn and conn:request("POST", "/messages", JSON, json.encode { name = "spec", text = text })
      if conn then conn:close() end
      if status == 201 then return end
    end
    error("nobody takes '" .. text .. "'")
  end

  -- Reads events as a browser does, coming again with Last-Event-ID, until one has the text. Returns the list of { id,
  -- text } and how often it came.
  local function follow(final)
    local list = {}
    for visits = 1, 100 do
      local conn = assert(client.connect(port))
      local last = list[#list] and list[#list].id
      conn:send(client.format("GET", "/events", { ["Last-Event-ID"] = last, Connection = "close" }))
      local piece = conn:read_until("data: [^\n]*\n\n", 60)
      while piece do
        for id, data in piece:gmatch("id: (%d+)\ndata: ([^\n]*)\n") do
          list[#list + 1] = { id = tonumber(id), text = json.decode(data).text }
        end
        if list[#list].text == final then
          conn:close()
          return list, visits
        end
        piece = conn:read_until("data: [^\n]*\n\n", 60)
      end
      conn:close()
    end
    error("the stream ended a hundred times")
  end

  it("tells everybody everything, once and in order, while workers and the hub die and are replaced", function()
    local COUNT, READERS, lists, tasks, came = 40, 4, {}, {}, 0
    for i = 1, READERS do
      tasks[i] = loop.task(function()
        local visits
        lists[i], visits = follow("the end")
        came = came + visits
      end)
    end
    local speaker = loop.task(function()
      for n = 1, COUNT do say("message " .. n) end
    end)
    for round = 1, 3 do
      say("round " .. round)
      local members, victim = c:workers(), nil
      for _, member in ipairs(members) do
        if (member.name == "hub") == (round == 2) then victim = member end
      end
      local mark = c:mark()
      assert(uv.kill(victim.pid, "sigkill"))
      c:wait_log("ready, pid", mark)
      mark = c:mark()
      c:signal("sigusr1")
      c:wait_log("reload of " .. port .. " done", mark, nil, 60)
    end
    c:wait(function() return speaker.done end, "everything to be said", 100)
    say("the end")
    for i = 1, READERS do
      c:wait(function() return tasks[i].done end, "a reader to see the end", 100)
      assert.is_nil(tasks[i].error)
      for k, message in ipairs(lists[i]) do assert.equal(k, message.id) end
    end
    assert.is_true(came > 2 * READERS, "nobody had to come again: " .. came)
    local texts = {}
    for _, message in ipairs(lists[1]) do texts[message.text] = true end
    for n = 1, COUNT do assert.is_true(texts["message " .. n], n) end
  end)

  it("shows its page, and refuses what is no message", function()
    local status, headers, body = client.get(port, "/")
    assert.equal(200, status)
    assert.truthy(body:find('<script src="chat.js"', 1, true))
    assert.equal("default-src 'self'", headers["content-security-policy"])
    assert.equal(200, (client.get(port, "/chat.js")))
    local conn = client.connect(port)
    for _, text in ipairs { "{}", "[]", '{"name":"a"}', '{"name":"a","text":5}', '{"name":"","text":"x"}', "{" } do
      local code = conn:request("POST", "/messages", JSON, text)
      assert.is_true(code == 422 or code == 400, text)
    end
    assert.equal(405, (conn:request("PUT", "/messages", JSON, "{}")))
    assert.equal(400, (conn:request("GET", "/..%2fhub.lua")))
    conn:close()
  end)
end)

it("every middleware of clua.connect occurs in a demo", function()
  local connect = require "clua.connect"
  local text = command.run("sh", { "-c", "cat scripts/demo/*/*.lua" })
  local count = 0
  for path in command.run("sh", { "-c", "ls lua/clua/connect" }):gmatch("[^\n]+") do
    local name = path:match("^(.*)%.lua$")
    local known, middleware = pcall(function() return connect[name] end)
    if known and middleware then
      count = count + 1
      assert.truthy(text:find("connect." .. name .. "[ ({]"), name)
    end
  end
  assert.is_true(count >= 24, count)
end)
