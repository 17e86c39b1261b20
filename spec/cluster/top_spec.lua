-- clua top in a real terminal, driven by tmux as a person does.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"
local control = require "spec.support.control"
local load = require "spec.support.load"
local terminal = require "spec.support.terminal"

-- A shell command in a terminal of its own.
local function open(c, line, width, height)
  return terminal.open(c.dir, ("env CLUA_RUNTIME_DIR='%s' LC_ALL=C.UTF-8 %s; echo status=$?; read _"):format(c.dir,
    line), width, height)
end

describe("clua top in a terminal", function()
  before_each(function()
    if not terminal.exists() then pending("tmux is not installed") end
  end)

  after_each(function()
    terminal.cleanup()
    cluster.cleanup()
  end)

  local function up()
    return cluster.up { app = "hello", options = { cnum = 2 } }
  end

  it("shows what the workers do, and gives the terminal back on q", function()
    local c = up()
    local clients = load.start(c:address(), { clients = 5, think = 0.01 })
    local screen = open(c, cluster.binary .. " top --interval 0.2")
    screen.wait("pid " .. c.pid .. ": running")
    screen.wait("requests/s [1-9]")
    screen.wait("█")
    local text = screen.text()
    for _, member in ipairs(c:workers()) do
      assert.truthy(text:find(("\n127.0.0.1:0 +%d +%d +ready"):format(member.id, member.pid)), text)
    end
    clients:stop()
    screen.press "q"
    text = screen.wait("^status=0\n.*")
    assert.is_nil(text:find("REGISTRATION", 1, true), text)
    c:stop()
  end)

  it("sorts by the key that is pressed", function()
    local c = up()
    local screen = open(c, cluster.binary .. " top --interval 0.2")
    screen.wait("ID%*")
    for key, column in pairs { r = "REMAIN", s = "REQ/S", l = "LAG", m = "RSS", c = "CPU", i = "ID" } do
      screen.press(key)
      screen.wait(column .. "%*")
    end
    screen.press "Up" -- a sequence that begins with an escape is no escape
    screen.press "r"
    screen.wait("REMAIN%*")
    screen.press "C-c"
    screen.wait("status=0")
    c:stop()
  end)

  it("follows the size of the terminal", function()
    local c = cluster.up { app = "hello", options = { cnum = 12 } }
    local screen = open(c, cluster.binary .. " top --interval 0.2", 100, 30)
    screen.wait("\n127.0.0.1:0 +12 ")
    screen.resize(60, 10)
    screen.wait("\n127.0.0.1:0 +4 +%d+ +[^\n]+\nq quit; sort by i id, r remain, s requests/s, l lag, m memor\n")
    screen.resize(100, 10)
    screen.wait("; 8 lines more")
    screen.resize(100, 30)
    screen.wait("\n127.0.0.1:0 +12 ")
    screen.press "Escape"
    screen.wait("status=0")
    c:stop()
  end)

  it("goes on over an upgrade and a reload, and ends with the master", function()
    local c = up()
    local screen = open(c, cluster.binary .. " top --interval 0.2")
    screen.wait("running")
    local before = c:workers()[1].pid
    c:signal("sigusr2")
    c:wait_log("upgraded, generation 1")
    c:signal("sigusr1")
    c:wait_log("reload of .* done")
    local pid = c:workers()[1].pid
    assert.not_equal(before, pid)
    screen.wait(" " .. pid .. " ")
    c:stop()
    screen.wait("clua top: the master has ended\nstatus=111")
  end)

  it("gives the terminal back on a signal", function()
    local c = up()
    local screen = open(c, "sh -c 'echo $$ >" .. c.dir .. "/pid; exec " .. cluster.binary .. " top'")
    screen.wait("running")
    local file = io.open(c.dir .. "/pid")
    assert(require("luv").kill(tonumber(file:read("*l")), "sigterm"))
    file:close()
    screen.wait("status=143")
    assert.is_nil(screen.text():find("REGISTRATION", 1, true))
    screen.press "x" -- with its echo
    screen.wait("status=143\nx")
    c:stop()
  end)
end)

describe("clua top in a pipe", function()
  after_each(cluster.cleanup)

  it("writes plain lines, without what only a terminal understands", function()
    local c = cluster.up { app = "hello", options = { cnum = 1 } }
    assert.equal(200, (client.get(c:address(), "/")))
    local out, err, code = control.run(c, "top", "--once", "--interval", "0.2", "--sort", "r")
    assert.same({ "", 0 }, { err, code })
    assert.is_nil(out:find("\27", 1, true))
    assert.truthy(out:find("REMAIN*", 1, true), out)
    assert.truthy(out:find("\n127.0.0.1:0 +1 +" .. c:workers()[1].pid .. " "), out)
    local line = ("CLUA_RUNTIME_DIR='%s' '%s' top --interval 0.1 | head -n 12"):format(c.dir, cluster.binary)
    out, err, code = command.run("/bin/sh", { "-c", line })
    assert.same({ "", 0 }, { err, code })
    assert.is_true(select(2, out:gsub("\n", "")) == 12, out)
    out, err, code = control.run(c, "top", "--interval", "0")
    assert.equal("", out)
    assert.equal(100, code)
    assert.truthy(err:find("the interval must be seconds", 1, true))
    c:stop()
  end)
end)
