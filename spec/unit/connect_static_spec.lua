local fakes = require "spec.unit.connect_fakes"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local uv = require "luv"

local connect = require "clua.connect"
local static = require "clua.connect.static"

local BIG = ("0123456789abcdef"):rep(20000) -- 320,000 bytes: five pieces

describe("clua.connect.static", function()
  local dir, root, fds, log, release

  local function write(name, text)
    local file = assert(io.open(dir .. "/" .. name, "wb"))
    file:write(text)
    file:close()
  end

  setup(function()
    dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-static-XXXXXX"))
    root = dir .. "/root"
    for _, name in ipairs { "root", "root/sub", "root/empty", "root/.dir", "outside" } do
      assert(uv.fs_mkdir(dir .. "/" .. name, tonumber("755", 8)))
    end
    write("root/index.html", "<p>home")
    write("root/hello.txt", "hello\n")
    write("root/a b.txt", "space")
    write("root/nothing.css", "")
    write("root/README", "read me")
    write("root/.hidden", "hidden")
    write("root/.dir/file.txt", "in hidden")
    write("root/sub/index.html", "<p>sub")
    write("root/sub/main.html", "<p>main")
    write("root/big.bin", BIG)
    write("outside/secret.txt", "secret")
    assert(uv.fs_symlink("hello.txt", root .. "/link.txt"))
    assert(uv.fs_symlink("sub", root .. "/link_sub"))
    assert(uv.fs_symlink("../outside", root .. "/link_out"))
    assert(uv.fs_symlink("loop", root .. "/loop"))
    assert(os.execute("mkfifo " .. root .. "/pipe") == 0)
  end)

  teardown(function() os.execute("rm -rf " .. dir) end)

  before_each(function()
    log, release = fakes.capture_log()
    fds = proc.count_fds(uv.os_getpid())
  end)

  -- Every path through the module gives its descriptor back.
  after_each(function()
    release()
    loop.wait(function() return proc.count_fds(uv.os_getpid()) <= fds end, 5, "descriptors to be closed")
  end)

  local function get(url, request, given)
    local options = request or {}
    return fakes.send(connect(static(root, given)), url, options)
  end

  describe("a file", function()
    it("is sent with its length, type, tag and date", function()
      local res = get "/hello.txt"
      assert.equal(200, res.statusCode)
      assert.equal("hello\n", res:body())
      assert.equal("6", res.headers["content-length"])
      assert.equal("text/plain; charset=utf-8", res.headers["content-type"])
      assert.truthy(res.headers.etag:find('^"[%x.-]+"$'))
      assert.truthy(res.headers["last-modified"]:find("^%a+, %d%d %a+ %d%d%d%d [%d:]+ GMT$"))
      assert.equal("public, max-age=0", res.headers["cache-control"])
      assert.is_true(res.finished)
    end)

    it("may be empty", function()
      local res = get "/nothing.css"
      assert.equal("", res:body())
      assert.equal("0", res.headers["content-length"])
      assert.is_true(res.finished)
    end)

    it("is found by an encoded name, and without the query", function()
      assert.equal("space", get("/a%20b.txt"):body())
      assert.equal("space", get("/a%20b.txt?x=/../y"):body())
      assert.equal("hello\n", get("http://host/hello.txt"):body())
    end)

    it("of unknown kind is bytes", function()
      assert.equal("application/octet-stream", get("/README").headers["content-type"])
    end)

    it("may be a link that stays inside", function()
      assert.equal("hello\n", get("/link.txt"):body())
      assert.equal("<p>main", get("/link_sub/main.html"):body())
    end)

    it("goes out in pieces", function()
      local res = get "/big.bin"
      assert.equal(BIG, res:body())
      assert.equal(5, #res.pieces)
      assert.equal(tostring(#BIG), res.headers["content-length"])
    end)

    it("is dropped when the client goes away, without an error", function()
      local res = get("/big.bin", { gone_after = 2 })
      assert.equal(2, #res.pieces)
      assert.is_nil(res.finished)
      assert.same({}, log)
    end)

    it("that shrinks while it is sent ends with the connection, not with a short answer", function()
      write("root/shrinks.bin", BIG)
      finally(function() os.remove(root .. "/shrinks.bin") end)
      local res = fakes.response()
      local send = res.write
      function res:write(bytes)
        write("root/shrinks.bin", "short")
        return send(self, bytes)
      end
      fakes.run(function() connect(static(root))(fakes.request("/shrinks.bin"), res) end)
      assert.is_true(res.destroyed)
      assert.is_nil(res.finished)
      assert.truthy(log[1].text:find("the file has shrunk to 65536 of 320000 bytes", 1, true))
    end)

    it("that grows while it is sent is sent to the length that was announced", function()
      write("root/grows.bin", BIG)
      finally(function() os.remove(root .. "/grows.bin") end)
      local res = fakes.response()
      local send = res.write
      function res:write(bytes)
        write("root/grows.bin", BIG .. "more")
        return send(self, bytes)
      end
      fakes.run(function() connect(static(root))(fakes.request("/grows.bin"), res) end)
      assert.equal(#BIG, #res:body())
    end)

    it("is closed when writing raises an error", function()
      local res = fakes.response()
      function res.write() error("broken answer") end
      fakes.run(function() connect(static(root))(fakes.request("/big.bin"), res) end)
      assert.equal(500, res.statusCode)
      assert.truthy(log[1].text:find("broken answer", 1, true))
    end)
  end)

  describe("HEAD", function()
    it("has the headers of GET and no body", function()
      local head, got = get("/big.bin", { method = "HEAD" }), get "/big.bin"
      assert.same(got.headers, head.headers)
      assert.equal("", head:body())
      assert.is_true(head.finished)
    end)
  end)

  describe("conditional requests", function()
    it("answer 304 with the tag and the date, without a body or its headers", function()
      local etag = get("/hello.txt").headers.etag
      for _, method in ipairs { "GET", "HEAD" } do
        local res = get("/hello.txt", { method = method, headers = { ["if-none-match"] = etag } })
        assert.equal(304, res.statusCode)
        assert.equal("", res:body())
        assert.is_true(res.finished)
        assert.equal(etag, res.headers.etag)
        assert.equal("public, max-age=0", res.headers["cache-control"])
        assert.truthy(res.headers["last-modified"])
        assert.is_nil(res.headers["content-length"])
        assert.is_nil(res.headers["content-type"])
      end
    end)

    it("answer 304 to the date of the last answer", function()
      local modified = get("/hello.txt").headers["last-modified"]
      assert.equal(304, get("/hello.txt", { headers = { ["if-modified-since"] = modified } }).statusCode)
    end)

    it("answer the new file once it has changed, within the same second too", function()
      write("root/changes.txt", "one")
      finally(function() os.remove(root .. "/changes.txt") end)
      assert(uv.fs_utime(root .. "/changes.txt", 1000.25, 1000.25))
      local before = get("/changes.txt").headers
      write("root/changes.txt", "two")
      assert(uv.fs_utime(root .. "/changes.txt", 1000.75, 1000.75))
      local res = get("/changes.txt", { headers = { ["if-none-match"] = before.etag,
        ["if-modified-since"] = before["last-modified"] } })
      assert.equal(200, res.statusCode)
      assert.equal("two", res:body())
    end)

    it("answer another file of the same size and time that was renamed over it", function()
      write("root/replaced.txt", "one")
      write("root/replacement.txt", "two")
      finally(function() os.remove(root .. "/replaced.txt") end)
      for _, name in ipairs { "replaced", "replacement" } do
        assert(uv.fs_utime(root .. "/" .. name .. ".txt", 1000, 1000))
      end
      local etag = get("/replaced.txt").headers.etag
      assert(uv.fs_rename(root .. "/replacement.txt", root .. "/replaced.txt"))
      assert.equal("two", get("/replaced.txt", { headers = { ["if-none-match"] = etag } }):body())
    end)

    it("answer 412 when the client insists on another state", function()
      local res = get("/hello.txt", { headers = { ["if-match"] = '"old"' } })
      assert.equal(412, res.statusCode)
      assert.equal("Precondition Failed\n", res:body())
      assert.is_nil(res.headers.etag)
    end)
  end)

  describe("a directory", function()
    it("is its index", function()
      assert.equal("<p>home", get("/"):body())
      assert.equal("<p>sub", get("/sub/"):body())
      assert.equal("<p>sub", get("/sub/?x"):body())
      assert.equal("text/html; charset=utf-8", get("/").headers["content-type"])
    end)

    it("without an index is not found", function()
      assert.equal(404, get("/empty/").statusCode)
    end)

    it("has the index that the option names, or none", function()
      assert.equal("<p>main", get("/sub/", nil, { index = "main.html" }):body())
      assert.equal(404, get("/", nil, { index = false }).statusCode)
    end)

    local REDIRECTS = {
      { "/sub", "/sub/" },
      { "/sub?a=b&c", "/sub/?a=b&c" },
      { "/%73ub", "/%73ub/" },
      { "/link_sub", "/link_sub/" },
      { "//sub", "/sub/" },
      { "////sub", "/sub/" },
      { "http://evil.example/sub", "/sub/" },
    }
    for _, case in ipairs(REDIRECTS) do
      it(("named %s leads to %s, on this host"):format(case[1], case[2]), function()
        local res = get(case[1])
        assert.equal(301, res.statusCode)
        assert.equal(case[2], res.headers.location)
        assert.is_true(res.finished)
      end)
    end

    it("of the name of a host does not lead there", function()
      assert(uv.fs_mkdir(root .. "/evil.example", tonumber("755", 8)))
      finally(function() uv.fs_rmdir(root .. "/evil.example") end)
      for _, url in ipairs { "//evil.example", "///evil.example", "/.//evil.example", "/\\evil.example",
        "//evil.example?x" } do
        local location = get(url).headers.location
        assert.truthy(not location or location:find("^/[^/\\]"), location)
      end
    end)

    it("mounted leads to its path as the client knows it", function()
      local app = connect():use("/docs", static(root))
      assert.equal("/docs/sub/", fakes.send(app, "/docs/sub").headers.location)
      assert.equal("/docs/", fakes.send(app, "/docs").headers.location)
      assert.equal("/docs/?x", fakes.send(app, "/docs?x").headers.location)
      assert.equal("<p>home", fakes.send(app, "/docs/"):body())
      assert.equal("<p>sub", fakes.send(app, "/docs/sub/"):body())
    end)
  end)

  describe("what is not for static", function()
    -- status without fallthrough, method, URL
    local CASES = {
      { 404, "GET", "/missing" },
      { 404, "GET", "/missing/" },
      { 404, "GET", "/hello.txt/" },
      { 404, "GET", "/hello.txt/more" },
      { 404, "GET", "/" .. ("x"):rep(300) },
      { 404, "GET", "/loop" },
      { 403, "GET", "/pipe" },
      { 403, "GET", "/link_out/secret.txt" },
      { 403, "GET", "/link_out" },
      { 403, "GET", "/link_out/", 404 },
      { 403, "GET", "/.hidden" },
      { 403, "GET", "/.dir/file.txt" },
      { 400, "GET", "/%zz" },
      { 405, "POST", "/hello.txt" },
      { 405, "OPTIONS", "*" },
      { 405, "get", "/hello.txt" },
    }
    for _, case in ipairs(CASES) do
      local status = case[4] or case[1]
      it(("%s %s goes to the next middleware"):format(case[2], case[3]:sub(1, 30)), function()
        local app = connect(static(root), function(_, res) res:finish("next") end)
        assert.equal("next", fakes.send(app, case[3], { method = case[2] }):body())
      end)

      it(("%s %s answers %d without fallthrough"):format(case[2], case[3]:sub(1, 30), status), function()
        local app = connect(static(root, { fallthrough = false }), function(_, res) res:finish("next") end)
        local res = fakes.send(app, case[3], { method = case[2] })
        assert.equal(status, res.statusCode)
        assert.equal(case[1] == 405 and "GET, HEAD" or nil, res.headers.allow)
      end)
    end

    it("is answered by static itself when it is the only handler", function()
      assert.equal(404, fakes.send(static(root), "/missing").statusCode)
      assert.equal("hello\n", fakes.send(static(root), "/hello.txt"):body())
    end)
  end)

  describe("what is opened without a thread", function()
    local function threads_used(url)
      local open, count = uv.fs_open, 0
      uv.fs_open = function(...) -- luacheck: ignore 122
        count = count + 1
        return open(...)
      end
      local ok, res = pcall(get, url)
      uv.fs_open = open -- luacheck: ignore 122
      assert.is_true(ok, res)
      return count, res
    end

    it("is what the kernel has in its cache: files, folders, and that a name is not there", function()
      get "/hello.txt"
      local fd, message, code = require("clua.core.http").open_cached(root .. "/hello.txt")
      if not fd and code ~= "ENOENT" then return pending("openat2() is no help here: " .. message) end
      uv.fs_close(fd)
      for url, status in pairs { ["/sub/main.html"] = 200, ["/sub"] = 301, ["/nowhere"] = 404, ["/pipe"] = 404 } do
        get(url)
        local count, res = threads_used(url)
        assert.same({ 0, status }, { count, res.statusCode }, url)
      end
    end)

    it("has the tag that a thread sees", function()
      assert.equal(get("/link.txt").headers.etag, get("/hello.txt").headers.etag)
      assert.equal(get("/link.txt").headers["last-modified"], get("/hello.txt").headers["last-modified"])
    end)

    it("is nothing with a symbolic link in it", function()
      for _, url in ipairs { "/link.txt", "/link_sub/main.html" } do
        local count, res = threads_used(url)
        assert.equal(1, count, url)
        assert.equal(200, res.statusCode)
      end
    end)

    it("is nothing on a kernel or under a filter that cannot", function()
      local core = require "clua.core.http"
      local real = core.open_cached
      for _, code in ipairs { "ENOSYS", "EPERM", "EINVAL", "EAGAIN" } do
        core.open_cached = function(path) return nil, code .. ": " .. path, code end
        local ok, count, res = pcall(threads_used, "/hello.txt")
        core.open_cached = real
        assert.is_true(ok, count)
        assert.same({ 1, 200, "hello\n" }, { count, res.statusCode, res:body() })
      end
    end)

    it("is nothing on a file system that has to ask somebody", function()
      local core = require "clua.core.http"
      local is_remote = core.is_remote
      assert.is_false(is_remote(root))
      core.is_remote = function() return true end
      finally(function()
        core.is_remote = is_remote
        static(root)
      end)
      local count, res = threads_used("/hello.txt")
      assert.same({ 1, 200 }, { count, res.statusCode })
    end)

    it("is found when the root has been removed and made again", function()
      assert(uv.fs_mkdir(dir .. "/built", tonumber("755", 8)))
      local handler = static(dir .. "/built", { fallthrough = false })
      assert.equal(404, fakes.send(handler, "/page.html").statusCode)
      assert(uv.fs_rmdir(dir .. "/built"))
      assert(uv.fs_mkdir(dir .. "/built", tonumber("755", 8)))
      write("built/page.html", "<p>new")
      assert.equal("<p>new", fakes.send(handler, "/page.html"):body())
    end)
  end)

  describe("trouble of our own", function()
    it("is an error, with and without fallthrough", function()
      for _, fallthrough in ipairs { true, false } do
        local open = uv.fs_open
        uv.fs_open = function(_, _, _, callback) callback("EMFILE: too many open files: x") end -- luacheck: ignore 122
        local ok, res = pcall(get, "/link.txt", nil, { fallthrough = fallthrough })
        uv.fs_open = open -- luacheck: ignore 122
        assert.is_true(ok)
        assert.equal(500, res.statusCode)
        assert.truthy(log[#log].text:find("EMFILE: too many open files", 1, true))
      end
    end)

    for _, name in ipairs { "fs_fstat", "fs_readlink", "fs_read" } do
      it(("in %s closes the file"):format(name), function()
        local real = uv[name]
        uv[name] = function(...) select(-1, ...)("EIO: i/o error") end
        local ok, res = pcall(get, "/link.txt")
        uv[name] = real
        assert.is_true(ok)
        assert.equal(500, res.statusCode)
        assert.truthy(log[1].text:find("EIO", 1, true))
      end)
    end
  end)

  describe("options", function()
    it("max_age says how long an answer may be kept", function()
      assert.equal("public, max-age=3600", get("/", nil, { max_age = 3600 }).headers["cache-control"])
      assert.is_nil(get("/", nil, { max_age = false }).headers["cache-control"])
    end)

    it("dotfiles serves them", function()
      assert.equal("hidden", get("/.hidden", nil, { dotfiles = true }):body())
      assert.equal("in hidden", get("/.dir/file.txt", nil, { dotfiles = true }):body())
      assert.equal(404, get("/../outside/secret.txt", nil, { dotfiles = true }).statusCode)
    end)

    it("the root may be a link, and relative, and end with a slash", function()
      assert(uv.fs_symlink("root", dir .. "/current"))
      finally(function() os.remove(dir .. "/current") end)
      local cwd = uv.cwd()
      assert(uv.chdir(dir))
      local handlers = { static("current"), static("./root/") }
      assert(uv.chdir(cwd))
      for _, handler in ipairs(handlers) do assert.equal("hello\n", fakes.send(handler, "/hello.txt"):body()) end
    end)

    it("the root may be the root", function()
      assert.equal("hello\n", fakes.send(static("/"), root .. "/hello.txt"):body())
    end)

    local WRONG = {
      { function() static() end, "root must be the path of a directory, got nil" },
      { function() static(dir .. "/nowhere") end, "ENOENT" },
      { function() static(root .. "/hello.txt") end, "hello.txt is not a directory" },
      { function() static(root, { maxage = 1 }) end, "unknown option 'maxage', did you mean 'max_age'" },
      { function() static(root, { max_age = "1" }) end, "max_age" },
      { function() static(root, { max_age = -1 }) end, "max_age" },
      { function() static(root, { max_age = true }) end, "max_age' must be a number of seconds or false" },
      { function() static(root, { index = true }) end, "'index' must be a file name or false" },
      { function() static(root, { index = "" }) end, "'index' must be a file name or false" },
      { function() static(root, { index = "../x" }) end, "'index' must be a file name or false" },
      { function() static(root, { dotfiles = "allow" }) end, "dotfiles" },
      { function() static(root, 7) end, "options must be a table" },
    }
    for i, case in ipairs(WRONG) do
      it(("no. %d is refused at the caller's line: %s"):format(i, case[2]), function()
        local ok, message = pcall(function()
          case[1]()
        end)
        assert.is_false(ok)
        message = tostring(message)
        assert.truthy(message:find(case[2], 1, true), message)
        assert.truthy(message:find("connect_static_spec.lua:%d+:"), message)
      end)
    end
  end)
end)
