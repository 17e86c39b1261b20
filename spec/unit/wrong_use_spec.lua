-- Wrong use is an error that names the file and line of who has called, and not a line of clua's own.

local async = require "clua.async"
local connect = require "clua.connect"
local http = require "clua.http"
local loop = require "spec.support.loop"
local mime = require "clua.mime"
local net = require "clua.net"
local testing = require "clua.testing"

local WAIT = 10 -- seconds that bound a hang

local modules = { async = async, connect = connect, http = http, mime = mime, net = net, testing = testing }
setmetatable(modules, { __index = _G })

-- The error of a file app.lua, which sees the modules and `more`.
local function caught(code, more)
  local chunk = assert(loadstring(code, "@app.lua"))
  local ok, err = pcall(setfenv(chunk, setmetatable(more or {}, { __index = modules })))
  assert.is_false(ok, code)
  return tostring(err)
end

local function refuses(code, message, more)
  assert.equal("app.lua:1: " .. message, caught(code, more))
end

-- A pair of connected sockets, in a coroutine.
local function with_socket(fn)
  loop.run(function()
    local server = assert(net.listen(0, function(socket)
      socket:write "x"
      socket:readAll()
    end))
    local socket = assert(net.connect((select(2, server:address()))))
    local ok, err = pcall(fn, socket)
    socket:destroy()
    server:close()
    if not ok then error(err, 0) end
  end, WAIT)
end

describe("wrong use", function()
  it("of an HTTP server", function()
    local server = http.createServer()
    refuses([[server:on("x")]], "on: a function is expected for event 'x', got nil", { server = server })
    refuses([[server:on(5, print)]], "on: event must be a string, got number", { server = server })
    refuses([[server:once("x", 5)]], "once: a function is expected, got number", { server = server })
    refuses([[server:once(5, print)]], "on: event must be a string, got number", { server = server })
  end)

  it("of req and res", function()
    local core = require "clua.core.http"
    for name, methods in pairs { req = core.request, res = core.response } do
      local object = { [name] = setmetatable({}, { __index = methods }) }
      refuses(name .. [[:on("data")]], "on: a function is expected for event 'data', got nil", object)
      refuses(name .. [[:on("finish", 5)]], "on: a function is expected for event 'finish', got number", object)
      refuses(name .. [[:once("close")]], "once: a function is expected, got nil", object)
      refuses(name .. [[:once(5, print)]], "on: event must be a string, got number", object)
    end
  end)

  it("of a socket", function()
    with_socket(function(socket)
      local seen = { socket = socket }
      refuses([[socket:on("data")]], "on: a function is expected for event 'data', got nil", seen)
      refuses([[socket:unshift()]], "unshift: a string is expected, got nil", seen)
      refuses([[socket:readUntil("[", 10, true)]],
        "readUntil: '[' is no Lua pattern: malformed pattern (missing ']')", seen)
    end)
  end)

  it("of net.listen", function()
    local message = "listen: host must be an address, such as 127.0.0.1 or ::, got 'localhost'"
    refuses([[net.listen { host = "localhost", port = 0 }]], message)
    refuses([[net.createServer():listen { host = "localhost", port = 0 }]], message)
    refuses([[net.listen(0, 5)]], "listen: fn must be a function, got number")
  end)

  it("of clua.async", function()
    loop.run(function()
      refuses("async.call()", "async.call: a function that takes a callback is expected first, got nil")
      refuses("async.await(5)", "async.await: a function that takes a callback is expected first, got number")
    end, WAIT)
  end)

  it("of the HTTP client", function()
    for _, call in ipairs { "http.request { url = 'http://127.0.0.1/', method = 'G T' }",
      "http.get('http://127.0.0.1/', { method = 'G T' })" } do
      refuses("local function f() " .. call .. " end f()", "request: 'G T' is no method")
      refuses(call, "request: 'G T' is no method")
    end
    refuses("http.request { url = 'http://127.0.0.1/', redirect = 1 }",
      "request: unknown option 'redirect', did you mean 'redirects'?")
    refuses("http.request { url = 'http://127.0.0.1/', timeout = { conect = 1 } }",
      "request: timeout: unknown option 'conect', did you mean 'connect'?")
    refuses("http.request { url = 'http://127.0.0.1/', headers = { a = '\\n' } }",
      "request: header 'a' has a line end, NUL or another control byte in its value")
    refuses("http.request('http://127.0.0.1/', 5)", "request: fn must be a function, got number")
    refuses("http.get('http://127.0.0.1/', 5)", "get: options must be a table, got number")
  end)

  it("of the HTTP client names the line of the call, not that of who has called its function", function()
    local code = "local function f()\n\n  http.request { url = 'http://127.0.0.1/', method = 'G T' }\nend\n\nf()"
    assert.equal("app.lua:3: request: 'G T' is no method", caught(code))
  end)

  it("of clua.mime and clua.testing", function()
    refuses("mime.type()", "mime.type: a path is expected, got nil")
    refuses("testing.start()", "testing.start: one of 'script' and 'serve' is needed")
    refuses("testing.start { serve = 'app.lua', cwd = '/nonexistent' }",
      "cannot start a cluster in /nonexistent: ENOENT: no such file or directory")
  end)

  it("of the path of templates, by its own name", function()
    refuses("connect.views()", "views(folder, options): folder must be the path of a directory, got nil")
  end)

  it("of a cluster of clua.testing", function()
    local app = setmetatable({ addresses = {} }, testing.Cluster)
    refuses("app:request('GET', '/', { listner = 5 })", "request: unknown option 'listner', did you mean 'listener'?",
      { app = app })
    refuses("app:signal('USR3')", "signal: a name such as 'USR1' is expected, got 'USR3'", { app = app })
    refuses("app:signal(10)", "signal: a name such as 'USR1' is expected, got '10'", { app = app })
    refuses("app:get('/', 5)", "request: option 'headers' must be table, got number", { app = app })
  end)

  it("of master:register", function()
    local seen = { master = require("clua").Master() }
    local function refuses_options(given, message)
      refuses(("master:register('job', 'job.lua', %s)"):format(given), "register: " .. message, seen)
    end
    refuses_options("{ args = { a = 1 } }", "args must be a list, got the key 'a'")
    refuses_options("{ args = { 'a', nil, 'c' } }", "args must be a list, got the key '3'")
    refuses_options("{ hang_timeout = 1 / 0 }", "option 'hang_timeout' must be finite, got inf")
    refuses("master:register({ 18081, 18081 }, 'job.lua')", "register: '18081' stands twice in the array", seen)
  end)

  it("of master:scale", function()
    local seen = { master = require("clua").Master():register("job", "job.lua") }
    for _, count in ipairs { "-1", "1.5", "1 / 0", "'2'" } do
      local message = caught(("master:scale('job', %s)"):format(count), seen)
      assert.truthy(message:find "^app.lua:1: scale: the number of workers must be a whole number.* 0 ", message)
    end
  end)

  it("of master:reload", function()
    local seen = { master = require("clua").Master() }
    refuses("master:reload('job', 5)", "reload: done must be a function, got number", seen)
  end)

  it("of a master that has not been dispatched", function()
    local seen = { master = require("clua").Master() }
    seen.master:register("job", "job.lua")
    for _, name in ipairs { "reload", "status", "upgrade", "last_log" } do
      refuses(("master:%s()"):format(name), name .. ": the master has not been dispatched", seen)
    end
  end)
end)
