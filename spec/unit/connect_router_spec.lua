-- app:get and its kin: which handler a request gets, with which parameters, and in how many steps it is found.

local fakes = require "spec.unit.connect_fakes"
local connect = require "clua.connect"
local Routes = require "clua.connect.routes"

local function find(routes, method, raw)
  local search = routes:find(method, raw)
  return search.found and search.found.value, search
end

describe("clua.connect.routes", function()
  local routes

  before_each(function() routes = Routes.new() end)

  local function add(method, pattern, value)
    assert(routes:add(method, pattern, value or pattern, "here:1"))
  end

  it("takes the literal before the parameter, that before the wildcard", function()
    add("GET", "/users/new")
    add("GET", "/users/:id")
    add("GET", "/users/*rest")
    assert.equal("/users/new", (find(routes, "GET", "/users/new")))
    assert.equal("/users/:id", (find(routes, "GET", "/users/7")))
    assert.equal("/users/*rest", (find(routes, "GET", "/users/7/posts")))
    assert.falsy((find(routes, "GET", "/users")))
    assert.falsy((find(routes, "GET", "/user")))
  end)

  it("turns back where a branch leads nowhere", function()
    add("GET", "/a/b/c")
    add("GET", "/a/:x/d")
    add("GET", "/:y/b/e")
    assert.equal("/a/b/c", (find(routes, "GET", "/a/b/c")))
    local value, search = find(routes, "GET", "/a/b/d")
    assert.equal("/a/:x/d", value)
    assert.same({ "b" }, search.values)
    value, search = find(routes, "GET", "/a/b/e")
    assert.equal("/:y/b/e", value)
    assert.same("a", search.values[1])
  end)

  it("leaves a method to the less exact path", function()
    add("POST", "/users/new")
    add("GET", "/users/:id")
    assert.equal("/users/:id", (find(routes, "GET", "/users/new")))
    local value, search = find(routes, "DELETE", "/users/new")
    assert.is_nil(value)
    assert.same({ POST = true, GET = true, HEAD = true }, search.allowed)
  end)

  it("sees the same path in all its spellings", function()
    add("GET", "/my files/:name")
    for _, raw in ipairs { "/my%20files/a", "//my%20files//a", "/%6dy%20files/a/", "/my%20files/%61" } do
      local value, search = find(routes, "GET", raw)
      assert.equal("/my files/:name", value, raw)
      assert.equal("a", search.values[1], raw)
    end
    assert.falsy((find(routes, "GET", "/My%20files/a")))
  end)

  it("splits a path with nothing encoded as any other", function()
    add("GET", "/:a/:b")
    add("mount", "/m")
    for _, way in ipairs { "/x/y", "//x/y", "/x///y", "/x/y/", "/x/y//", "/..x/y.", "/x/.y", "/m", "/m/", "//m//z" } do
      local _, plain = find(routes, "GET", way)
      local _, encoded = find(routes, "GET", (way:gsub("[xm]", { x = "%78", m = "%6d" })))
      assert.same(plain.segments, encoded.segments, way)
      assert.equal(plain.found and plain.found.pattern, encoded.found and encoded.found.pattern, way)
      assert.same(plain.values, encoded.values, way)
      if plain.rest then assert.equal(way:sub(plain.rest), encoded.raw:sub(encoded.rest), way) end
    end
    assert.is_true(select(2, find(routes, "GET", "/x/..")).malformed)
    assert.is_true(select(2, find(routes, "GET", "/./x")).malformed)
  end)

  it("takes as many steps with ten thousand routes as with ten", function()
    local function steps_with(count)
      local tree = Routes.new()
      for i = 1, count do
        assert(tree:add("GET", ("/api/v%d/things/:id/parts/:part"):format(i), i, "here"))
        assert(tree:add("GET", ("/api/things%d/:id"):format(i), i, "here"))
      end
      local deep, shallow = tree:find("GET", "/api/v9/things/1/parts/2"), tree:find("GET", "/api/things7/x")
      local none = tree:find("GET", "/api/nothing/here/at/all")
      assert.equal(9, deep.found.value)
      assert.equal(7, shallow.found.value)
      assert.falsy(none.found)
      return { deep.steps, shallow.steps, none.steps }
    end
    local few = steps_with(10)
    assert.same(few, steps_with(10000))
    assert.same({ 7, 4, 2 }, few)
  end)

  it("names both places of a conflict, whatever the parameters are called", function()
    assert(routes:add("GET", "/users/:id", 1, "app.lua:3"))
    local ok, message = routes:add("GET", "/users/:name", 2, "more.lua:9")
    assert.is_nil(ok)
    assert.equal("/users/:name at more.lua:9 and /users/:id at app.lua:3 are the same route", message)
    assert(routes:add("POST", "/users/:name", 2, "more.lua:9"))
    assert(routes:add("GET", "/users/:name/posts", 2, "more.lua:9"))
  end)

  it("refuses patterns that are none", function()
    local wrong = {
      ["users"] = "begins with '/'", ["/:"] = "no name", ["/:id.json"] = "up to the next slash",
      ["/*all/more"] = "last segment", ["/:a/:a"] = "twice", ["/a/../b"] = "no request",
    }
    for pattern, words in pairs(wrong) do
      local ok, message = routes:add("GET", pattern, 1, "here")
      assert.is_nil(ok, pattern)
      assert.truthy(message:find(words, 1, true), message)
    end
  end)

  describe("under attack", function()
    before_each(function()
      add("GET", "/p/:name")
      add("GET", "/files/*path")
    end)

    it("gives no parameter that climbs out of a directory", function()
      for _, raw in ipairs {
        "/p/..", "/p/%2e%2e", "/p/.%2E", "/p/%2e", "/p/..%2fetc%2fpasswd", "/p/..%5cetc", "/p/a%2f..%2f..%2fetc",
        "/p/%00", "/p/a%00.html", "/p/%", "/p/%zz", "/p/%2", "/files/../x", "/files/a/%2e%2e/b", "/files/..%2fx",
        "/files/a/..\\b", "/files/./x",
      } do
        assert.is_true(routes:find("GET", raw).malformed, raw)
      end
      for _, raw in ipairs { "/files/a%2fb", "/files/a%5cb", "/files/..%5c" } do
        assert.is_true(routes:find("GET", raw).malformed, raw)
      end
    end)

    it("decodes once", function()
      local _, search = find(routes, "GET", "/p/%252e%252e%252f")
      assert.equal("%2e%2e%2f", search.values[1])
      _, search = find(routes, "GET", "/p/a%2Fb..c")
      assert.equal("a/b..c", search.values[1])
      _, search = find(routes, "GET", "/files/a/b%20c/")
      assert.equal("a/b c", search.values[1])
    end)
  end)
end)

describe("connect.router", function()
  local function echo(name)
    return function(req, res)
      local words = { name, req.method, req.url }
      local params = {}
      for key, value in pairs(req.params or {}) do params[#params + 1] = key .. "=" .. value end
      table.sort(params)
      res:finish(table.concat(words, " ") .. " " .. table.concat(params, ","))
    end
  end

  it("gives the handler its parameters, and the next middleware the request as it was", function()
    local app = connect()
    app:get("/users/:id/posts/:post", echo "post")
    app:get("/pass/:on", function(req, _, next)
      assert.equal("1", req.params.on)
      next()
    end)
    app:use(function(req, res) res:finish("behind " .. tostring(req.params)) end)
    assert.equal("post GET /users/a%20b/posts/2?q=1 id=a b,post=2", fakes.send(app, "/users/a%20b/posts/2?q=1"):body())
    assert.equal("behind nil", fakes.send(app, "/pass/1"):body())
  end)

  it("runs several handlers of a route in turn", function()
    local app = connect()
    local function allow(req, _, next)
      if req.headers.key ~= "1" then return next { status = 401 } end
      next()
    end
    app:post("/x", allow, echo "x")
    assert.equal(401, fakes.send(app, "/x", { method = "POST" }).statusCode)
    assert.equal("x POST /x ", fakes.send(app, "/x", { method = "POST", headers = { key = "1" } }):body())
  end)

  it("sends an error of a handler to the error middleware", function()
    local app = connect()
    app:get("/one", function() error("broken one", 0) end)
    app:get("/two", function(_, _, next) next() end, function() error("broken two", 0) end)
    app:use(function(err, _, res, _) res:finish("caught " .. err) end)
    assert.equal("caught broken one", fakes.send(app, "/one"):body())
    assert.equal("caught broken two", fakes.send(app, "/two"):body())
  end)

  it("answers 405 with Allow, OPTIONS and HEAD by itself", function()
    local app = connect()
    app:get("/x", echo "get")
    app:put("/x", echo "put")
    local res = fakes.send(app, "/x", { method = "DELETE" })
    assert.equal(405, res.statusCode)
    assert.equal("GET, HEAD, OPTIONS, PUT", res.headers.allow)
    res = fakes.send(app, "/x", { method = "OPTIONS" })
    assert.equal(204, res.statusCode)
    assert.equal("GET, HEAD, OPTIONS, PUT", res.headers.allow)
    assert.equal("get HEAD /x ", fakes.send(app, "/x", { method = "HEAD" }):body())
    assert.equal(404, fakes.send(app, "/y", { method = "OPTIONS" }).statusCode)
    app:patch("/x", echo "patch")
    assert.equal("patch PATCH /x ", fakes.send(app, "/x", { method = "PATCH" }):body())
  end)

  it("decides 405 behind the last of its routes: the right one may stand after a middleware", function()
    local app = connect()
    app:get("/x", echo "get")
    local seen = 0
    app:use(function(_, _, next) seen = seen + 1 next() end)
    app:post("/x", echo "post")
    app:get("/other", echo "other")
    assert.equal("post POST /x ", fakes.send(app, "/x", { method = "POST" }):body())
    local res = fakes.send(app, "/x", { method = "PUT" })
    assert.equal(405, res.statusCode)
    assert.equal("GET, HEAD, OPTIONS, POST", res.headers.allow)
    fakes.send(app, "/x")
    assert.equal(2, seen)
  end)

  it("has a guard between two routes guard the second", function()
    local app = connect()
    app:get("/open", echo "open")
    app:use(function(_, _, next) next { status = 403 } end)
    app:get("/secret", echo "secret")
    assert.equal(200, fakes.send(app, "/open").statusCode)
    assert.equal(403, fakes.send(app, "/secret").statusCode)
  end)

  it("nests by use() and, with parameters, by mount()", function()
    local posts = connect.router()
    posts:get("/", echo "all")
    posts:get("/:post", echo "one")
    local app = connect()
    app:use("/plain", posts)
    app:mount("/users/:id/posts", posts)
    app:use(function(req, res) res:finish("behind " .. req.url) end)
    assert.equal("all GET / ", fakes.send(app, "/plain"):body())
    assert.equal("one GET /3?x post=3", fakes.send(app, "/plain/3?x"):body())
    assert.equal("one GET /3 id=7,post=3", fakes.send(app, "/users/7/posts/3"):body())
    assert.equal("all GET /?x id=7", fakes.send(app, "/users/7/posts?x"):body())
    assert.equal("all GET / id=7", fakes.send(app, "//users/7/posts/"):body())
    assert.equal("behind /users/7/posts/3/4", fakes.send(app, "/users/7/posts/3/4"):body())
    assert.equal(405, fakes.send(app, "/users/7/posts/3", { method = "PUT" }).statusCode)
  end)

  it("gives an error of a mounted function the URL of before the mount", function()
    local app = connect()
    app:mount("/users/:id", function() error { status = 418 } end)
    app:use(function(err, req, res, _)
      res.statusCode = err.status
      res:finish(("%s %s"):format(req.url, tostring(req.params)))
    end)
    assert.equal("/users/7/x nil", fakes.send(app, "/users/7/x"):body())
  end)

  it("has all() for the methods without a route, route() for any", function()
    local app = connect()
    app:get("/x", echo "get")
    app:all("/x", echo "all")
    app:route("PROPFIND", "/dav", echo "dav")
    assert.equal("get GET /x ", fakes.send(app, "/x"):body())
    assert.equal("all DELETE /x ", fakes.send(app, "/x", { method = "DELETE" }):body())
    assert.equal("dav PROPFIND /dav ", fakes.send(app, "/dav", { method = "PROPFIND" }):body())
  end)

  it("answers 400 to a path that is malformed", function()
    local app = connect()
    app:get("/p/:name", echo "p")
    for _, url in ipairs { "/p/%zz", "/p/..%2fx", "/p/%00" } do
      assert.equal(400, fakes.send(app, url).statusCode)
    end
  end)

  it("refuses wrong use with the script's line, and a conflict with both", function()
    local app = connect()
    local function fails(fn, ...)
      local ok, err = pcall(fn, ...)
      assert.is_false(ok)
      return tostring(err)
    end
    app:get("/users/:id", echo "x")
    local text = fails(function() app:get("/users/:name", echo "y") end)
    local first, second = text:match("_spec.lua:%d+: app:get.-_spec.lua:(%d+) and .-_spec.lua:(%d+) are the same")
    assert.equal(tonumber(first) - 1, tonumber(second), text)
    assert.truthy(fails(function() app:get("/x") end):find("router_spec.lua:%d+: app:get.*a handler is needed"))
    assert.truthy(fails(function() app:post("/x", {}) end):find("a function or an app"))
    assert.truthy(fails(function() app:post("x", echo "x") end):find("begins with '/'"))
    assert.truthy(fails(function() app:put("/x", function(_, _, _, _) end) end):find("app:use"))
    assert.truthy(fails(function() app:route("get", "/x", echo "x") end):find("upper case"))
  end)
end)

describe("connect.NAME", function()
  it("loads a middleware when it is asked for, and knows what was meant", function()
    package.loaded["clua.connect.static"] = nil
    rawset(connect, "static", nil)
    assert.equal("function", type(connect.static))
    assert.is_nil(connect.nothing_of_the_kind)
    assert.error_matches(function() return connect.statik end, "connect.static")
  end)
end)
