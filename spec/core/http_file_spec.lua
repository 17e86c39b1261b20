local uv = require "luv"
local connect = require "clua.connect"
local http = require "clua.http"
local peer = require "spec.support.http_peer"
local proc = require "spec.support.proc"

describe("res:sendFile", function()
  local directory, client, server, given, result

  local function write(name, bytes)
    local handle = assert(io.open(directory .. "/" .. name, "wb"))
    handle:write(bytes)
    handle:close()
  end

  local function get(path, headers, method)
    return client:request(("%s /%s HTTP/1.1\r\nHost: a\r\n%s\r\n"):format(method or "GET", path, headers or ""))
  end

  setup(function()
    directory = assert(uv.fs_mkdtemp("/tmp/clua-http-XXXXXX"))
    write("digits.txt", "0123456789")
    write("empty.bin", "")
    write("page.html", "plain")
    write("page.html.gz", "gzipped")
    write("page.html.br", "brotli")
    write("large.bin", ("0123456789abcdef"):rep(512 * 1024))
    uv.fs_mkdir(directory .. "/folder", 448)
    os.execute("mkfifo " .. directory .. "/fifo")
    server = http.createServer(function(req, res)
      result = { res:sendFile(directory .. req.url, given) }
    end)
  end)

  teardown(function() os.execute("rm -r " .. directory) end)

  before_each(function()
    given, result = nil, nil
    client = peer.connect(server)
  end)

  after_each(function() client:close() end)

  it("sends type, length, validators and body", function()
    local response = get "digits.txt"
    assert.equal(200, response.status)
    assert.equal("0123456789", response.body)
    assert.equal("10", response.headers["content-length"])
    assert.equal("text/plain; charset=utf-8", response.headers["content-type"])
    assert.equal("bytes", response.headers["accept-ranges"])
    assert.truthy(response.headers.etag:match('^"[^"]+"$'))
    assert.truthy(response.headers["last-modified"]:match("GMT$"))
    assert.is_true(result[1])
    assert.equal("", get("empty.bin").body)
    assert.equal("0123456789", get("digits.txt").body)
  end)

  it("sends large files to slow and fast readers, one after the other", function()
    assert.equal(8 * 1024 * 1024, #get("large.bin").body)
    client.handle:read_stop()
    client:send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\nGET /digits.txt HTTP/1.1\r\nHost: a\r\n\r\n"):turn(5)
    local pieces, received = {}, 0
    client.handle:read_start(function(_, bytes)
      pieces[#pieces + 1] = bytes
      received = received + #bytes
    end)
    client:wait(function() return received > 8388608 + 300 and pieces[#pieces]:match("0123456789$") end)
    client.text = table.concat(pieces)
    assert.equal(("0123456789abcdef"):rep(512 * 1024), client:take().body)
    assert.equal("0123456789", client:take().body)
  end)

  it("sends only the head to HEAD", function()
    local response = get("digits.txt", "", "HEAD")
    assert.equal("10", response.headers["content-length"])
    assert.equal("0123456789", get("digits.txt").body)
  end)

  it("answers conditions", function()
    local first = get "digits.txt"
    assert.equal(304, get("digits.txt", "If-None-Match: " .. first.headers.etag .. "\r\n").status)
    assert.equal(200, get("digits.txt", 'If-None-Match: "other"\r\n').status)
    assert.equal(304, get("digits.txt", "If-Modified-Since: " .. first.headers["last-modified"] .. "\r\n").status)
    assert.equal(412, get("digits.txt", 'If-Match: "other"\r\n').status)
    assert.equal("0123456789", get("digits.txt").body)
  end)

  it("sends one range", function()
    local ranges = { ["0-3"] = "0123", ["4-"] = "456789", ["-2"] = "89", ["8-99"] = "89", ["5-5"] = "5" }
    for spec, wanted in pairs(ranges) do
      local response = get("digits.txt", "Range: bytes=" .. spec .. "\r\n")
      assert.equal(206, response.status)
      assert.equal(wanted, response.body)
    end
    assert.equal("bytes 4-9/10", get("digits.txt", "Range: bytes=4-\r\n").headers["content-range"])
  end)

  it("sends several ranges", function()
    local response = get("digits.txt", "Range: bytes=0-1, 8-\r\n")
    assert.equal(206, response.status)
    local boundary = response.headers["content-type"]:match("^multipart/byteranges; boundary=(%x+)$")
    local part = "\r\n--" .. boundary .. "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes "
    assert.equal(part .. "0-1/10\r\n\r\n01" .. part .. "8-9/10\r\n\r\n89\r\n--" .. boundary .. "--\r\n", response.body)
    assert.equal("0123456789", get("digits.txt").body)
  end)

  it("answers 416 to what lies outside, and ignores what is malformed", function()
    local response = get("digits.txt", "Range: bytes=10-\r\n")
    assert.equal(416, response.status)
    assert.equal("bytes */10", response.headers["content-range"])
    assert.equal(416, get("empty.bin", "Range: bytes=0-\r\n").status)
    for _, header in ipairs { "bytes=3-1", "bytes=a-b", "bytes=", "lines=0-1", "bytes=0-9,0-9", "bytes=1" } do
      response = get("digits.txt", "Range: " .. header .. "\r\n")
      assert.equal(200, response.status)
      assert.equal("0123456789", response.body)
    end
  end)

  it("heeds If-Range", function()
    local first = get "digits.txt"
    local range = "Range: bytes=0-1\r\nIf-Range: "
    assert.equal("01", get("digits.txt", range .. first.headers.etag .. "\r\n").body)
    assert.equal("0123456789", get("digits.txt", range .. '"other"\r\n').body)
    assert.equal("0123456789", get("digits.txt", range .. "W/" .. first.headers.etag .. "\r\n").body)
    assert.equal("01", get("digits.txt", range .. first.headers["last-modified"] .. "\r\n").body)
    assert.equal("0123456789", get("digits.txt", range .. "Sun, 06 Nov 1994 08:49:37 GMT\r\n").body)
  end)

  it("sends the stored variant that the client wants most", function()
    local function coding(header)
      local response = get("page.html", header and "Accept-Encoding: " .. header .. "\r\n")
      assert.equal("text/html; charset=utf-8", response.headers["content-type"])
      return (response.headers["content-encoding"] or "none") .. " " .. response.body
    end
    assert.equal("none plain", coding())
    assert.equal("br brotli", coding "gzip, deflate, br")
    assert.equal("gzip gzipped", coding "gzip")
    assert.equal("gzip gzipped", coding "br;q=0.5, gzip;q=0.8")
    assert.equal("gzip gzipped", coding "br;q=0, *")
    assert.equal("none plain", coding "identity, gzip;q=0")
    assert.equal("Accept-Encoding", get("page.html", "Accept-Encoding: br\r\n").headers.vary)
    given = { precompressed = false }
    assert.equal("none plain", coding "br")
  end)

  it("answers for a file that is not there", function()
    assert.equal(404, get("missing").status)
    assert.same({ nil, "ENOENT" }, { result[1], result[3] })
    assert.equal(404, get("folder").status)
    assert.equal(404, get("fifo").status)
    given = { root = directory }
    assert.equal(403, get("../etc/passwd").status)
  end)

  it("takes a type and an age", function()
    given = { type = "text/x-mine", maxAge = 60 }
    local response = get "digits.txt"
    assert.equal("text/x-mine", response.headers["content-type"])
    assert.equal("max-age=60", response.headers["cache-control"])
  end)

  it("sends the whole of a file that vanishes meanwhile", function()
    write("vanishing.bin", ("x"):rep(8 * 1024 * 1024))
    client.handle:read_stop()
    client:send("GET /vanishing.bin HTTP/1.1\r\nHost: a\r\n\r\n"):turn(3)
    assert(os.remove(directory .. "/vanishing.bin"))
    assert.is_nil(result)
    local received = 0
    client.handle:read_start(function(_, bytes) received = received + (bytes and #bytes or 0) end)
    client:wait(function() return received > 8 * 1024 * 1024 and result end, "the whole file")
    assert.is_true(result[1])
    client.handle:read_start(function(_, bytes) client.text = client.text .. (bytes or "") end)
    assert.equal(404, get("vanishing.bin").status)
  end)

  it("ends the connection when the file shrinks", function()
    write("shrinking.bin", ("x"):rep(8 * 1024 * 1024))
    client.handle:read_stop()
    client:send("GET /shrinking.bin HTTP/1.1\r\nHost: a\r\n\r\n"):turn(3)
    write("shrinking.bin", "short")
    local received = 0
    client.handle:read_start(function(_, bytes)
      if bytes then received = received + #bytes else client.closed = "eof" end
    end)
    client:wait_closed()
    assert(received < 8 * 1024 * 1024)
    assert.same({ nil, "ECLOSED" }, { result[1], result[3] })
  end)

  it("sends files of every size around the one that is copied, alone and pipelined", function()
    local text, wanted = "", {}
    for _, size in ipairs { 1, 8191, 8192, 8193, 16384, 8192, 8192, 8192, 5 } do
      local name, bytes = size .. ".bin", ("0123456789abcdef"):rep(1024):sub(1, size)
      write(name, bytes)
      assert.equal(bytes, get(name).body)
      text, wanted[#wanted + 1] = text .. ("GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"):format(name), bytes
    end
    client:send(text:rep(10))
    for i = 1, #wanted * 10 do assert.equal(wanted[(i - 1) % #wanted + 1], client:response().body) end
  end)

  it("ends the connection when a small file is shorter than it was", function()
    local core = require "clua.core.http"
    local open_file = core.open_file
    finally(function() core.open_file = open_file end)
    core.open_file = function(path)
      local fd, _, modified, etag = open_file(path)
      return fd, 11, modified, etag
    end
    client:send "GET /digits.txt HTTP/1.1\r\nHost: a\r\n\r\n"
    client:wait_closed()
    assert.equal("", client.text)
    assert.same({ nil, "ECLOSED" }, { result[1], result[3] })
  end)

  it("leaves no descriptor open", function()
    get "digits.txt"
    local before = proc.count_fds(uv.os_getpid())
    get "digits.txt"
    get "missing"
    get "folder"
    get("digits.txt", "Range: bytes=0-1,3-4\r\n")
    assert.equal(before, proc.count_fds(uv.os_getpid()))
  end)
end)

describe("res:sendFile and what else happens on the connection", function()
  local uv_timer = require("luv").new_timer
  local directory, client, server, result

  local function write(name, size)
    local handle = assert(io.open(directory .. "/" .. name, "wb"))
    handle:write(("x"):rep(size))
    handle:close()
  end

  local function later(fn)
    local timer = uv_timer()
    timer:start(20, 0, function()
      timer:close()
      fn()
    end)
  end

  local handlers = {
    ["/hello"] = function(_, res) res:finish("hello") end,
    ["/small"] = function(_, res) result = { res:sendFile(directory .. "/small.bin") } end,
    ["/empty"] = function(_, res)
      res:destroy()
      result = { res:sendFile(directory .. "/empty.bin") }
    end,
    ["/destroy"] = function(_, res) res:destroy() end,
    ["/short"] = function(_, res)
      res:setHeader("Content-Length", 100)
      pcall(res.finish, res, "short")
      res:write("short")
      res:finish()
    end,
    ["/large"] = function(_, res)
      later(function() result = { pcall(res.finish, res) } end)
      result = { res:sendFile(directory .. "/large.bin") }
    end,
    ["/late"] = function(_, res)
      res:write("x")
      result = { pcall(res.sendFile, res, directory .. "/small.bin", { maxAge = 1, type = "a\nb" }) }
      res:destroy()
    end,
  }

  setup(function()
    directory = assert(uv.fs_mkdtemp("/tmp/clua-http-XXXXXX"))
    write("small.bin", 100)
    write("empty.bin", 0)
    write("large.bin", 8 * 1024 * 1024)
    server = http.createServer(function(req, res) return handlers[req.url](req, res) end)
  end)

  teardown(function() os.execute("rm -r " .. directory) end)

  before_each(function()
    result = nil
    client = peer.connect(server)
  end)

  after_each(function() client:close() end)

  local function ask(...)
    local text = {}
    for i, path in ipairs { ... } do text[i] = ("GET %s HTTP/1.1\r\nHost: a\r\n\r\n"):format(path) end
    client:send(table.concat(text))
  end

  it("answers that are complete go out before the connection ends for the one behind them", function()
    local core = require "clua.core.http"
    local open_file = core.open_file
    finally(function() core.open_file = open_file end)
    core.open_file = function(path)
      local fd, _, modified, etag = open_file(path)
      return fd, 101, modified, etag -- it has shrunk since
    end
    for _, path in ipairs { "/small", "/destroy", "/short" } do
      client:close()
      client = peer.connect(server)
      ask("/hello", "/hello", path)
      client:wait_closed()
      assert.equal("hello", client:take().body, path)
      assert.equal("hello", client:take().body, path)
      assert.equal("", client.text, path)
    end
  end)

  it("says that the connection is gone", function()
    ask "/empty"
    client:wait_closed()
    assert.same({ nil, "ECLOSED" }, { result[1], result[3] })
  end)

  it("lets nobody else end the answer while the file is being sent", function()
    client.handle:read_stop()
    ask("/large", "/hello")
    client:wait(function() return result end, "finish")
    assert.is_false(result[1])
    assert.truthy(result[2]:find("finish: a file is being sent by another coroutine", 1, true), result[2])
    client.handle:read_start(function(_, bytes) client.text = client.text .. (bytes or "") end)
    assert.equal(8 * 1024 * 1024, #client:response().body)
    assert.equal("hello", client:response().body)
  end)

  it("a client that pipelines much lets the others have their turn", function()
    local order, other = {}, peer.connect(server)
    finally(function()
      other:close()
      handlers["/note"] = nil
    end)
    handlers["/note"] = function(req, res)
      order[#order + 1] = req.headers.from
      res:sendFile(directory .. "/small.bin")
    end
    local one = "GET /note HTTP/1.1\r\nHost: a\r\nFrom: %s\r\n\r\n"
    client:send(one:format("flood"):rep(500))
    other:send(one:format "other")
    assert.equal(100, #other:response().body)
    local place
    for i, from in ipairs(order) do
      if from == "other" then place = i end
    end
    assert.is_true(place <= 200, place) -- of one connection no more than 64 in a turn
    for _ = 1, 500 do assert.equal(100, #client:response().body) end
    assert.equal(501, #order)
  end)

  it("closes the file when it is too late for a header", function()
    local before
    for i = 1, 5 do
      client:close()
      client = peer.connect(server)
      ask "/late"
      client:wait_closed()
      assert.is_false(result[1] and result[2] == true)
      if i == 1 then before = proc.count_fds(uv.os_getpid()) end
    end
    assert.equal(before, proc.count_fds(uv.os_getpid()))
  end)
end)

describe("res:sendFile beside other headers", function()
  local path, client, before

  setup(function()
    path = os.tmpname()
    local handle = assert(io.open(path, "wb"))
    handle:write("0123456789")
    handle:close()
    client = peer.connect(http.createServer(function(_, res)
      before(res)
      res:sendFile(path)
    end))
  end)

  teardown(function()
    client:close()
    os.remove(path)
  end)

  local function get() return client:request "GET / HTTP/1.1\r\nHost: a\r\n\r\n" end

  it("leaves those that the script has set, whatever their case", function()
    before = function(res)
      res:setHeader("etag", '"mine"')
      res:setHeader("CONTENT-TYPE", "text/x-mine")
      res:setHeader("X-Other", { "a", "b" })
      res.statusCode = 404
    end
    local response = get()
    assert.same({ 404, '"mine"', "text/x-mine", "10", "a, b" }, { response.status, response.headers.etag,
      response.headers["content-type"], response.headers["content-length"], response.headers["x-other"] })
    assert.equal("0123456789", response.body)
  end)

  it("says the length of the file, whatever was said before", function()
    before = function(res) res:setHeader("Content-Length", 3) end
    local response = get()
    assert.same({ "10", "0123456789" }, { response.headers["content-length"], response.body })
  end)

  it("asks each method that has been replaced", function()
    for _, name in ipairs { "setHeader", "write", "finish" } do
      local called
      before = function(res)
        local real = res[name]
        res[name] = function(...)
          called = true
          return real(...)
        end
      end
      assert.same({ "0123456789", true }, { get().body, called }, name)
    end
  end)

  it("lets onHead see the final head, and filter", function()
    before = function(res)
      res:onHead(function()
        res:setHeader("X-Length", res:getHeader "Content-Length")
      end)
    end
    assert.equal("10", get().headers["x-length"])
  end)
end)

describe("clua.connect.static in a server", function()
  local directory, client, wrap

  setup(function()
    directory = assert(uv.fs_mkdtemp("/tmp/clua-http-XXXXXX"))
    local handle = assert(io.open(directory .. "/digits.txt", "wb"))
    handle:write("0123456789")
    handle:close()
  end)

  teardown(function() os.execute("rm -r " .. directory) end)

  before_each(function()
    wrap = nil
    client = peer.connect(http.createServer(connect(function(_, res, next)
      if wrap then wrap(res) end
      next()
    end, connect.static(directory))))
  end)

  after_each(function() client:close() end)

  local function get(headers, method)
    return client:request(("%s /digits.txt HTTP/1.1\r\nHost: a\r\n%s\r\n"):format(method or "GET", headers or ""))
  end

  it("sends the file, and its head to HEAD", function()
    local response = get()
    assert.same({ 200, "0123456789", "bytes" }, { response.status, response.body, response.headers["accept-ranges"] })
    response = get("", "HEAD")
    assert.same({ 200, "10" }, { response.status, response.headers["content-length"] })
    assert.equal("0123456789", get().body)
  end)

  it("sends ranges", function()
    local response = get "Range: bytes=2-4\r\n"
    assert.same({ 206, "234", "bytes 2-4/10" }, { response.status, response.body, response.headers["content-range"] })
    response = get "Range: bytes=0-0,-1\r\n"
    assert.equal(206, response.status)
    assert.truthy(response.body:find("bytes 0-0/10\r\n\r\n0\r\n", 1, true))
    assert.truthy(response.body:find("bytes 9-9/10\r\n\r\n9\r\n", 1, true))
    assert.equal(416, get("Range: bytes=10-\r\n").status)
  end)

  it("minds what a middleware has taken from req.headers", function()
    client:close()
    client = peer.connect(http.createServer(connect(function(req, _, next)
      req.headers.range = nil
      next()
    end, connect.static(directory))))
    local response = get "Range: bytes=2-4\r\n"
    assert.same({ 200, "0123456789" }, { response.status, response.body })
    assert.equal(304, get("If-None-Match: " .. response.headers.etag .. "\r\n").status)
  end)

  it("sends a range only of the file that If-Range names", function()
    local etag = get().headers.etag
    assert.equal("9", get("Range: bytes=-1\r\nIf-Range: " .. etag .. "\r\n").body)
    local response = get 'Range: bytes=-1\r\nIf-Range: "other"\r\n'
    assert.same({ 200, "0123456789" }, { response.status, response.body })
    assert.equal(304, get("Range: bytes=-1\r\nIf-None-Match: " .. etag .. "\r\n").status)
  end)

  it("goes through a res.write that a middleware has put in place", function()
    function wrap(res)
      local write = res.write
      res.write = function(self, bytes) return write(self, (bytes:gsub("%d", "x"))) end
    end
    assert.equal("xxxxxxxxxx", get().body)
    assert.equal("xx", get("Range: bytes=1-2\r\n").body)
  end)
end)
