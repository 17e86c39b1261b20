-- connect.views and res:render: escaping, names, the cache, one environment a rendering.

local ask = require "spec.support.ask"
local async = require "clua.async"
local connect = require "clua.connect"
local fakes = require "spec.unit.connect_fakes"
local uv = require "luv"

describe("connect.views", function()
  local top, folder, restore

  local function write(name, text)
    local file = assert(io.open(folder .. "/" .. name, "w"))
    file:write(text)
    file:close()
  end

  before_each(function()
    restore = select(2, fakes.capture_log())
    top = assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX"))
    folder = top .. "/views"
    assert(uv.fs_mkdir(folder, tonumber("755", 8)))
    assert(uv.fs_mkdir(folder .. "/sub", tonumber("755", 8)))
  end)
  after_each(function()
    restore()
    os.execute("rm -rf " .. top)
  end)

  local function app_with(name, values, options)
    return connect(connect.views(folder, options), function(_, res) res:render(name, values) end)
  end

  local function render(name, values, options)
    return ask(app_with(name, values, options), "GET /")
  end

  it("renders values and lines of Lua", function()
    write("list.html", "<ul>\n% for _, name in ipairs(names) do\n<li>@{name}</li>\n% end\n</ul>@{missing}@{#names}\n")
    local response = render("list", { names = { "a", "b" } })
    assert.equal("text/html; charset=utf-8", response.headers["content-type"])
    assert.equal("<ul>\n<li>a</li>\n<li>b</li>\n</ul>2\n", response.body)
  end)

  it("escapes unless told otherwise", function()
    write("x.html", [[<p title="@{text}" class='@{text}'>@{text}</p>@{raw("<b>")}]])
    local text = [[<script>alert("1" + '2')</script> & @{text}]]
    local escaped = "&lt;script&gt;alert(&quot;1&quot; + &#39;2&#39;)&lt;/script&gt; &amp; @{text}"
    assert.equal(([[<p title="%s" class='%s'>%s</p><b>]]):format(escaped, escaped, escaped),
      render("x", { text = text }).body)
  end)

  it("leaves alone what CSS and scripts are made of", function()
    local text = "#id { color: red }\n$(function() { `${x}` })\n<a href='mailto:a@b.example'>@</a>\n"
    write("x.html", text)
    assert.equal(text, render("x").body)
  end)

  it("includes other templates, itself too", function()
    write("page.html", "@{render('sub/head', { title = title })}|@{title}")
    write("sub/head.html", "<h1>@{title}</h1>")
    assert.equal("<h1>a&amp;b</h1>|a&amp;b", render("page", { title = "a&b" }).body)
    write("deep.html", "@{n}\n% if n > 0 then\n@{render('deep', { n = n - 1 })}@{n}\n% end\n")
    assert.equal("3210123", (render("deep", { n = 3 }).body:gsub("%s", "")))
  end)

  it("renders for two clients at a time without mixing their values", function()
    write("slow.html", "@{name}@{wait()}@{name}")
    local app = connect(connect.views(folder), function(req, res)
      local name = req.url:sub(2)
      res:render("slow", { name = name, wait = function() async.sleep(name == "a" and 0.05 or 0) return "-" end })
    end)
    local peer, http = require "spec.support.http_peer", require "clua.http"
    local a, b = peer.connect(http.createServer(app)), peer.connect(http.createServer(app))
    a:send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n"):turn(2)
    b:send("GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
    assert.equal("b-b", b:response().body)
    assert.equal("a-a", a:response().body)
    a:close()
    b:close()
  end)

  it("sees a changed file while developing, not in production", function()
    for _, cache in ipairs { false, true } do
      write("x.html", "one")
      local app = app_with("x", nil, { cache = cache })
      assert.equal("one", ask(app, "GET /").body)
      write("new.html", "two")
      os.rename(folder .. "/new.html", folder .. "/x.html")
      assert.equal(cache and "one" or "two", ask(app, "GET /").body)
    end
  end)

  it("reads no file from outside of its folder", function()
    local file = assert(io.open(top .. "/secret.html", "w"))
    file:write("secret")
    file:close()
    assert(uv.fs_symlink("../secret.html", folder .. "/link.html"))
    write(".dot.html", "secret")
    for _, name in ipairs {
      "../secret", "sub/../../secret", "/" .. top .. "/secret", top .. "/secret", "..%2fsecret", "..\\secret", "./x",
      "link", ".dot", "sub/", "", "x\0", "%2e%2e/secret", "sub//x", "a b",
    } do
      local response = render(name)
      assert.equal(500, response.status, name)
      assert.is_nil(response.body:find("secret"))
    end
  end)

  it("gives a template no way to the system", function()
    write("x.html", "@{tostring(io)}@{tostring(os)}@{tostring(require)}@{tostring(_G)}@{tostring(debug)}")
    assert.equal(("nil"):rep(5), render("x").body)
  end)

  it("answers 500 for a template that is broken, by syntax or by value", function()
    write("syntax.html", "% for\nx")
    write("value.html", "@{user.name}")
    assert.equal(500, render("syntax").status)
    assert.equal(500, render("value").status)
    assert.equal(500, render("value").status)
  end)

  it("has globals, an extension, and refuses the rest", function()
    write("x.txt", "@{site}")
    assert.equal("here", render("x", nil, { extension = ".txt", globals = { site = "here" } }).body)
    assert.error_matches(function() connect.views(folder .. "/none") end, "views_spec.lua:%d+")
    assert.error_matches(function() connect.views(folder, { extension = "html" }) end, "extension")
    assert.error_matches(function() connect.views(folder, { cach = true }) end, "cache")
  end)
end)
