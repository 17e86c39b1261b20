-- Middleware that reads bodies and knows visitors: real clients, and what attackers send.

local cjson = require "cjson"
local uv = require "luv"
local zlib = require "zlib"
local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"
local proc = require "spec.support.proc"

local MIB = 1024 * 1024
local B = "----spec7MA4YWxkTrZu0gW"
local CSS = ("body { margin: 0 }\n"):rep(20000)

local function gzip(text) return (zlib.deflate(9, 31)(text, "finish")) end

-- Zeros of so many MiB, compressed.
local function bomb(mib)
  local deflate, parts = zlib.deflate(9, 31), {}
  for i = 1, mib do parts[i] = deflate(("\0"):rep(MIB)) end
  parts[#parts + 1] = deflate("", "finish")
  return table.concat(parts)
end

describe("middleware for bodies and visitors", function()
  local c, port, url, worker

  setup(function()
    c = cluster.up { app = "middleware_body", options = { cnum = 1 }, files = { ["a.css"] = CSS } }
    port, worker = c:port(), c:workers()[1].pid
    url = "http://127.0.0.1:" .. port
    assert.equal("pong", select(3, client.get(port, "/ping")))
  end)
  teardown(cluster.cleanup)

  local function uploads()
    local list, request = {}, assert(uv.fs_scandir(c.dir .. "/uploads"))
    for name in function() return uv.fs_scandir_next(request) end do list[#list + 1] = name end
    return list
  end

  -- The same worker serves on, and nothing of an upload is left: not even a descriptor.
  after_each(function()
    c:wait(function() return #uploads() == 0 end, "the uploads to be removed")
    c:wait(function()
      for _, target in pairs(proc.fds(worker)) do
        if target:find("/uploads/", 1, true) then return false end
      end
      return true
    end, "the files to be closed")
    assert.equal("pong", select(3, client.get(port, "/ping")))
    assert.equal(worker, c:workers()[1].pid)
  end)

  local function send(method, path, headers, body)
    local conn = assert(client.connect(port))
    local status, answer, text = conn:request(method, path, headers, body)
    conn:close()
    return status, answer, text
  end

  local function post(path, kind, body, more)
    local headers = { ["Content-Type"] = kind }
    for name, value in pairs(more or {}) do headers[name] = value end
    return send("POST", path, headers, body)
  end

  local function form(parts)
    local out = {}
    for _, part in ipairs(parts) do
      out[#out + 1] = ("--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n"):format(B, part[1], part[2])
    end
    return table.concat(out) .. "--" .. B .. "--\r\n"
  end

  local function upload(parts)
    return post("/upload", "multipart/form-data; boundary=" .. B, type(parts) == "string" and parts or form(parts))
  end

  local function curl(...)
    if not command.exists("curl") then return nil end
    local out, err, code = command.run("curl", { "-sS", "--max-time", "60", ... })
    assert.equal(0, code, err)
    return out
  end

  local function node(script)
    if not command.exists("node") then return nil end
    local out, err, code = command.run("node", { "-e", "const url = process.argv[1];(async () => {" .. script
      .. "})().catch((error) => { console.error(error); process.exit(1) })", url })
    assert.equal(0, code, err)
    return out
  end

  -- ---- compression -----------------------------------------------------------------------------------------------

  it("curl and Node's fetch decode what was compressed, in each coding and shape", function()
    local plain = curl(url .. "/page")
    if not plain then return pending("curl is not installed") end
    assert.is_true(#plain > 20000)
    for _, path in ipairs { "/page", "/pieces", "/events" } do
      local want = curl(url .. path)
      assert.equal(want, curl("--compressed", url .. path))
      for _, coding in ipairs { "gzip", "deflate", "br" } do
        local head = curl("-H", "Accept-Encoding: " .. coding, "-D", "-", "-o", "/dev/null", url .. path):lower()
        if coding ~= "br" then assert.truthy(head:find("content-encoding: " .. coding, 1, true), head) end
        assert.truthy(head:find("vary: accept-encoding", 1, true), head)
        assert.equal(want, curl("--compressed", "-H", "Accept-Encoding: " .. coding, url .. path))
      end
      local text = node(([[process.stdout.write(await (await fetch(url + '%s')).text())]]):format(path))
      if text then assert.equal(want, text) end
    end
  end)

  it("HEAD has the fields of GET; a tag matches whether compressed or not", function()
    local accept = { ["Accept-Encoding"] = "gzip" }
    local _, get = send("GET", "/page", accept)
    local status, head, body = send("HEAD", "/page", accept)
    assert.equal(200, status)
    assert.equal("", body)
    for _, name in ipairs { "content-encoding", "etag", "vary", "content-type" } do
      assert.equal(get[name], head[name], name)
    end
    assert.is_nil(head["content-length"])
    assert.equal('W/"page"', get.etag)
  end)

  it("a file that static sends is compressed on the way, or goes by sendfile as it is", function()
    local status, headers, body = send("GET", "/static/a.css", { ["Accept-Encoding"] = "gzip" })
    assert.equal(200, status)
    assert.equal("gzip", headers["content-encoding"])
    assert.equal(CSS, (zlib.inflate(31)(body)))
    local etag = headers.etag
    status, headers, body = send("GET", "/static/a.css")
    assert.equal(200, status)
    assert.equal(CSS, body)
    assert.equal(tostring(#CSS), headers["content-length"])
    assert.equal(etag, "W/" .. headers.etag)
    status, headers = send("GET", "/static/a.css", { ["Accept-Encoding"] = "gzip", ["If-None-Match"] = etag })
    assert.equal(304, status)
    assert.equal("Accept-Encoding", headers.vary)
    status, headers, body = send("GET", "/static/a.css", { ["Accept-Encoding"] = "gzip", Range = "bytes=0-9" })
    assert.equal(206, status)
    assert.is_nil(headers["content-encoding"])
    assert.equal(CSS:sub(1, 10), body)
  end)

  it("a client that goes away in the middle of a compressed answer takes nothing with it", function()
    for _ = 1, 20 do
      local conn = assert(client.connect(port))
      conn:send(client.format("GET", "/pieces", { ["Accept-Encoding"] = "gzip" }))
      conn:reset()
    end
    assert.equal(0, c:count(" error: "))
  end)

  -- ---- bodies ----------------------------------------------------------------------------------------------------

  it("Node's fetch sends JSON, forms and files", function()
    local text = node([==[
      const post = async (path, body, headers) => (await fetch(url + path, { method: 'POST', body, headers })).json()
      const out = []
      out.push(await post('/json', JSON.stringify({ a: [1, { b: 'ä€' }] }), { 'Content-Type': 'application/json' }))
      out.push(await post('/form', new URLSearchParams([['a', 'ä b+&='], ['c[d]', '1'], ['e', '1'], ['e', '2']])))
      const data = new FormData()
      data.append('title', 'holiday "ä"')
      data.append('a[b]', '1')
      data.append('photo', new Blob(['PNGDATA' + 'x'.repeat(300000)], { type: 'image/png' }), '../ü"ber\\x.png')
      out.push(await post('/upload', data))
      console.log(JSON.stringify(out))
    ]==])
    if not text then return pending("node is not installed") end
    local json, fields, multipart = unpack(cjson.decode(text))
    assert.same({ got = { a = { 1, { b = "\195\164\226\130\172" } } } }, json)
    assert.same({ a = "\195\164 b+&=", c = { d = "1" }, e = { "1", "2" } }, fields)
    assert.same({ title = 'holiday "\195\164"', a = { b = "1" } }, multipart.fields)
    local file = multipart.files[1]
    assert.same({ "photo", "image/png", 300007, "PNGDATAx" }, { file.field, file.type, file.size, file.begins })
    assert.equal("x.png", file.name)
  end)

  it("curl sends files and compressed JSON", function()
    cluster.write(c.dir .. "/source.bin", ("0123456789"):rep(500000))
    local text = curl("-F", "title=x", "-F", "f=@" .. c.dir .. "/source.bin", "-F", "g=<" .. c.dir .. "/dispatch.lua",
      url .. "/upload")
    if not text then return pending("curl is not installed") end
    local answer = cjson.decode(text)
    assert.equal("x", answer.fields.title)
    assert.equal(5000000, answer.files[1].size)
    assert.equal("source.bin", answer.files[1].name)
    local status, _, body = post("/json", "application/json", gzip '{"a":1}', { ["Content-Encoding"] = "gzip" })
    assert.equal(200, status)
    assert.equal('{"got":{"a":1}}', body)
  end)

  it("zip bombs are refused while they are small", function()
    local before = tonumber(proc.status(worker).VmHWM:match("%d+"))
    local bytes = bomb(100)
    local large = gzip(form { { 'name="f"; filename="f"', ("\0"):rep(20 * MIB) } })
    for _ = 1, 3 do
      assert.equal(413, (post("/json", "application/json", bytes, { ["Content-Encoding"] = "gzip" })))
      assert.equal(413, (post("/upload", "multipart/form-data; boundary=" .. B, large,
        { ["Content-Encoding"] = "gzip" })))
    end
    local grown = tonumber(proc.status(worker).VmHWM:match("%d+")) - before
    -- Some MiB; the address sanitizer keeps freed memory for a while.
    assert.is_true(grown < 150 * 1024, grown .. " kB more")
  end)

  it("deep, wrong and mislabelled JSON is refused", function()
    local function json(text, kind) return (post("/json", kind or "application/json", text)) end
    assert.equal(400, json(("["):rep(100000)))
    assert.equal(400, json(('{"a":'):rep(100000)))
    assert.equal(400, json(("["):rep(33) .. ("]"):rep(33)))
    assert.equal(400, json '{"a":NaN}')
    assert.equal(400, json '"\255"')
    assert.equal(415, json("+AHs-+AH0-", "application/json; charset=utf-7"))
    assert.equal(415, json("\255\254{\0}\0", "application/json; charset=utf-16le"))
    assert.equal(400, json "\255\254{\0}\0")
    assert.equal(413, json("[" .. (" "):rep(MIB) .. "]"))
    local _, _, text = post("/json", "application/json", '{"__index":{"admin":true},"__proto__":{"x":1}}')
    assert.same({ __index = { admin = true }, __proto__ = { x = 1 } }, cjson.decode(text).got)
  end)

  it("names that are made to collide do not hold the worker up", function()
    local json, fields = {}, {}
    for i = 1, 4000 do
      local key = ("aaaa%s%08d%sdddd"):format(("b"):rep(20), i, ("c"):rep(160))
      json[i] = ('"%s":1'):format(key)
      if i <= 450 then fields[i] = key .. "=1" end
    end
    local started = uv.hrtime()
    assert.equal(200, (post("/json", "application/json", "{" .. table.concat(json, ",") .. "}")))
    assert.equal(200, (post("/form", "application/x-www-form-urlencoded", table.concat(fields, "&"))))
    assert.equal(413, (post("/form", "application/x-www-form-urlencoded", ("a=1&"):rep(1001))))
    assert.is_true((uv.hrtime() - started) / 1e9 < 10)
  end)

  it("multipart bombs are refused", function()
    local many, tiny = {}, {}
    for i = 1, 101 do many[i] = { ('name="f%d"'):format(i), "" } end
    for i = 1, 11 do tiny[i] = { ('name="f%d"; filename="x"'):format(i), "x" } end
    assert.equal(413, (upload(many)))
    assert.equal(413, (upload(tiny)))
    assert.equal(413, (upload { { 'name="a"', ("x"):rep(65537) } }))
    assert.equal(413, (upload { { 'name="a"; x="' .. ("x"):rep(5000) .. '"', "" } }))
    assert.equal(413, (upload { { 'name="a"; filename="x"', ("x"):rep(17 * MIB) } }))
    assert.equal(400, (upload(("--" .. B .. "\r\n"):rep(50))))
    assert.equal(400, (upload { { 'name="a[' .. ("b]["):rep(200) .. ']"', "" } }))
    assert.equal(400, (upload(form({ { 'name="a"; filename="x"', ("x"):rep(100000) } }):sub(1, -10))))
  end)

  it("an upload that breaks off leaves no file", function()
    for i = 1, 10 do
      local conn = assert(client.connect(port))
      local text = form { { 'name="a"; filename="x"', ("x"):rep(3 * MIB) } }
      conn:send(client.format("POST", "/upload", { ["Content-Type"] = "multipart/form-data; boundary=" .. B,
        ["Content-Length"] = #text }) .. text:sub(1, MIB))
      c:wait(function() return #uploads() > 0 end, "the file to be made")
      if i % 2 == 0 then conn:reset() else conn:close() end
      c:wait(function() return #uploads() == 0 end, "the file to be removed")
    end
  end)

  it("file names cannot leave the directory, nor write headers", function()
    for given, wanted in pairs {
      ["../../../etc/passwd"] = "passwd", ["..\\\\..\\\\x.txt"] = "x.txt", ["/abs"] = "abs", ["..%0d%0aX: 1"] = "X_ 1",
    } do
      local _, _, text = upload { { 'name="a"; filename="' .. given .. '"', "x" } }
      assert.equal(wanted, cjson.decode(text).files[1].name, given)
    end
    local _, _, text = upload { { "name=\"a\"; filename*=UTF-8''..%2f..%2f%E2%82%AC.txt", "x" } }
    assert.equal("\226\130\172.txt", cjson.decode(text).files[1].name)
  end)

  it("bodyLimit counts chunks as well", function()
    assert.equal(413, (post("/limited", "text/plain", ("x"):rep(1001))))
    assert.equal(200, (post("/limited", "text/plain", ("x"):rep(1000))))
    local conn = assert(client.connect(port))
    conn:send("POST /limited HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. ("64\r\n" .. ("x"):rep(100) .. "\r\n"):rep(11) .. "0\r\n\r\n")
    assert.equal(413, (conn:response()))
    conn:close()
  end)

  -- ---- visitors --------------------------------------------------------------------------------------------------

  it("curl keeps its cookies: sealed and stored sessions count its visits", function()
    if not command.exists("curl") then return pending("curl is not installed") end
    for _, path in ipairs { "/sealed", "/stored" } do
      local jar = c.dir .. "/jar" .. path:gsub("/", "-")
      for i = 1, 3 do
        assert.equal(('{"count":%d}'):format(i), curl("-b", jar, "-c", jar, url .. path))
      end
      curl("-b", jar, "-c", jar, url .. path .. "?out=1")
      assert.equal('{"count":1}', curl("-b", jar, "-c", jar, url .. path))
    end
  end)

  it("a tampered cookie is nobody's", function()
    local _, headers = send("GET", "/sealed")
    local good = headers["set-cookie"]:match("^[^;]*")
    assert.equal('{"count":2}', select(3, send("GET", "/sealed", { Cookie = good })))
    for _, bad in ipairs { good .. "A", good:sub(1, -2), (good:gsub("=(.)", "=A%1")), "sealed=" .. ("A"):rep(3000),
        'sealed={"count":1000}', "sealed=eyJjb3VudCI6MTAwMH0" } do
      assert.equal('{"count":1}', select(3, send("GET", "/sealed", { Cookie = bad })))
    end
    _, headers = send("GET", "/cookie?set=ann")
    good = headers["set-cookie"]:match("^[^;]*")
    local function signed(cookie)
      return cjson.decode(select(3, send("GET", "/cookie", { Cookie = cookie }))).signed.seen
    end
    assert.equal("ann", signed(good))
    assert.is_false(signed((good:gsub("ann", "bob"))))
  end)

  it("an id that was planted is not taken over, and a login changes it", function()
    local planted = "stored=" .. ("A"):rep(32)
    local _, headers = send("GET", "/stored", { Cookie = planted })
    local before = headers["set-cookie"]:match("^[^;]*")
    assert.not_equal(planted, before)
    _, headers = send("GET", "/stored?login=1", { Cookie = before })
    local after = headers["set-cookie"]:match("^[^;]*")
    assert.not_equal(before, after)
    assert.equal('{"count":3}', select(3, send("GET", "/stored", { Cookie = after })))
    assert.equal('{"count":1}', select(3, send("GET", "/stored", { Cookie = before })))
  end)

  it("no value of a cookie writes a header", function()
    local _, headers = send("GET", "/cookie?set=x%0d%0aSet-Cookie:%20admin=1%3b%20Domain=evil")
    assert.falsy(headers["set-cookie"]:find("admin=1;", 1, true))
    assert.is_nil(headers.domain)
    local line = headers["set-cookie"]:match("^[^;]*")
    local back = cjson.decode(select(3, send("GET", "/cookie", { Cookie = line })))
    assert.equal("x\r\nSet-Cookie: admin=1; Domain=evil", back.signed.seen)
  end)

  it("a form of another site is refused, ours is not", function()
    local _, headers, token = send("GET", "/csrf")
    local cookie = headers["set-cookie"]:match("^[^;]*")
    local function submit(body, more)
      local all = { Cookie = cookie }
      for name, value in pairs(more or {}) do all[name] = value end
      return (post("/csrf", "application/x-www-form-urlencoded", body, all))
    end
    assert.equal(200, submit("_csrf=" .. token))
    assert.equal(200, submit("_csrf=" .. token, { Origin = "http://spec" }))
    assert.equal(403, submit "_csrf=")
    assert.equal(403, submit("_csrf=" .. token, { Origin = "http://evil.example" }))
    assert.equal(403, submit("_csrf=" .. token, { Origin = "null" }))
    assert.equal(403, submit("_csrf=" .. token, { Cookie = "csrf=" .. ("A"):rep(32) }))
    assert.equal(403, submit("_csrf[]=" .. token))
  end)

  it("curl knows the password", function()
    local text = curl("-u", "ann:s3cret", url .. "/private")
    if not text then return pending("curl is not installed") end
    assert.equal("ann", text)
    assert.equal("401", curl("-u", "ann:wrong", "-o", "/dev/null", "-w", "%{http_code}", url .. "/private"))
    local _, headers = send("GET", "/private")
    assert.equal('Basic realm="restricted", charset="UTF-8"', headers["www-authenticate"])
  end)

  it("malformed queries and cookies hold nobody up", function()
    assert.equal(400, (send("GET", "/query?a=%zz")))
    assert.equal(400, (send("GET", "/query?a[b][c][d][e][f][g]=1")))
    assert.equal(200, (send("GET", "/query?" .. ("%5B"):rep(2000))))
    local started = uv.hrtime()
    for _ = 1, 20 do
      assert.equal(200, (send("GET", "/cookie", { Cookie = "a=1" .. (" "):rep(15000) .. "b" })))
      assert.equal(200, (send("GET", "/cookie", { Cookie = (";"):rep(15000) })))
    end
    assert.is_true((uv.hrtime() - started) / 1e9 < 10)
  end)
end)
