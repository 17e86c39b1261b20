local fakes = require "spec.unit.connect_fakes"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local uv = require "luv"
local zlib = require "zlib"

local connect = require "clua.connect"
local filename = require "clua.connect.filename"
local multipart_parser = require "clua.connect.multipart_parser"

local B = "----boundary7MA4YWxk"

-- A body of parts { headers, content }; headers without their last line's end.
local function form(parts)
  local out = {}
  for _, part in ipairs(parts) do
    out[#out + 1] = "--" .. B .. "\r\n" .. part[1] .. "\r\n\r\n" .. part[2] .. "\r\n"
  end
  return table.concat(out) .. "--" .. B .. "--\r\n"
end

local function field(name, value, more)
  return { 'Content-Disposition: form-data; name="' .. name .. '"' .. (more or ""), value }
end

local function file(name, text, more)
  return field("upload", text, '; filename="' .. name .. '"' .. (more or ""))
end

-- The text with every plain `old` replaced, or with the first only.
local function replace(text, old, new, count)
  return (text:gsub(old:gsub("%p", "%%%0"), (new:gsub("%%", "%%%%")), count))
end

describe("clua.connect.multipart", function()
  local dir, fds

  setup(function() dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-multipart-XXXXXX")) end)
  teardown(function() os.execute("rm -rf " .. dir) end)
  before_each(function() fds = proc.count_fds(uv.os_getpid()) end)

  local function entries()
    local list, request = {}, assert(uv.fs_scandir(dir))
    for name in function() return uv.fs_scandir_next(request) end do list[#list + 1] = name end
    return list
  end

  -- Whatever happened: no file and no descriptor is left.
  after_each(function()
    loop.wait(function() return #entries() == 0 and proc.count_fds(uv.os_getpid()) <= fds end, 10,
      "files and descriptors to be gone")
  end)

  -- Sends a body; fields and files (with `content`), or nil, status, message.
  local function send(text, given, headers, before_end)
    local all = { dir = dir }
    for name, value in pairs(given or {}) do all[name] = value end
    local request = { ["content-type"] = "multipart/form-data; boundary=" .. B }
    for name, value in pairs(headers or {}) do request[name] = value end
    local req, res = fakes.request("/", { method = "POST", headers = request, body = text }), fakes.response()
    local middleware, fields, files, refusal = connect.multipart(all), nil, nil, nil
    fakes.run(function()
      middleware(req, res, function(err)
        refusal, fields, files = err, req.body, req.files
        for _, upload in ipairs(files or {}) do
          local handle = assert(io.open(upload.path, "rb"))
          upload.content = handle:read("*a")
          handle:close()
        end
        if before_end then before_end(req) end
      end)
    end)
    res:finish()
    if refusal then return nil, refusal.status, refusal.message end
    return fields, files
  end

  it("parses fields and files, in one piece or in many", function()
    local text = form {
      field("a", "1"), field("b", "\195\164\r\n--x"), field("c[d]", ""), field("e", "1"), field("e", "2"),
      file("photo.png", "\137PNG\r\n\0\r\n--", "\r\nContent-Type: image/png"), file("empty.txt", ""),
    }
    local fields = { a = "1", b = "\195\164\r\n--x", c = { d = "" }, e = { "1", "2" } }
    local single = {}
    for i = 1, #text do single[i] = text:sub(i, i) end
    for _, body in ipairs { text, single } do
      local found, files = send(body)
      assert.same(fields, found)
      assert.equal(2, #files)
      assert.equal("upload", files[1].field)
      assert.equal("photo.png", files[1].name)
      assert.equal("image/png", files[1].type)
      assert.equal(11, files[1].size)
      assert.equal("\137PNG\r\n\0\r\n--", files[1].content)
      assert.equal("application/octet-stream", files[2].type)
      assert.equal("", files[2].content)
    end
  end)

  it("finds the boundary wherever the pieces are cut", function()
    local content = "\r\n--" .. B:sub(1, -2) .. "\r\r\n\r\n-\r\n--"
    local text = form { file("x", content), field("a", content) }
    for cut = 1, #text - 1 do
      local found, files = send { text:sub(1, cut), text:sub(cut + 1) }
      assert.equal(content, found.a, "cut at " .. cut)
      assert.equal(content, files[1].content, "cut at " .. cut)
    end
  end)

  it("passes over preamble, epilogue and blanks behind a boundary; takes every boundary of the RFC", function()
    local text = "preamble\r\n" .. replace(form { field("a", "1") }, B .. "\r\n", B .. " \t \r\n", 1) .. "epilogue"
    assert.same({ a = "1" }, (send(text)))
    for _, boundary in ipairs { "x", "a b", "'()+_,-./:=?", ("b"):rep(70) } do
      local body = replace(form { field("a", "1") }, B, boundary)
      local kind = 'Multipart/Form-Data; Boundary="' .. boundary .. '"'
      assert.same({ a = "1" }, (send(body, nil, { ["content-type"] = kind })))
    end
  end)

  it("makes files that only this user can read, and removes them when the request ends", function()
    local path
    send(form { file("a", "x") }, nil, nil, function(req)
      path = req.files[1].path
      assert.equal(384, bit.band(uv.fs_stat(path).mode, 511)) -- 0600
      assert.equal(dir, path:match("^(.*)/"))
    end)
    loop.wait(function() return not uv.fs_stat(path) end, 10, "the file to be removed")
  end)

  it("does not mind a handler that has moved the file", function()
    local kept = dir .. "/../" .. dir:match("[^/]*$") .. "-kept"
    send(form { file("a", "x"), file("b", "y") }, nil, nil, function(req)
      assert(uv.fs_rename(req.files[1].path, kept))
    end)
    loop.wait(function() return #entries() == 0 end, 10, "the other file to be removed")
    assert.is_table(uv.fs_stat(kept))
    os.remove(kept)
  end)

  it("makes no file when none was chosen", function()
    local fields, files = send(form { file("", ""), field("a", "1") })
    assert.same({ a = "1" }, fields)
    assert.same({}, files)
    fields, files = send(form { file("", "content") })
    assert.same({}, fields)
    assert.equal("unnamed", files[1].name)
  end)

  it("leaves other bodies alone", function()
    assert.is_function((send("a=1", nil, { ["content-type"] = "application/x-www-form-urlencoded" })))
    assert.is_function((send("x", nil, { ["content-type"] = "multipart/mixed; boundary=" .. B })))
  end)

  it("undoes a content coding", function()
    local text = zlib.deflate(9, 31)(form { field("a", "1") }, "finish")
    assert.same({ a = "1" }, (send(text, nil, { ["content-encoding"] = "gzip" })))
    local bomb = zlib.deflate(9, 31)(form { file("a", ("\0"):rep(20 * 1024 * 1024)) }, "finish")
    assert.equal(413, (select(2, send(bomb, nil, { ["content-encoding"] = "gzip" }))))
  end)

  describe("refuses by 400:", function()
    local good = form { field("a", "1") }
    local CASES = {
      ["an empty body with blanks"] = "   ",
      ["no boundary in it"] = "nothing here\r\n",
      ["only the last boundary missing"] = good:gsub("%-%-\r\n$", ""),
      ["cut off in the headers"] = good:sub(1, #B + 20),
      ["cut off in the data"] = good:sub(1, -(#B + 8)),
      ["a longer boundary"] = replace(good, B .. "\r\n", B .. "x\r\n", 1),
      ["a boundary that LF ends"] = replace(good, B .. "\r\n", B .. "\n", 1),
      ["no headers"] = "--" .. B .. "\r\n\r\n1\r\n--" .. B .. "--\r\n",
      ["no disposition"] = form { { "Content-Type: text/plain", "1" } },
      ["another disposition"] = form { { 'Content-Disposition: attachment; name="a"', "1" } },
      ["no name"] = form { { "Content-Disposition: form-data", "1" } },
      ["two names"] = form { field("a", "1", '; name="b"') },
      ["two file names"] = form { field("a", "1", '; filename="a"; filename="b"') },
      ["two dispositions"] = form { field("a", "1", '\r\nContent-Disposition: form-data; name="b"') },
      ["a folded header"] = form { field("a", "1", ';\r\n filename="x"') },
      ["a header without a colon"] = form { field("a", "1", "\r\nnonsense") },
      ["a blank before the colon"] = form { field("a", "1", "\r\nX : 1") },
      ["NUL in a header"] = form { field("a\0b", "1") },
      ["a bare LF in a header"] = form { field("a\nb", "1") },
      ["an unended quote"] = form { { 'Content-Disposition: form-data; name="a', "1" } },
      ["garbage behind the quote"] = form { field("a", "1", "x") },
      ["a name that is no UTF-8"] = form { field("\255", "1") },
      ["a value that is no UTF-8"] = form { field("a", "\255") },
      ["a name too deep"] = form { field("a[b][c][d][e][f][g]", "1") },
      ["a name in two ways"] = form { field("a", "1"), field("a[b]", "1") },
    }
    for what, text in pairs(CASES) do
      it(what, function() assert.equal(400, (select(2, send(text)))) end)
    end

    for _, kind in ipairs {
      "multipart/form-data", 'multipart/form-data; boundary=""',
      "multipart/form-data; boundary=" .. ("b"):rep(71), 'multipart/form-data; boundary="a\195\164"',
      'multipart/form-data; boundary="a "', 'multipart/form-data; boundary="a;b"',
    } do
      it("Content-Type: " .. kind, function()
        assert.equal(400, (select(2, send(good, nil, { ["content-type"] = kind }))))
      end)
    end

    it("and leaves nothing of the files that had come before", function()
      assert.equal(400, (select(2, send(form { file("a", "x"), file("b", "y") }:sub(1, -10)))))
    end)
  end)

  it("refuses by 415 what it would have to translate", function()
    assert.equal(415, (select(2, send(form { field("a", "1", "\r\nContent-Transfer-Encoding: base64") }))))
    assert.equal(415, (select(2, send(form { field("a", "1", "\r\nContent-Type: text/plain; charset=utf-16") }))))
    assert.same({ a = "1" }, (send(form { field("a", "1", "\r\nContent-Type: text/plain; charset=UTF-8\r\n"
      .. "Content-Transfer-Encoding: 8BIT") })))
  end)

  describe("limits", function()
    local function fields(count)
      local parts = {}
      for i = 1, count do parts[i] = field("f" .. i, "x") end
      return form(parts)
    end
    local function files(count)
      local parts = {}
      for i = 1, count do parts[i] = file("f" .. i, i % 2 == 0 and "x" or "") end
      return form(parts)
    end
    -- what: text that is just allowed, text that is too much, options
    local CASES = {
      ["the number of fields"] = { fields(3), fields(4), { fields = 3 } },
      ["the number of fields by default"] = { fields(100), fields(101) },
      ["the number of files"] = { files(2), files(3), { files = 2 } },
      ["the number of files by default"] = { files(10), files(11) },
      ["the size of a field"] = { form { field("a", ("x"):rep(10)) }, form { field("a", ("x"):rep(11)) },
        { field_size = 10 } },
      ["the size of a file"] = { form { file("a", ("x"):rep(10)) }, form { file("a", ("x"):rep(11)) },
        { file_size = 10 } },
      ["the size of the whole"] = { form { file("a", ("x"):rep(100)) }, form { file("a", ("x"):rep(101)) },
        { limit = #form { file("a", ("x"):rep(100)) } } },
      ["the size of the headers"] = { form { field("a", "1", "\r\nX: " .. ("x"):rep(300)) },
        form { field("a", "1", "\r\nX: " .. ("x"):rep(500)) }, { header_size = 400 } },
      ["the number of headers"] = { form { field("a", "1", ("\r\nX%d: 1"):format(1)) },
        form { field("a", "1", "\r\nX1: 1\r\nX2: 1") }, { headers = 2 } },
    }
    for what, case in pairs(CASES) do
      it(what, function()
        assert.is_table((send(case[1], case[3])))
        assert.equal(413, (select(2, send(case[2], case[3]))))
      end)
    end

    it("headers without end, before all of them have come", function()
      local pieces = { "--" .. B .. "\r\nX: " }
      for i = 1, 100 do pieces[i + 1] = ("x"):rep(1000) end
      local req = fakes.request("/", { headers = { ["content-type"] = "multipart/form-data; boundary=" .. B },
        body = pieces })
      local refusal
      fakes.run(function()
        connect.multipart { dir = dir }(req, fakes.response(), function(err) refusal = err end)
      end)
      assert.equal(413, refusal.status)
      assert.is_true(#req.pieces > 90)
    end)

    it("many parts without content do not take long", function()
      local before = os.clock()
      local empty = "--" .. B .. "\r\n" .. field("a", "")[1] .. "\r\n\r\n\r\n"
      assert.equal(413, (select(2, send(empty:rep(50000)))))
      assert.is_table((send(empty:rep(5000) .. "--" .. B .. "--", { fields = 5000 })))
      send(form { field("a", ("\r\n--" .. B:sub(1, -2)):rep(3000)) })
      send(("-"):rep(1000000))
      send(form { field("a", "1", "\r\nX: " .. ("x" .. (" "):rep(100000)):rep(10)) }, { header_size = 2e6 })
      filename.sanitize(("a"):rep(100000) .. "/" .. ("."):rep(100000) .. "b" .. (" "):rep(100000) .. "c")
      assert.is_true(os.clock() - before < 5)
    end)
  end)

  it("removes what has come when the client goes away", function()
    local text = form { file("a", ("x"):rep(100000)) }
    local req = fakes.request("/", {
      headers = { ["content-type"] = "multipart/form-data; boundary=" .. B, ["transfer-encoding"] = "chunked" },
      body = { text:sub(1, 50000) }, read_error = { "the client has closed the connection", "ECLOSED" },
    })
    local refusal
    fakes.run(function()
      connect.multipart { dir = dir }(req, fakes.response(), function(err) refusal = err end)
    end)
    assert.equal(400, refusal.status)
  end)

  it("removes the files when the connection ends before the answer", function()
    local req = fakes.request("/", { headers = { ["content-type"] = "multipart/form-data; boundary=" .. B },
      body = form { file("a", "x") } })
    local res = fakes.response()
    fakes.run(function() connect.multipart { dir = dir }(req, res, function() end) end)
    assert.equal(1, #entries())
    res:close()
  end)

  it("is an error, and no fault of the client, when the disk fails", function()
    local gone = dir .. "-gone"
    assert(uv.fs_mkdir(gone, 448))
    local middleware = connect.multipart { dir = gone }
    assert(uv.fs_rmdir(gone))
    local req = fakes.request("/", { headers = { ["content-type"] = "multipart/form-data; boundary=" .. B },
      body = form { file("a", "x") } })
    local ok, message = pcall(fakes.run, function() middleware(req, fakes.response(), error) end)
    assert.is_false(ok)
    assert.truthy(tostring(message):find("cannot make a file in " .. gone, 1, true))
  end)

  it("refuses wrong options", function()
    for given, wanted in pairs {
      [{ dir = "/nowhere/at/all" }] = "option 'dir': ENOENT", [{ dir = "Makefile" }] = "is no directory",
      [{ filesize = 1 }] = "did you mean 'file_size'", [{ files = 1.5 }] = "must be integer",
    } do
      local ok, message = pcall(function() connect.multipart(given) end)
      assert.is_false(ok)
      assert.truthy(tostring(message):find(wanted, 1, true), tostring(message))
      assert.truthy(tostring(message):find("connect_multipart_spec.lua:%d+: "), tostring(message))
    end
  end)
end)

describe("clua.connect.multipart_parser", function()
  -- What a part is called, whatever its headers say.
  local function name_of(disposition)
    local found
    local parser = multipart_parser.new("b", { header_size = 4096, headers = 16 }, {
      part = function(part) found = part end, data = function() end, finish = function() end,
    })
    local refusal = parser:push("--b\r\nContent-Disposition: form-data; name=x; " .. disposition .. "\r\n\r\n\r\n--b--")
    return found and found.filename, refusal
  end

  it("reads file names of all kinds of clients", function()
    for disposition, wanted in pairs {
      ['filename="a b.txt"'] = "a b.txt",
      ["filename=a.txt"] = "a.txt",
      ['filename="a\\"b"'] = 'a"b',
      ['filename="C:\\dir\\x.txt"'] = "C:\\dir\\x.txt",
      ['filename="a\\\\b"'] = "a\\b",
      ['filename="a%22b%0D%0A"'] = 'a"b\r\n',
      ['filename="100%25"'] = "100%25",
      ["filename*=UTF-8''%e2%82%ac%20rates"] = "\226\130\172 rates",
      ["filename*=utf-8'en'%C3%A4"] = "\195\164",
      ["filename*=iso-8859-1''%E4"] = "\195\164",
      ["filename=\"old\"; filename*=UTF-8''new"] = "new",
      ["filename*=UTF-8''new; filename=old"] = "new",
      ["filename=\"old\"; filename*=UTF-8''%zz"] = "old",
      ["filename=\"old\"; filename*=utf-16''new"] = "old",
      ["filename=\"old\"; filename*=nonsense"] = "old",
    } do
      assert.equal(wanted, (name_of(disposition)), disposition)
    end
    assert.equal(400, select(2, name_of "filename=a b").status)
  end)
end)

describe("clua.connect.filename", function()
  it("makes names harmless", function()
    for given, wanted in pairs {
      ["photo.png"] = "photo.png", ["a b.txt"] = "a b.txt", ["\195\164.txt"] = "\195\164.txt",
      ["../../etc/passwd"] = "passwd", ["/etc/passwd"] = "passwd", ["C:\\dir\\x.txt"] = "x.txt",
      ["..\\..\\x"] = "x", [".."] = "unnamed", ["."] = "unnamed", [""] = "unnamed", ["a/"] = "unnamed",
      [".htaccess"] = "htaccess", ["...x"] = "x", ["x. . "] = "x", ["a\0b"] = "ab", ["a\r\nb"] = "ab",
      ["a:b*c?d\"e<f>g|h"] = "a_b_c_d_e_f_g_h", ["con"] = "_con", ["NUL.txt"] = "_NUL.txt", ["com1.log"] = "_com1.log",
      ["console"] = "console", ["\255x"] = "\239\191\189x", ["x\226\128\174gnp.exe"] = "xgnp.exe",
      ["..%2f..%2fx"] = "%2f..%2fx",
    } do
      assert.equal(wanted, filename.sanitize(given), ("%q"):format(given))
    end
  end)

  it("shortens between characters, and keeps the extension", function()
    local name = filename.sanitize(("\226\130\172"):rep(200) .. ".jpeg")
    assert.is_true(#name <= 200)
    assert.truthy(name:find("^[\226\130\172]+%.jpeg$"))
    assert.equal(200, #filename.sanitize(("a"):rep(300)))
    assert.equal(200, #filename.sanitize(("a"):rep(100) .. "." .. ("b"):rep(300)))
  end)
end)
