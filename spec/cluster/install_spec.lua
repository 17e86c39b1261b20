-- What `make install` brings: a program that runs from where it is, and units that systemd takes.

local cluster = require "spec.support.cluster"
local uv = require "luv"

local EXPOSURE_MAX = 25 -- tenths, as systemd-analyze counts; above 40 it says so itself

-- Standard output and error, exit status.
local function run(command)
  local pipe = io.popen(command .. ' 2>&1; echo "status $?"')
  local text = pipe:read("*a")
  pipe:close()
  local output, status = text:match("^(.*)status (%d+)\n$")
  return output, tonumber(status)
end

describe("make install", function()
  if cluster.is_sanitized then return pending "installs the program without sanitizers" end
  local dir, units

  local function make(target)
    local output, status = run(("env -u MAKEFLAGS -u MAKELEVEL make -s %s PREFIX=%s/usr"):format(target, dir))
    assert.equal(0, status, output)
  end

  setup(function()
    dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX"))
    assert(uv.fs_chmod(dir, tonumber("755", 8)))
    units = dir .. "/usr/lib/systemd/system/"
    make "install"
  end)

  teardown(function() cluster.remove(dir) end)

  it("brings a program that needs nothing else of clua", function()
    cluster.write(dir .. "/script.lua", 'print(require("clua.http").createServer and "well")\n')
    assert.same({ "well\n", 0 }, { run(("cd / && %s/usr/bin/clua %s/script.lua"):format(dir, dir)) })
    uv.fs_unlink(dir .. "/script.lua")
  end)

  it("brings units that systemd takes, and that let the service do little", function()
    if select(2, run "systemd-analyze --version") ~= 0 then return pending "needs systemd-analyze" end
    local both = units .. "clua@.service " .. units .. "clua@.socket"
    assert.same({ "", 0 }, { run("systemd-analyze verify --man=no " .. both) })
    local output, status = run(("systemd-analyze security --offline=yes --threshold=%d %sclua@.service"):format(
      EXPOSURE_MAX, units))
    assert.equal(0, status, output)
  end)

  it("brings a line for systemd-tmpfiles", function()
    local file = assert(io.open(dir .. "/usr/lib/tmpfiles.d/clua.conf"))
    assert.truthy(file:read("*a"):find("\nd /run/clua ", 1, true))
    file:close()
  end)

  it("brings the documentation, whose links lead to files", function()
    local doc = dir .. "/usr/share/doc/clua/"
    for _, folder in ipairs { "", "lua/", "src/" } do
      local file = assert(io.open(doc .. folder .. "README.md"))
      for link in file:read("*a"):gmatch("%]%(([^)#:]+)%)") do
        assert.truthy(uv.fs_stat(doc .. folder .. link), folder .. "README.md links to " .. link)
      end
      file:close()
    end
  end)

  it("is undone by make uninstall", function()
    make "uninstall"
    local left = run(("find %s -type f"):format(dir))
    assert.equal("", left)
  end)
end)

describe("make help", function()
  it("keeps the names of the targets apart from what it says of them", function()
    local output = run "env -u MAKEFLAGS -u MAKELEVEL make -s help"
    assert.truthy(output:find("\nmake guard%-update +write"), output)
  end)
end)
