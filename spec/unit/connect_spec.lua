local fakes = require "spec.unit.connect_fakes"

local async = require "clua.async"
local connect = require "clua.connect"

-- Middlewares that write down that they ran, and go on.
local function note(trail, name)
  return function(req, _, next)
    trail[#trail + 1] = name .. " " .. req.url
    next()
  end
end

local function finish(text)
  return function(_, res) res:finish(text) end
end

describe("clua.connect", function()
  local log, release

  before_each(function() log, release = fakes.capture_log() end)
  after_each(function() release() end)

  describe("the chain", function()
    it("runs middlewares in order until one answers", function()
      local trail = {}
      local app = connect(note(trail, "a"), note(trail, "b"))
      app:use(note(trail, "c")):use(finish "done", note(trail, "never"))
      local res = fakes.send(app, "/x")
      assert.same({ "a /x", "b /x", "c /x" }, trail)
      assert.equal("done", res:body())
    end)

    it("gives every request a chain of its own", function()
      local app = connect()
      local resume
      app:use(function(req, _, next)
        if req.url == "/slow" then resume = next else next() end
      end)
      app:use(function(req, res) res:finish(req.url) end)
      local slow, fast = fakes.response(), fakes.response()
      app(fakes.request("/slow"), slow)
      app(fakes.request("/fast"), fast)
      resume()
      assert.equal("/fast", fast:body())
      assert.equal("/slow", slow:body())
    end)

    it("returns to a middleware when the rest of the chain is done, also when that has waited", function()
      local trail = {}
      local app = connect(function(_, res, next)
        next()
        trail[#trail + 1] = "finished " .. tostring(res.finished)
      end)
      app:use(function(_, res)
        async.sleep(0.001)
        res:finish()
      end)
      fakes.send(app, "/")
      assert.same({ "finished true" }, trail)
    end)

    it("answers 404 in plain text when nobody else does", function()
      local res = fakes.send(connect(), "/<script>")
      assert.equal(404, res.statusCode)
      assert.equal("Not Found\n", res:body())
      assert.equal("10", res.headers["content-length"])
      assert.equal("text/plain; charset=utf-8", res.headers["content-type"])
      assert.same({}, log)
    end)

    it("calls `out` instead of the default answer", function()
      local got
      local res = fakes.response()
      connect():handle(fakes.request("/"), res, function(err) got = { err } end)
      assert.same({}, got)
      assert.is_nil(res.finished)
      connect(function(_, _, next) next("bad") end):handle(fakes.request("/"), res, function(err) got = { err } end)
      assert.same({ "bad" }, got)
    end)

    it("passes over what was answered already when the chain ends", function()
      local res = fakes.send(connect(function(_, res, next)
        res:finish("early")
        next()
      end), "/")
      assert.equal("early", res:body())
    end)

    it("ignores a second next(), and says so", function()
      local count = 0
      local app = connect(function(_, _, next)
        next()
        next()
        next("late error")
      end)
      app:use(function(_, res)
        count = count + 1
        res:finish()
      end)
      fakes.send(app, "/")
      assert.equal(1, count)
      assert.equal(2, #log)
      assert.equal("warn", log[1].level)
      assert.truthy(log[1].text:find("called next() twice", 1, true))
      assert.truthy(log[1].text:find("connect_spec.lua", 1, true))
      assert.truthy(log[2].text:find("late error", 1, true))
    end)

    it("takes next(false) for next()", function()
      assert.equal("fine", fakes.send(connect(function(_, _, next) next(false) end, finish "fine"), "/"):body())
    end)

    it("takes long chains", function()
      local app, count = connect(), 0
      for _ = 1, 500 do
        app:use(function(_, _, next)
          count = count + 1
          next()
        end)
      end
      app:use(finish "end")
      assert.equal("end", fakes.send(app, "/"):body())
      assert.equal(500, count)
    end)
  end)

  describe("errors", function()
    local function boom() error("boom") end

    it("answer 500; the text goes to the log with a traceback, not to the client", function()
      local res = fakes.send(connect(boom), "/path?q")
      assert.equal(500, res.statusCode)
      assert.equal("Internal Server Error\n", res:body())
      assert.equal(1, #log)
      assert.equal("error", log[1].level)
      assert.truthy(log[1].text:find("^cannot answer GET /path%?q: .*connect_spec.lua:%d+: boom\n.*stack traceback:"))
    end)

    it("remove what the failed middleware said of another answer", function()
      local res = fakes.send(connect(function(_, res)
        for _, name in ipairs { "ETag", "Cache-Control", "Content-Encoding", "Last-Modified" } do
          res:setHeader(name, "x")
        end
        res:setHeader("Content-Length", 12345)
        res:setHeader("X-Request-Id", "7")
        error("boom")
      end), "/")
      assert.same({ ["content-length"] = "22", ["content-type"] = "text/plain; charset=utf-8", ["x-request-id"] = "7" },
        res.headers)
    end)

    it("go to the error middleware, past the others", function()
      local trail = {}
      local app = connect(function(_, _, next) next("bad") end, note(trail, "skipped"))
      app:use(function(err, req, res, next)
        trail[#trail + 1] = err .. " " .. req.url .. " " .. type(res) .. " " .. type(next)
        res:finish("handled")
      end)
      assert.equal("handled", fakes.send(app, "/x"):body())
      assert.same({ "bad /x table function" }, trail)
      assert.same({}, log)
    end)

    it("are seen by error middleware that stands behind, not before", function()
      local seen = {}
      local app = connect(function(err, _, _, next)
        seen[#seen + 1] = "before"
        next(err)
      end, boom, function(_, _, res, _)
        seen[#seen + 1] = "behind"
        res:finish()
      end)
      fakes.send(app, "/")
      assert.same({ "behind" }, seen)
    end)

    it("are over when error middleware calls next() without one", function()
      local app = connect(boom, function(_, _, _, next) next() end, finish "recovered")
      assert.equal("recovered", fakes.send(app, "/"):body())
      assert.same({}, log)
    end)

    it("may be replaced by another one in error middleware, raised or passed on", function()
      local app = connect(boom)
      app:use(function(_, _, _, next) next("second") end)
      app:use(function(err, _, _, _) error(err .. " third", 0) end) -- luacheck: ignore
      local last
      app:handle(fakes.request("/"), fakes.response(), function(err) last = err end)
      assert.equal("second third", last)
    end)

    it("keep their traceback when error middleware passes them on", function()
      local app = connect(boom, function(err, _, _, next) next(err) end)
      fakes.send(app, "/")
      assert.truthy(log[1].text:find("stack traceback:", 1, true))
      assert.truthy(log[1].text:find("boom", 1, true))
    end)

    it("do not lend their traceback to another error", function()
      local app = connect(boom, function(_, _, _, next) next("another") end)
      fakes.send(app, "/")
      assert.equal("cannot answer GET /: another", log[1].text)
    end)

    it("raised after waiting reach the chain too", function()
      local got
      local app = connect(function()
        async.sleep(0.001)
        error("late", 0)
      end)
      app:use(function(err, _, res, _)
        got = err
        res:finish()
      end)
      fakes.send(app, "/")
      assert.equal("late", got)
    end)

    it("are shown to the error middleware as they were raised, with the traceback in req.failure", function()
      local raised, got, failure = { code = 42, message = "forty-two" }, nil, nil
      local app = connect(function() error(raised) end)
      app:use(function(err, req, res, _)
        got, failure = err, req.failure
        res:finish()
      end)
      fakes.send(app, "/")
      assert.equal(raised, got)
      assert.equal(raised, failure.value)
      assert.truthy(failure.trace:find("^forty%-two\nstack traceback:"))
    end)

    for name, value in pairs { ["nil"] = { nil }, ["false"] = { false } } do
      it("are errors also when their value is " .. name, function()
        local res = fakes.send(connect(function() error(value[1]) end, finish "missed"), "/")
        assert.equal(500, res.statusCode)
        assert.truthy(log[1].text:find("error without a value", 1, true))
      end)
    end

    for _, case in ipairs {
      { 400, "Bad Request\n" }, { 404, "Not Found\n" }, { 418, "Error 418\n" }, { 503, "Service Unavailable\n" },
    } do
      it("may choose the status " .. case[1], function()
        local res = fakes.send(connect(function(_, _, next) next { status = case[1], message = "secret" } end), "/")
        assert.equal(case[1], res.statusCode)
        assert.equal(case[2], res:body())
        assert.equal(case[1] >= 500 and 1 or 0, #log)
      end)
    end

    for _, status in ipairs { 200, 302, 600, 404.5, 0 / 0, "404", true } do
      it("cannot choose the status " .. tostring(status), function()
        assert.equal(500, fakes.send(connect(function(_, _, next) next { status = status } end), "/").statusCode)
      end)
    end

    it("close the connection when the head of an answer is on its way", function()
      local res = fakes.send(connect(function(_, res)
        res:write("half of the ans")
        error("boom")
      end), "/")
      assert.is_true(res.destroyed)
      assert.is_nil(res.finished)
      assert.equal("half of the ans", res:body())
      assert.equal(1, #log)
    end)

    it("after the end of the answer are logged and change nothing", function()
      local res = fakes.send(connect(function(_, res)
        res:finish("whole")
        error("boom")
      end), "/")
      assert.equal("whole", res:body())
      assert.is_nil(res.destroyed)
      assert.truthy(log[1].text:find("boom", 1, true))
    end)

    it("after next() are logged and reach no error middleware", function()
      local app = connect(function(_, _, next)
        next()
        error("afterwards")
      end)
      app:use(finish "answer"):use(function(_, _, _, _) error("must not be called") end)
      local res = fakes.send(app, "/")
      assert.equal("answer", res:body())
      assert.equal(1, #log)
      assert.truthy(log[1].text:find("afterwards", 1, true))
    end)
  end)

  describe("what makes error middleware", function()
    local function status_with(add)
      local app = connect(function(_, _, next) next("bad") end)
      add(app)
      return fakes.send(app, "/").statusCode
    end

    local function teapot(res)
      res.statusCode = 418
      res:finish()
    end

    it("is four parameters", function()
      assert.equal(418, status_with(function(app) app:use(function(_, _, res, _) teapot(res) end) end))
      assert.equal(500, status_with(function(app) app:use(function(_, res, _) teapot(res) end) end))
    end)

    it("is use_error, or onError, for every function", function()
      for _, name in ipairs { "use_error", "onError" } do
        assert.equal(418, status_with(function(app) app[name](app, function(...) teapot((select(3, ...))) end) end))
        assert.equal(418, status_with(function(app) app[name](app, function(_, _, res) teapot(res) end) end))
      end
    end)

    it("is the parameters of __call behind self", function()
      local handler = setmetatable({}, { __call = function(_, _, _, res, _) teapot(res) end })
      assert.equal(418, status_with(function(app) app:use(handler) end))
    end)

    it("is mounted like the others", function()
      assert.equal(418, status_with(function(app) app:use_error("/", function(_, _, res) teapot(res) end) end))
      assert.equal(500, status_with(function(app) app:use_error("/a", function(_, _, res) teapot(res) end) end))
    end)
  end)

  describe("mounting", function()
    local function show(req, res) res:finish(req.url) end

    -- mount, URL, what the middleware sees (false: it is not called)
    local CASES = {
      { "/admin", "/admin", "/" },
      { "/admin", "/admin/", "/" },
      { "/admin/", "/admin", "/" },
      { "/admin", "/admin?x=1", "/?x=1" },
      { "/admin", "/admin/users/7?x=/y", "/users/7?x=/y" },
      { "/admin", "/admin//users", "//users" },
      { "/admin", "/administrator", false },
      { "/admin", "/admin.json", false },
      { "/admin", "/Admin", false },
      { "/admin", "/", false },
      { "/admin", "/x/admin", false },
      { "/admin", "/?/admin", false },
      { "/admin", "*", false },
      { "/a/b", "/a/b/c", "/c" },
      { "/a/b", "/a", false },
      { "/a/b", "/a/bc", false },
      { "/", "/anything", "/anything" },
      { "/", "*", "*" },
      { "/my files", "/my%20files/a%20b", "/a%20b" },
      -- other spellings of the same path
      { "/admin", "/%61dmin/x", "/x" },
      { "/admin", "/%61%64%6D%69%6e", "/" },
      { "/admin", "//admin/x", "/x" },
      { "/a/b", "/a//b/x", "/x" },
      { "/admin", "/admin%2Fx", false },
      { "/admin", "/%zzadmin", false },
      { "/admin", "http://host/admin/x", "http://host/x" },
      { "/admin", "http://host/admin?q", "http://host/?q" },
      { "/admin", "http://host", false },
    }
    for _, case in ipairs(CASES) do
      it(("at %s of %s shows %s"):format(case[1], case[2], tostring(case[3])), function()
        local res, req = fakes.send(connect():use(case[1], show):use(finish "not called"), case[2])
        assert.equal(case[3] or "not called", res:body())
        assert.equal(case[2], req.originalUrl)
      end)

      it(("at %s restores %s on next()"):format(case[1], case[2]), function()
        local trail = {}
        fakes.send(connect():use(case[1], note({}, "")):use(note(trail, "then")), case[2])
        assert.same({ "then " .. case[2] }, trail)
      end)
    end

    it("restores the URL before error middleware runs, also after an error was raised", function()
      local seen = {}
      local app = connect():use("/a", function() error("x") end)
      app:use("/a/b", function(err, req, _, next)
        seen[#seen + 1] = req.url
        next(err)
      end)
      app:use(function(_, req, res, _)
        seen[#seen + 1] = req.url
        res:finish()
      end)
      fakes.send(app, "/a/b/c?d")
      assert.same({ "/c?d", "/a/b/c?d" }, seen)
    end)

    it("keeps a URL that the middleware has rewritten, behind the mount path", function()
      local trail = {}
      local app = connect():use("/old", function(req, _, next)
        req.url = "/new?y"
        next()
      end)
      app:use(note(trail, "then"))
      fakes.send(app, "/old")
      assert.same({ "then /old/new?y" }, trail)
    end)

    it("nests apps, each with its own part of the path", function()
      local trail = {}
      local inner = connect(note(trail, "inner")):use("/deep", note(trail, "deep"))
      local middle = connect(note(trail, "middle")):use("/in", inner)
      local app = connect():use("/mid", middle):use(note(trail, "outer"))
      local res = fakes.send(app, "/mid/in/deep/x")
      assert.same({ "middle /in/deep/x", "inner /deep/x", "deep /x", "outer /mid/in/deep/x" }, trail)
      assert.equal(404, res.statusCode)
    end)

    it("hands the error of a nested app to the outer one, with its traceback", function()
      local inner = connect(function() error("inner error") end)
      local got
      local app = connect():use("/in", inner)
      app:use(function(err, req, _, next)
        got = req.url
        next(err)
      end)
      fakes.send(app, "/in/x")
      assert.equal("/in/x", got)
      assert.truthy(log[1].text:find("inner error\n.*stack traceback:"))
    end)

    it("takes the error middleware of a nested app for that app only", function()
      local inner = connect():use(function(_, _, _, _) error("must not be called") end)
      local app = connect(function(_, _, next) next { status = 400 } end):use(inner)
      assert.equal(400, fakes.send(app, "/").statusCode)
    end)
  end)

  describe("wrong use", function()
    local CASES = {
      { function() connect():use() end, "app:use%(%[path,%] middleware%.%.%.%): a middleware is" },
      { function() connect():use("/x") end, "a middleware is needed" },
      { function() connect():use("x", finish "") end, 'a path begins with "/", got "x"' },
      { function() connect():use({}) end, "a middleware is a function or an app, got table" },
      { function() connect():use("/x", finish "", 7) end, "got number" },
      { function() connect():use("/x", finish "", nil) end, "got nil" },
      { function() connect(nil) end, "connect%(middleware%.%.%.%): .*got nil" },
      { function() connect():use_error(nil) end, "app:use_error%(.*got nil" },
    }
    for i, case in ipairs(CASES) do
      it(("no. %d is an error at the caller's line: %s"):format(i, case[2]), function()
        local ok, message = pcall(case[1])
        assert.is_false(ok)
        message = tostring(message)
        assert.truthy(message:find(case[2]), message)
        assert.truthy(message:find("connect_spec.lua:%d+:"), message)
      end)
    end
  end)

  it("loads a middleware when it is asked for, and knows what a wrong name should have been", function()
    assert.equal(require "clua.connect.static", connect.static)
    local ok, message = pcall(function() return connect.statik end)
    assert.is_false(ok)
    assert.truthy(message:find("connect_spec.lua:%d+: there is no connect.statik, did you mean connect.static?"))
    assert.is_nil(connect.somethingElseAltogether)
  end)
end)
