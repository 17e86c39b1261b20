local http = require "clua.http"
local peer = require "spec.support.http_peer"

-- What a handler sees of a request, as text.
local function seen(req)
  local lines = { req.method, req.url, req.target, req.httpVersion, tostring(req.port) }
  local raw = req.rawHeaders
  for i = 1, #raw do lines[#lines + 1] = tostring(raw[i]) end
  local names = {}
  for name in pairs(req.headers) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do lines[#lines + 1] = name .. "=" .. req.headers[name] end
  return table.concat(lines, "\n")
end

local function echo(options)
  return http.createServer(options, function(req, res) res:finish(seen(req)) end)
end

local function ask(client, bytes, last_bytes)
  client:send(last_bytes or bytes):turn(2)
  return client:take(bytes:match "^HEAD" and "HEAD" or "GET")
end

-- In two reads, which is parsed whatever has been seen before.
local function ask_in_pieces(client, bytes)
  client:send(bytes:sub(1, -3)):turn(1)
  return ask(client, bytes, bytes:sub(-2))
end

-- What a lax server has accepted until it is known, a strict one of the same process refuses, although it may have
-- accepted others before.
local function assert_refused(bytes, status, lax_options, strict_options, acceptable)
  local lax, strict = peer.connect(echo(lax_options)), peer.connect(echo(strict_options))
  for _ = 1, acceptable and 3 or 0 do assert(ask(strict, acceptable).status == 200) end
  for _ = 1, 4 do assert(ask(lax, bytes).status == 200) end
  assert(ask(strict, bytes).status == status)
  lax:close()
  strict:close()
end

local SECTIONS = {
  "Host: a\r\n\r\n",
  "Host: example.com:8080\r\nUser-Agent: spec\r\nAccept: */*\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n",
  "Host: a\r\nConnection: close\r\n\r\n",
  "Accept:\r\nX-Empty:  \r\nHOST:\t[::1]:80 \t\r\nConnection: keep-alive\r\nX-Trailing: x  \t\r\n\r\n",
  ("Host: a\r\n%s\r\n"):format(("X-Many: 1\r\n"):rep(60)),
  ("Host: a\r\n%s\r\n"):format(("X-Too-Many-To-Keep: 1\r\n"):rep(80)),
  ("Host: a\r\nX-Too-Long-To-Keep: %s\r\n\r\n"):format(("x"):rep(4000)),
}
local LINES = {
  "GET / HTTP/1.1\r\n",
  "GET / HTTP/1.1\r\n",
  "GET /other?a=b HTTP/1.1\r\n",
  "POST / HTTP/1.1\r\n",
  "DELETE /" .. ("long/"):rep(100) .. " HTTP/1.1\r\n",
  "GET http://other.example/path HTTP/1.1\r\n",
  "OPTIONS * HTTP/1.1\r\n",
  "GET /one.zero HTTP/1.0\r\n",
  "GET / HTTP/1.1\r\n",
}

-- All that llhttp knows, and one that it does not.
local METHODS = ([[DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK
  BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR
  LINK UNLINK SOURCE PRI DESCRIBE ANNOUNCE SETUP PLAY PAUSE TEARDOWN GET_PARAMETER SET_PARAMETER REDIRECT RECORD FLUSH
  NOT-A-METHOD]])

describe("a header section that is repeated", function()
  it("is, behind every method, what it was the first time", function()
    local server = echo()
    local section = "Host: a\r\nX-Methods: 1\r\n\r\n"
    for _ = 1, 3 do
      local client = peer.connect(server)
      assert(ask(client, "GET / HTTP/1.1\r\n" .. section).status == 200)
      client:close()
    end
    for method in METHODS:gmatch "%S+" do
      for _, target in ipairs { "/", "*", "/a?b", "a:1", "http://a/" } do
        local line = ("%s %s HTTP/1.1\r\n"):format(method, target)
        local alone, client = peer.connect(server), peer.connect(server)
        local wanted, got = ask_in_pieces(alone, line .. section), ask(client, line .. section)
        assert(got and wanted, line)
        assert(got.head == wanted.head and got.body == wanted.body, line)
        alone:close()
        client:close()
      end
    end
  end)

  it("and its request line are to the handler what they were the first time", function()
    local server = echo()
    for _, section in ipairs(SECTIONS) do
      local client = peer.connect(server)
      for round = 1, 4 do
        for i, line in ipairs(LINES) do
          local alone = peer.connect(server)
          local wanted, got = ask_in_pieces(alone, line .. section), ask(client, line .. section)
          assert(got and wanted, "an answer is missing")
          assert(got.head == wanted.head and got.body == wanted.body,
            ("round %d, line %d: wanted %s%s, got %s%s"):format(round, i, wanted.head, wanted.body, got.head, got.body))
          assert(client.closed == alone.closed)
          alone:close()
          if got.headers.connection == "close" then
            client:close()
            client = peer.connect(server)
          end
        end
      end
      client:close()
    end
  end)

  it("is told from one that differs in one byte, is longer, or has not come as a whole", function()
    local server = echo()
    local client = peer.connect(server)
    local section = "Host: a\r\nX-Name: value\r\n\r\n"
    local function get(bytes)
      local response = ask(client, "GET / HTTP/1.1\r\n" .. bytes)
      return response and response.body:match "x%-name=(%S*)"
    end
    for _ = 1, 4 do assert(get(section) == "value") end
    assert(get "Host: a\r\nX-Name: valuf\r\n\r\n" == "valuf")
    for _ = 1, 4 do assert(get(section) == "value") end
    assert(get "Host: a\r\nX-Name: value\r\nX-More: 1\r\n\r\n" == "value")
    for _ = 1, 4 do assert(get(section) == "value") end
    assert(not get "Host: a\r\nX-Name: value\r\n")
    local response = ask(client, "X-Name: 2\r\n\r\n")
    assert(response.body:find("x-name=value, 2", 1, true), response.body)
    assert(get(section) == "value")
    client:close()
  end)

  it("is not mistaken for another when there are more than can be remembered", function()
    local server = echo()
    local client = peer.connect(server)
    local other = peer.connect(server)
    for n = 1, 1500 do
      for _ = 1, 3 do
        local response = ask(other, ("GET / HTTP/1.1\r\nHost: a\r\nX-Number: %d\r\n\r\n"):format(n))
        assert(response.body:match "x%-number=(%d+)" == tostring(n))
      end
      local response = ask(client, "GET / HTTP/1.1\r\nHost: a\r\nX-Number: none\r\n\r\n")
      assert(response.body:match "x%-number=(%w+)" == "none")
    end
    client:close()
    other:close()
  end)

  it("does not make more headers acceptable to a server that allows only fewer", function()
    local bytes = ("GET / HTTP/1.1\r\nHost: a\r\n%s\r\n"):format(("X-Many: 2\r\n"):rep(20))
    assert_refused(bytes, 431, {}, { maxHeaders = 10 })
  end)

  it("does not make a longer head acceptable than the server allows", function()
    local bytes = ("GET /1 HTTP/1.1\r\nHost: a\r\nX-Long: %s\r\n\r\n"):format(("x"):rep(500))
    assert_refused(bytes, 431, { maxHeaderSize = #bytes }, { maxHeaderSize = #bytes - 1 })
  end)

  it("that has come with an absolute-form target does not bring the host of that along", function()
    local client = peer.connect(echo())
    local section = "Host: a\r\nX-First: absolute\r\n\r\n"
    local function host(target)
      return ask(client, ("GET %s HTTP/1.1\r\n%s"):format(target, section)).body:match "host=(%S+)"
    end
    for _ = 1, 4 do assert(host "http://other.example/" == "other.example") end
    for _ = 1, 4 do assert(host "/" == "a") end
    assert(host "http://other.example/" == "other.example")
    client:close()
  end)

  it("without a host in it does not do for another form of target", function()
    local client = peer.connect(echo())
    local section = "Host:\r\nX-Empty-Host: 1\r\n\r\n"
    for _ = 1, 4 do assert(ask(client, "GET http://a/ HTTP/1.1\r\n" .. section).status == 200) end
    assert(ask(client, "GET / HTTP/1.1\r\n" .. section).status == 400)
    client:close()
  end)

  it("is known on the first request of another connection", function()
    local server = echo()
    local bytes = "GET /%d HTTP/1.1\r\nHost: a\r\nX-Shared: 1\r\nConnection: close\r\n\r\n"
    for i = 1, 6 do
      local client = peer.connect(server)
      local response = ask(client, bytes:format(i % 2))
      assert(response.headers.connection == "close")
      assert(response.body:find(("\n/%d\n"):format(i % 2), 1, true))
      assert(client:turn(1).closed == "eof")
      client:close()
    end
  end)

  it("does not make a request line acceptable to a server that allows only shorter ones", function()
    local long = ("GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"):format(("x"):rep(80))
    assert_refused(long, 414, {}, { maxUrlSize = 40 }, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
  end)

  it("of HTTP/1.0 is not taken for one of HTTP/1.1, which needs a Host", function()
    local client = peer.connect(echo())
    local section = "Connection: keep-alive\r\n\r\n"
    for _ = 1, 4 do assert(ask(client, "GET / HTTP/1.0\r\n" .. section).status == 200) end
    assert(ask(client, "GET / HTTP/1.1\r\n" .. section).status == 400)
    client:close()
  end)

  it("with Upgrade is handed over once somebody listens for that", function()
    local server = echo()
    local client = peer.connect(server)
    local bytes = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    for _ = 1, 4 do assert(ask(client, bytes).status == 200) end
    local upgraded
    server:on("upgrade", function(req, socket)
      upgraded = req.headers.upgrade
      socket:finish "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    end)
    client:send(bytes):wait(function() return client.text:find("HTTP/1.1 101", 1, true) end, "the upgrade")
    assert(upgraded == "echo")
    client:close()
  end)

  it("is followed by the next request of a pipeline, whatever that is", function()
    local client = peer.connect(echo())
    local get = "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
    local parts = {}
    for i = 1, 40 do parts[i] = get:format(i % 3) end
    parts[41] = "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    parts[42] = get:format(7)
    client:send(table.concat(parts)):turn(4)
    for i = 1, 40 do assert(client:take("GET").body:match "\n/(%d)\n" == tostring(i % 3)) end
    assert(client:take("POST").body:find("content-length=5", 1, true))
    assert(client:take("GET").body:find("\n/7\n", 1, true))
    client:close()
  end)
end)
