-- No request, however it spells its path, gets a file from outside of the root. Every attempt is judged twice: by the
-- function that decides, and by what a real directory then hands out.

local fakes = require "spec.unit.connect_fakes"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local uv = require "luv"

local path = require "clua.connect.path"
local static = require "clua.connect.static"

local SECRET = "the secret of the house"

describe("clua.connect.path", function()
  describe("split", function()
    local CASES = {
      { "/", "", "/", "" },
      { "/a/b?c=/d", "", "/a/b", "?c=/d" },
      { "/a?b?c", "", "/a", "?b?c" },
      { "/a#b", "", "/a", "#b" },
      { "", "", "", "" },
      { "*", "", "*", "" },
      { "?x", "", "", "?x" },
      { "http://host/a?b", "http://host", "/a", "?b" },
      { "http://host:80", "http://host:80", "", "" },
      { "http://host?x=/y", "http://host", "", "?x=/y" },
      { "//host/a", "", "//host/a", "" },
      { "/http://host/a", "", "/http://host/a", "" },
    }
    for _, case in ipairs(CASES) do
      it(("cuts %q"):format(case[1]), function()
        assert.same({ case[2], case[3], case[4] }, { path.split(case[1]) })
      end)
    end
  end)

  describe("relative, of harmless paths", function()
    local CASES = {
      { "/", "" },
      { "//", "" },
      { "/a", "a" },
      { "/a/", "a/" },
      { "/a/b.html", "a/b.html" },
      { "//a///b//", "a/b/" },
      { "/a%20b", "a b" },
      { "/%61", "a" },
      { "/%C3%BC", "ü" },
      { "/100%25", "100%" },
      { "/a+b", "a+b" },
      { "/a..b", "a..b" },
      { "/a.", "a." },
      { "/a%3Fb", "a?b" },
      { "/a;b=c", "a;b=c" },
      { "/~user", "~user" },
      { "/C:/windows", "C:/windows" },
    }
    for _, case in ipairs(CASES) do
      it(("%s is %q"):format(case[1], case[2]), function() assert.equal(case[2], (path.relative(case[1]))) end)
    end

    it("allows names that begin with a dot when told so, and only those", function()
      assert.equal(".well-known/x", (path.relative("/.well-known/x", true)))
      assert.equal("...", (path.relative("/...", true)))
      for _, dots in ipairs { "/.", "/..", "/./a", "/../a", "/%2e%2e/a", "/.%2e", "/a/.." } do
        assert.same({ n = 2, nil, 403 }, (function(...) return { n = select("#", ...), ... } end)(
          path.relative(dots, true)))
      end
    end)
  end)

  -- status that relative() gives, or the harmless name that it takes the path for; then the path
  local ATTEMPTS = {
    -- plainly
    { 403, "/../secret.txt" },
    { 403, "/../../../../../../etc/passwd" },
    { 403, "/sub/../../secret.txt" },
    { 403, "/sub/../sub/../../secret.txt" },
    { 403, "/./../secret.txt" },
    { 403, "/sub/./../../secret.txt" },
    { 403, "//../secret.txt" },
    { 403, "///..///secret.txt" },
    { 403, "/.." },
    { 403, "/../" },
    { 400, "../secret.txt" },
    { 400, "secret.txt" },
    { 400, "" },
    { 400, "*" },
    -- encoded once
    { 403, "/%2e%2e/secret.txt" },
    { 403, "/%2E%2E/secret.txt" },
    { 403, "/.%2e/secret.txt" },
    { 403, "/%2e./secret.txt" },
    { 403, "/sub/%2e%2e/%2e%2e/secret.txt" },
    { 400, "/..%2fsecret.txt" },
    { 400, "/..%2Fsecret.txt" },
    { 400, "/%2e%2e%2fsecret.txt" },
    { 400, "/sub%2f..%2f..%2fsecret.txt" },
    { 400, "/%2f%2e%2e%2fsecret.txt" },
    { 400, "/%2fetc%2fpasswd" },
    { 400, "/link%2f..%2fsecret.txt" },
    -- encoded twice and more: decoded once, these are odd names and nothing else
    { "%2e%2e/secret.txt", "/%252e%252e/secret.txt" },
    { "%2E%2E/secret.txt", "/%252E%252E/secret.txt" },
    { "..%2fsecret.txt", "/%2e.%252fsecret.txt", 403 },
    { "%2e%2e%2fsecret.txt", "/%252e%252e%252fsecret.txt" },
    { "%252e%252e/secret.txt", "/%25252e%25252e/secret.txt" },
    { "%2e%2e%5csecret.txt", "/%252e%252e%255csecret.txt" },
    { "x%00.html", "/x%2500.html" },
    -- backslashes
    { 400, "/..\\secret.txt" },
    { 400, "/..%5csecret.txt" },
    { 400, "/..%5Csecret.txt" },
    { 400, "/%2e%2e%5csecret.txt" },
    { 400, "/sub\\..\\..\\secret.txt" },
    { 400, "/\\..\\secret.txt" },
    { 400, "/%5c%5chost%5cshare" },
    -- NUL, which C takes for the end
    { 400, "/..%00/secret.txt" },
    { 400, "/%2e%2e%00/secret.txt" },
    { 400, "/hello.txt%00.html" },
    { 400, "/sub/..%00/..%00/secret.txt" },
    { 400, "/%00" },
    -- malformed escapes are not guessed at
    { 400, "/%" },
    { 400, "/%2" },
    { 400, "/%zz" },
    { 400, "/%2/..%2fsecret.txt" },
    { 400, "/%u002e%u002e/secret.txt" },
    { 400, "/%%32%65%%32%65/secret.txt" },
    { 400, "/%c0%ae%%c0%ae/secret.txt" },
    -- overlong and full-width forms of "." and "/" are other bytes
    { "\192\174\192\174/secret.txt", "/%c0%ae%c0%ae/secret.txt" },
    { "..\192\175secret.txt", "/..%c0%afsecret.txt", 403 },
    { "\224\128\174\224\128\174/secret.txt", "/%e0%80%ae%e0%80%ae/secret.txt" },
    { "\239\188\142\239\188\142/secret.txt", "/%ef%bc%8e%ef%bc%8e/secret.txt" },
    -- more dots, and dots with something behind them
    { 403, "/.../secret.txt" },
    { 403, "/....//secret.txt" },
    { 403, "/..;/secret.txt" },
    { 403, "/..%20/secret.txt" },
    { 403, "/..%09/secret.txt" },
    { 403, "/.%2e;x=y/secret.txt" },
    -- dot files
    { 403, "/.env" },
    { 403, "/%2eenv" },
    { 403, "/.git/config" },
    { 403, "/sub/.htaccess" },
    { 400, "/%2Egit%2Fconfig" },
    -- absolute names, links, and files of the kernel
    { "etc/passwd", "//etc/passwd" },
    { "link", "/link" },
    { "link_dir/secret.txt", "/link_dir/secret.txt" },
    { "link_dir/", "/link_dir/" },
    { "link_dir", "/link_dir" },
    { "link_twin/secret.txt", "/link_twin/secret.txt" },
    { "link_twice", "/link_twice" },
    { "link_proc/self/environ", "/link_proc/self/environ" },
    { "sub/page.html/", "/sub/page.html/" },
  }

  describe("relative, of attempts", function()
    it("knows at least forty", function() assert.is_true(#ATTEMPTS >= 40) end)

    for _, attempt in ipairs(ATTEMPTS) do
      local expected = attempt[3] or attempt[1]
      it(("%q is %s"):format(attempt[2], type(expected) == "number" and expected or "a name"), function()
        local name, status = path.relative(attempt[2])
        assert.equal(expected, name or status)
      end)
    end
  end)

  describe("a real directory", function()
    local dir, count

    local function write(name, text)
      local file = assert(io.open(dir .. "/" .. name, "wb"))
      file:write(text)
      file:close()
    end

    setup(function()
      dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-path-XXXXXX"))
      for _, name in ipairs { "root", "root/sub", "root/.git", "root-twin" } do
        assert(uv.fs_mkdir(dir .. "/" .. name, tonumber("755", 8)))
      end
      for _, name in ipairs { "secret.txt", "root-twin/secret.txt", "root-twin/index.html", "root/.env",
        "root/.git/config", "root/sub/.htaccess" } do
        write(name, SECRET)
      end
      write("root/hello.txt", "hello")
      write("root/sub/page.html", "page")
      assert(uv.fs_symlink("../secret.txt", dir .. "/root/link"))
      assert(uv.fs_symlink("link", dir .. "/root/link_twice"))
      assert(uv.fs_symlink("..", dir .. "/root/link_dir"))
      assert(uv.fs_symlink("../root-twin", dir .. "/root/link_twin"))
      assert(uv.fs_symlink("/proc", dir .. "/root/link_proc"))
      count = proc.count_fds(uv.os_getpid())
    end)

    teardown(function()
      os.execute("rm -rf " .. dir)
      -- The last descriptors are closed in the background.
      loop.wait(function() return proc.count_fds(uv.os_getpid()) <= count end, 5, "descriptors to be closed")
    end)

    it("hands out what it shall", function()
      assert.equal("hello", fakes.send(static(dir .. "/root"), "/hello.txt"):body())
    end)

    for _, attempt in ipairs(ATTEMPTS) do
      it(("hands out nothing for %q"):format(attempt[2]), function()
        for _, method in ipairs { "GET", "HEAD" } do
          for _, fallthrough in ipairs { true, false } do
            local passed = false
            local handler = static(dir .. "/root", { fallthrough = fallthrough })
            local res = fakes.response()
            fakes.run(function()
              handler(fakes.request(attempt[2], { method = method }), res, function() passed = true end)
            end)
            assert.is_true(passed, "answered")
            assert.is_nil(res.headers["content-length"])
            assert.equal("", res:body())
          end
        end
      end)
    end

    it("serves a file whose name is an escape, for the request that means it", function()
      finally(function() os.remove(dir .. "/root/%2e%2e") end)
      write("root/%2e%2e", "odd")
      assert.equal("odd", fakes.send(static(dir .. "/root"), "/%252e%252e"):body())
    end)
  end)
end)
