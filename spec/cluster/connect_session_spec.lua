-- Sessions in files are one visitor's in all workers, whatever happens to these.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local uv = require "luv"

local APP = [[
local connect = require "clua.connect"
local store = require "clua.connect.file_store" { path = __dirname .. "/sessions", sweep = tonumber(...) }
local app = connect(connect.session { store = store, max_age = 3600 })
app:use(function(req, res)
  if req.url == "/out" then req.session = nil else req.session.visits = (req.session.visits or 0) + 1 end
  res:finish(("%d %s"):format(require("luv").os_getpid(), req.session and req.session.visits or "bye"))
end)
local server = require("clua.http").createServer(app)
require("clua").ready(function(socket) server:emit("connection", socket) end)
]]

describe("connect.session with files", function()
  after_each(cluster.cleanup)

  local function up(sweep)
    return cluster.up { app = "app.lua", files = { ["app.lua"] = APP }, options = { cnum = 2, args = { sweep } } }
  end

  it("is known to every worker, also when one was killed, after a reload and an upgrade; and ended for all", function()
    local c, visits, pids = up "600", 1, {}
    local status, headers, body = client.get(c:address(), "/")
    assert.equal(200, status)
    local cookie = headers["set-cookie"]:match("^[^;]+")
    local function visit()
      local _, _, text = client.get(c:address(), "/", { Cookie = cookie })
      local pid, count = text:match("^(%d+) (%d+)$")
      visits = visits + 1
      assert.equal(visits, tonumber(count), text)
      pids[pid] = true
    end
    local function seen()
      local count = 0
      for _ in pairs(pids) do count = count + 1 end
      return count
    end
    pids[body:match("^%d+")] = true
    c:wait(function()
      visit()
      return seen() == 2
    end, "both workers to be asked")
    for _, member in ipairs(c:workers()) do
      local mark = c:mark()
      assert(uv.kill(member.pid, "sigkill"))
      visit()
      c:wait_log("ready, pid", mark)
    end
    c:signal "sigusr1"
    c:wait_log "reload of .* done"
    visit()
    c:signal "sigusr2"
    c:wait_log "upgraded, generation 1"
    visit()
    client.get(c:address(), "/out", { Cookie = cookie })
    for _ = 1, 4 do
      local _, _, text = client.get(c:address(), "/", { Cookie = cookie })
      assert.truthy(text:find(" 1$"), text) -- a new visitor
    end
    c:stop()
  end)

  it("is swept from the disk when it has expired", function()
    local c = up "0.05"
    client.get(c:address(), "/")
    local function list()
      local request, names = assert(uv.fs_scandir(c.dir .. "/sessions")), {}
      for name in function() return uv.fs_scandir_next(request) end do names[#names + 1] = name end
      return names
    end
    local name = list()[1]
    assert.truthy(name and name:find("^[%w_-]+%.session$"), name)
    assert(uv.fs_utime(c.dir .. "/sessions/" .. name, 1, 1))
    c:wait(function() return #list() == 0 end, "the sweep")
    c:stop()
  end)
end)
