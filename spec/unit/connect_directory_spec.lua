-- connect.directory: three forms of a list, and nothing outside of the root.

local ask = require "spec.support.ask"
local connect = require "clua.connect"
local json = require "cjson"
local uv = require "luv"

describe("connect.directory", function()
  local top, root

  local function write(path, text)
    local file = assert(io.open(path, "w"))
    file:write(text or "")
    file:close()
  end

  setup(function()
    top = assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX"))
    root = top .. "/root"
    for _, name in ipairs { root, top .. "/outside", root .. "/sub", root .. "/.git", root .. "/My files" } do
      assert(uv.fs_mkdir(name, tonumber("755", 8)))
    end
    write(top .. "/outside/secret.txt", "secret")
    write(root .. "/b.txt", "12345")
    write(root .. "/a&<i>.txt")
    write(root .. "/javascript:alert(1)")
    write(root .. "/line\nend")
    write(root .. "/.hidden")
    write(root .. "/sub/deep.txt")
    assert(uv.fs_symlink("../outside", root .. "/link"))
  end)
  teardown(function() os.execute("rm -rf " .. top) end)

  local function get(url, form, options, app)
    return ask(app or connect(connect.directory(root, options)), "GET " .. url, { Accept = form })
  end

  it("lists directories first, then by name, without what is hidden", function()
    local response = get("/", "application/json")
    assert.equal(200, response.status)
    local names = {}
    for i, entry in ipairs(json.decode(response.body)) do names[i] = entry.name end
    assert.same({ "My files", "sub", "a&<i>.txt", "b.txt", "javascript:alert(1)", "line\nend", "link" }, names)
    local b = json.decode(response.body)[4]
    assert.same({ "file", 5 }, { b.type, b.size })
    assert.near(os.time(), b.modified, 100)
    names = {}
    for _, entry in ipairs(json.decode(get("/", "application/json", { hidden = true }).body)) do
      names[entry.name] = true
    end
    assert.is_true(names[".git"] and names[".hidden"])
    assert.equal("[]\n", get("/My%20files/", "application/json").body)
  end)

  it("escapes names in a page, for text and for links", function()
    local response = get("/", "text/html")
    assert.equal("text/html; charset=utf-8", response.headers["content-type"])
    assert.equal("Accept", response.headers.vary)
    local body = response.body
    assert.truthy(body:find('<a href="./a%26%3Ci%3E.txt">a&amp;&lt;i&gt;.txt</a>', 1, true), body)
    assert.truthy(body:find('<a href="./javascript%3Aalert%281%29">', 1, true), body)
    assert.truthy(body:find('<a href="./My%20files/">My files/</a>', 1, true), body)
    assert.is_nil(body:find('"../"', 1, true))
    assert.truthy(get("/sub/", "text/html").body:find('<a href="../">', 1, true))
    assert.truthy(get("/", "text/plain").body:find("sub/\na&<i>.txt\n", 1, true))
    assert.truthy(get("/", "text/plain").body:find("line?end\n", 1, true))
  end)

  it("redirects to the slash, on this host", function()
    local response = get("/sub")
    assert.same({ 301, "/sub/" }, { response.status, response.headers.location })
    local app = connect()
    app:use("/files", connect.directory(root))
    response = ask(app, "GET //files/sub?x")
    assert.same({ 301, "/files/sub/?x" }, { response.status, response.headers.location })
    assert.equal(200, ask(app, "GET /files/").status)
    assert.equal("/files/", ask(app, "GET /files").headers.location)
  end)

  it("shows nothing from outside, in any spelling", function()
    for _, url in ipairs {
      "/../outside/", "/%2e%2e/outside/", "/..%2foutside/", "/..%5coutside/", "/sub/../../outside/", "/.%2e/outside/",
      "/link/", "/link", "/sub/%2e%2e/%2e%2e/outside/", "/%252e%252e/outside/", "/%c0%ae%c0%ae/outside/", "/%00/",
      "/.git/", "/%2egit/", "//etc/", "/%2fetc/", "/%/",
    } do
      local response = get(url, "text/plain", { fallthrough = false })
      assert.is_true(response.status == 403 or response.status == 404 or response.status == 400, url)
      assert.is_nil(response.body:find("secret"), url)
    end
    assert.equal(200, get("/.git/", "text/plain", { hidden = true }).status)
  end)

  it("leaves files, other methods and what is not there to the next one", function()
    local app = connect(connect.directory(root), function(_, res) res:finish("next") end)
    for _, line in ipairs { "GET /b.txt", "GET /nothing/", "POST /", "GET /../" } do
      assert.equal("next", ask(app, line).body, line)
    end
    local refused = ask(connect(connect.directory(root, { fallthrough = false })), "POST /")
    assert.same({ 405, "GET, HEAD" }, { refused.status, refused.headers.allow })
  end)

  it("is wrong use without a directory", function()
    assert.error_matches(function() connect.directory(root .. "/b.txt") end, "directory_spec.lua:%d+.*not a directory")
    assert.error_matches(function() connect.directory(root, { hiden = true }) end, "directory_spec.lua:%d+.*hidden")
  end)
end)
