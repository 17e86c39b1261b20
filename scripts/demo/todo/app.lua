-- The worker of the to-do list: nearly every middleware of clua.connect, each where it belongs.
local async = require "clua.async"
local cluster = require "clua"
local connect = require "clua.connect"
local http = require "clua.http"
local Store = require "store"
local todos = require "todos"
local uv = require "luv"

local data, key = arg[1], arg[2]

-- What every request goes through. The logger is the first: it sees what all others have made of it.
local app = connect(
  connect.requestId(),
  connect.logger { format = '$request_id $remote_addr "$request" $status $body_bytes_sent $request_ms ms' },
  connect.responseTime(),
  connect.securityHeaders { strictTransportSecurity = false, contentSecurityPolicy = "default-src 'self'" },
  connect.favicon(__dirname .. "/../favicon.svg"),
  connect.rateLimit { limit = 6000, window = 60, name = "todo" },
  connect.timeout(10),
  connect.compress(),
  connect.query(),
  connect.bodyLimit(1024 * 1024)
)

-- Another host name, another site.
app:use(connect.vhost("status.*", connect(function(_, res)
  res:json { entries = #todos.all(), pid = uv.os_getpid() }
end)))

-- The API: no cookies count here, so scripts of any site may use it.
app:use("/api", connect.cors(), connect.json { limit = 16 * 1024 })
app:use("/api/todos", todos.router)

-- The administrator: who it is, how often he was here, and the files.
local admin = connect.router()
admin:use(connect.basicAuth { users = { admin = os.getenv("ADMIN_PASSWORD") or "admin" } })
admin:use(connect.session { store = Store.new(data .. "/sessions"), name = "admin" })
admin:get("/", function(req, res)
  req.session.visits = (req.session.visits or 0) + 1
  res:json { user = req.user, visits = req.session.visits }
end)
admin:use("/files", connect.static(data .. "/entries", { index = false }), connect.directory(data .. "/entries"))
app:use("/admin", admin)

-- The page: forms, so what changes something needs the token of csrf.
local page = connect.router()
page:use(connect.cookieParser(key), connect.cookieSession { keys = key, name = "todo" })
page:use(connect.urlencoded { limit = 16 * 1024 }, connect.multipart { limit = 256 * 1024, files = 1 }, connect.csrf())
page:use(connect.methodOverride { body = "_method" }, connect.views(__dirname .. "/views"))

page:get("/", function(req, res)
  local notice = req.session.notice
  req.session.notice = nil
  res:render("index", {
    todos = todos.all(), token = req:csrfToken(), notice = notice, last = req.signedCookies.last,
  })
end)

page:post("/todos", function(req, res)
  local todo = todos.add(req.body.title)
  res:setCookie("last", todo.id, { signed = true, maxAge = 3600 })
  req.session.notice = "added"
  res:redirect("/", 303)
end)

page:put("/todos/:id", function(req, res, next)
  if not todos.change(req.params.id, { done = req.body.done == "true" }) then return next { status = 404 } end
  res:redirect("/", 303)
end)

page:delete("/todos/:id", function(req, res, next)
  if not todos.remove(req.params.id) then return next { status = 404 } end
  res:redirect("/", 303)
end)

-- A file of titles, one a line.
page:post("/import", function(req, res)
  local upload = req.files and req.files[1]
  if not upload then error { status = 422, message = "a file is expected", expose = true } end
  local fd = assert(async.call(uv.fs_open, upload.path, "r", 0))
  local text = assert(async.call(uv.fs_read, fd, upload.size, 0))
  async.call(uv.fs_close, fd)
  req.session.notice = todos.import(text) .. " imported"
  res:redirect("/", 303)
end)
app:use(page)

app:use(function(_, _, next) next { status = 404 } end)
app:use(connect.errorHandler())

local server = http.createServer(app)
cluster.ready(function(socket) server:emit("connection", socket) end)
