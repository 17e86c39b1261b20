-- Directory, views, routes, redirects and errors of clua.connect against what attackers send, by curl and Node's fetch.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"

local APP = [[
local connect, http = require "clua.connect", require "clua.http"
local app = connect(connect.requestId { trust = true }, connect.query())
app:use(connect.views(__dirname .. "/views"))
app:use("/api", connect.cors { origin = "https://good.example", credentials = true })
app:use("/files", connect.directory(__dirname .. "/files", { fallthrough = false }))
app:get("/show/:name", function(req, res) res:render(req.params.name, { text = req.query.text }) end)
app:get("/page/*name", function(req, res) res:render(req.params.name) end)
app:get("/go", function(req, res) res:redirect(req.query.to) end)
app:get("/header", function(req, res) res:setHeader("X-Echo", req.query.v) res:finish("ok") end)
app:get("/api/me", function(_, res) res:json { me = true } end)
app:get("/fail", function() error "the secret of the house" end)
app:use(function(_, _, next) next { status = 404 } end)
app:use(connect.errorHandler())
local server = http.createServer(app)
require("clua").ready(function(socket) server:emit("connection", socket) end)
]]

local FILES = { ["app.lua"] = APP, ["secret.html"] = "the secret of the house" }

local FOLDERS = [[
mkdir -p views files/sub
echo '<p>@{text}</p>' >views/good.html
ln -s .. files/up
ln -s ../secret.html views/link.html]]

describe("clua.connect under attack", function()
  local c, base

  local function up(env)
    c = cluster.up {
      app = "app.lua", files = FILES, options = { cnum = 1 }, env = { CLUA_ENV = env }, shell = FOLDERS,
    }
    base = "http://127.0.0.1:" .. c:port()
  end
  after_each(cluster.cleanup)

  -- Status and everything that came, as sent: --path-as-is leaves dots alone.
  local function curl(path, ...)
    local args = { "-sS", "-i", "--path-as-is", "-g", "-w", "\n%{http_code}", ... }
    args[#args + 1] = base .. path
    local out, err = command.run("curl", args)
    local status = assert(out:match("(%d+)$"), err)
    return tonumber(status), out
  end

  it("serves nothing from outside of files and views", function()
    up "production"
    assert.equal(200, (curl("/files/")))
    assert.equal(200, (curl("/show/good?text=x")))
    local climbs = {
      "..", "../", "%2e%2e", "%2e%2e/", "%2E./", "..%2f", "..%5c", "..\\", "%2e%2e%2f", "%2e%2e%5c", "./../", "..;/",
      "%252e%252e%252f", "..%252f", "....//", "%c0%ae%c0%ae/", "%c0%af", "%e0%80%ae%e0%80%ae/", "%u002e%u002e/",
      "sub/../../", "sub/..%2f..%2f", "up/", "up", "/", "//", "%2f", "%00", "good%00", ".%00./",
    }
    for _, prefix in ipairs { "/files/", "/show/", "/page/" } do
      for _, climb in ipairs(climbs) do
        for _, target in ipairs { "", "secret", "secret.html", "etc/passwd" } do
          local path = prefix .. climb .. target
          local status, _, out = client.get(c:port(), path) -- 350 of them: curl would take its time
          assert.is_nil(out:find("secret of the house", 1, true), path)
          assert.is_nil(out:find("secret.html", 1, true), path .. out)
          assert.is_nil(out:find("root:", 1, true), path)
          local is_top = prefix == "/files/" and not climb:find("[^/]") and target == ""
          assert.is_true(status >= 400 or is_top, path .. " " .. status)
        end
      end
    end
    for _, path in ipairs {
      "/files/../app.lua", "/files/%2e%2e/app.lua", "/files/up/", "/page/..%2fsecret", "/show/link",
    } do
      local status, out = curl(path)
      assert.is_true(status >= 400, path)
      assert.is_nil(out:find("secret of the house", 1, true), path)
    end
    assert.equal(200, (curl("/files/")))
  end)

  it("escapes, redirects on this site only, and splits no header", function()
    up "production"
    local _, out = curl("/show/good?text=%3Cscript%3Ealert(1)%3C/script%3E")
    assert.truthy(out:find("<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>", 1, true), out)
    assert.equal(302, (curl("/go?to=/home")))
    for _, to in ipairs {
      "//evil.example", "https://evil.example", "/%5Cevil.example", "/%09/evil.example", "%20//evil.example",
      "javascript:alert(1)", "/%0d%0aX-Evil:1", "%0d%0aX-Evil:1", "http:evil.example", "",
    } do
      local status, text = curl("/go?to=" .. to)
      assert.equal(400, status, to)
      assert.is_nil(text:lower():find("\nlocation:", 1, true), to)
      assert.is_nil(text:find("\nX-Evil", 1, true), to)
    end
    for _, value in ipairs { "a%0d%0aX-Evil:%201", "a%0aX-Evil:1", "a%00b", "a%0d" } do
      local status, text = curl("/header?v=" .. value)
      assert.equal(500, status, value)
      assert.is_nil(text:find("\nX-Evil", 1, true), value)
    end
    local _, text = curl("/show/good", "-H", "X-Request-Id: evil<script>")
    assert.is_nil(text:find("evil<script>", 1, true))
  end)

  it("tells of an error what the mode allows", function()
    up "production"
    for _, form in ipairs { "text/html", "application/json", "text/plain", "*/*" } do
      local status, out = curl("/fail", "-H", "Accept: " .. form)
      assert.equal(500, status)
      assert.is_nil(out:find("secret", 1, true), out)
      assert.is_nil(out:find(".lua", 1, true), out)
    end
    c:stop()
    up "development"
    local _, out = curl("/fail", "-H", "Accept: text/html")
    assert.truthy(out:find("the secret of the house", 1, true), out)
    assert.truthy(out:find("app.lua", 1, true), out)
    assert.is_nil(out:find("clua/connect", 1, true), out)
  end)

  it("opens its sessions to no other site, as Node's fetch sees it", function()
    if not command.exists("node") then return pending("node is not installed") end
    up "production"
    local out, err = command.run("node", { "-e", [[
      const url = process.argv[1] + "/api/me";
      const show = (r) => [r.status, r.headers.get("access-control-allow-origin"),
        r.headers.get("access-control-allow-credentials"), r.headers.get("vary")].join(" ");
      (async () => {
        for (const origin of ["https://good.example", "https://evil.example", "null", "https://good.example.evil"]) {
          const headers = { Origin: origin };
          console.log(show(await fetch(url, { headers })));
        }
        const headers = { Origin: "https://evil.example", "Access-Control-Request-Method": "PUT" };
        console.log(show(await fetch(url, { method: "OPTIONS", headers })));
      })();
    ]], base })
    local lines = {}
    for line in out:gmatch("[^\n]+") do lines[#lines + 1] = line end
    assert.equal("200 https://good.example true Origin", lines[1], err)
    for i = 2, 4 do assert.equal("200   Origin", lines[i]) end
    assert.truthy(lines[5]:find("^204   Origin"), lines[5])
  end)
end)
