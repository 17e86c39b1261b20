--- The projects of `clua new`.
-- @module clua.cli.templates

local templates = { names = { "http", "connect", "echo", "api" } }

local DISPATCH = [[
-- The master: what runs, where, and how many. PORT=9000 clua dispatch.lua takes another port.
local cluster = require "clua"

local port = os.getenv "PORT" or "8080"
local master = cluster.Master()
master:register("127.0.0.1:" .. port, "app.lua", {
  cnum = 2,                                      -- workers; without it one for each processor
  watch = os.getenv "CLUA_ENV" ~= "production",  -- an edit reloads them
})
master:dispatch()
]]

local README = [[
# NAME

    clua dispatch.lua          # WHERE; an edit reloads it, Ctrl-C ends it
    TRY
    clua test                  # the specs, in spec/

`app.lua` is what the workers run, `dispatch.lua` what the master does. In production set `CLUA_ENV=production`: errors
are then not shown to clients, and nothing is watched. `kill -USR1` reloads the workers, and no client notices.
]]

local SPEC = [[
local testing = require "clua.testing"

describe("NAME", function()
  local app

  setup(function() app = testing.start "dispatch.lua" end)
  teardown(testing.cleanup)

BODY
  it("stops when it is told to", function()
    app:stop()
  end)
end)
]]

local apps, bodies, tries = {}, {}, {}

apps.http = [[
local cluster = require "clua"
local http = require "clua.http"

local server = http.createServer(function(req, res)
  res:setHeader("Content-Type", "text/plain; charset=utf-8")
  res:finish("hello from " .. req.url .. "\n")
end)

cluster.ready(function(socket) server:emit("connection", socket) end)
]]

bodies.http = [[
  it("says hello", function()
    local res = app:get "/world"
    assert.same({ 200, "hello from /world\n" }, { res.status, res.body })
  end)
]]

apps.connect = [[
local cluster = require "clua"
local connect = require "clua.connect"
local http = require "clua.http"

local app = connect(connect.requestId())

app:get("/", function(_, res)
  res:type "html"
  res:finish "<h1>hello</h1>\n"
end)

app:get("/hello/:name", function(req, res)
  res:finish("hello " .. req.params.name .. "\n")
end)

app:use(function(_, _, next) next { status = 404 } end)
app:use(connect.errorHandler())

local server = http.createServer(app)
cluster.ready(function(socket) server:emit("connection", socket) end)
]]

bodies.connect = [[
  it("has a page", function()
    local res = app:get "/"
    assert.equal(200, res.status)
    assert.truthy(res.body:find("<h1>hello</h1>", 1, true))
  end)

  it("greets by name", function()
    assert.equal("hello you\n", app:get("/hello/you").body)
  end)

  it("knows what it does not have", function()
    assert.equal(404, app:get("/none").status)
  end)
]]

apps.echo = [[
-- A line protocol: what comes, goes back.
local cluster = require "clua"
local worker = cluster.Worker()

worker:ready(function(socket)
  worker:transact()
  for line in function() return socket:readLine() end do
    if line == "quit" then break end
    socket:write(line .. "\n")
  end
  socket:finish()
  worker:release()
end)
]]

bodies.echo = [[
  it("sends back what comes", function()
    local host, port = app:address():match "^(.*):(%d+)$"
    local socket = assert(require("clua.net").connect { host = host, port = tonumber(port) })
    socket:write "one\ntwo\nquit\n"
    assert.same({ "one", "two" }, { socket:readLine(), socket:readLine() })
    assert.is_nil(socket:readLine())
    socket:destroy()
  end)
]]

apps.api = [[
-- Notes, by worker: a real one keeps them in a database, which all workers share.
local cluster = require "clua"
local connect = require "clua.connect"
local http = require "clua.http"

local notes, last = {}, 0

local app = connect(connect.json())

app:get("/notes/:id", function(req, res, next)
  local note = notes[tonumber(req.params.id)]
  if not note then return next { status = 404, message = "no such note", expose = true } end
  res:json(note)
end)

app:post("/notes", function(req, res, next)
  local text = type(req.body) == "table" and req.body.text
  if type(text) ~= "string" then return next { status = 422, message = "text is missing", expose = true } end
  last = last + 1
  notes[last] = { id = last, text = text }
  res:json(notes[last], 201)
end)

app:use(function(_, _, next) next { status = 404 } end)
app:use(connect.errorHandler())

local server = http.createServer(app)
cluster.ready(function(socket) server:emit("connection", socket) end)
]]

bodies.api = [[
  it("takes a note and gives it back", function()
    local res = app:post("/notes", { text = "milk" })
    assert.same({ 201, { id = 1, text = "milk" } }, { res.status, res.json })
    assert.same("milk", app:get("/notes/1").json.text)
  end)

  it("says what is wrong", function()
    assert.equal(422, app:post("/notes", { word = "milk" }).status)
    assert.equal(404, app:get("/notes/77").status)
  end)
]]

tries.http = "curl localhost:8080/world"
tries.connect = "curl localhost:8080/hello/you"
tries.echo = "nc localhost 8080         # type, and `quit`"
tries.api = [[curl localhost:8080/notes -H 'Content-Type: application/json' -d '{"text":"milk"}']]

local function fill(text, values)
  return (text:gsub("%u%u%u%u+", values))
end

--- The files of a project.
-- @tparam string template one of templates.names
-- @tparam string name of the project
-- @treturn table array of { name =, text = }
function templates.files(template, name)
  name = name:gsub("[^%w._-]", "-")
  -- Notes are in the memory of the one worker that has taken them.
  local dispatch = template == "api" and DISPATCH:gsub("cnum = 2, ", "cnum = 1, ") or DISPATCH
  return {
    { name = "dispatch.lua", text = dispatch },
    { name = "app.lua", text = apps[template] },
    { name = "spec/app_spec.lua", text = fill(SPEC, { NAME = name, BODY = bodies[template] }) },
    {
      name = "README.md",
      text = README:gsub("NAME", name, 1):gsub("WHERE", template == "echo" and "on port 8080"
        or "on http://localhost:8080"):gsub("TRY", function() return tries[template] end),
    },
  }
end

return templates
