-- A to-do list: a JSON API, a page that works without JavaScript, an import of files, an administrator's corner.
--
--     clua scripts/demo/todo/dispatch.lua [OFFSET]
--
-- OFFSET is added to the port. The entries are files of a directory, which all workers share.
local cluster = require "clua"
local uv = require "luv"

local port = 19861 + assert(tonumber(arg[1] or 0), "usage: dispatch.lua [OFFSET], a number")
local data = ("%s/clua-todo-%d"):format(uv.os_tmpdir(), port)

-- For as long as this runs; a real site keeps its key: `openssl rand -base64 32`.
local key = os.getenv("SESSION_KEY") or uv.random(32):gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)

for _, name in ipairs { data, data .. "/entries", data .. "/sessions" } do
  local ok, message, code = uv.fs_mkdir(name, tonumber("700", 8))
  assert(ok or code == "EEXIST", message)
end

local master = cluster.Master()
master:register(port, __dirname .. "/app.lua", { cnum = 2, args = { data, key } })

io.stdout:setvbuf "line" -- at once, also into a file
print("try, in another terminal:")
print(("  curl http://localhost:%d/api/todos"):format(port))
print(([[  curl -H 'Content-Type: application/json' -d '{"title":"milk"}' http://localhost:%d/api/todos]]):format(port))
print(("  http://localhost:%d/ in a browser; /admin is user admin, password admin"):format(port))
print("Ctrl-C ends it. Entries are kept in " .. data)
master:dispatch()
