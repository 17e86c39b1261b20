-- `clua new`, `clua test` and clua.testing, as a user has them.

local uv = require "luv"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"

local dir

local function clua(...)
  return command.run("/usr/bin/env", { "-C", dir, cluster.binary, ... }, 120)
end

local function write(name, text)
  cluster.write(dir .. "/" .. name, text)
end

describe("clua new", function()
  before_each(function() dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX")) end)
  after_each(function() assert.equal(0, select(3, command.run("/bin/rm", { "-r", dir }))) end)

  for _, template in ipairs { "http", "connect", "echo", "api" } do
    it("--template " .. template .. " makes a project whose specs pass", function()
      local out, err, code = clua("new", "shop", "--template", template)
      assert.same({ "", 0 }, { err, code })
      for _, name in ipairs { "dispatch.lua", "app.lua", "spec/app_spec.lua", "README.md" } do
        assert.truthy(out:find("  shop/" .. name, 1, true), out)
        assert.truthy(uv.fs_stat(dir .. "/shop/" .. name), name)
      end
      out, err, code = command.run("/usr/bin/env", { "-C", dir .. "/shop", cluster.binary, "test" }, 120)
      assert.same(0, code, out .. err)
      assert.truthy(out:find("[2-9] successes / 0 failures / 0 errors"), out)
      -- A spec that cannot fail would be none.
      local app = dir .. "/shop/app.lua"
      cluster.write(app, "error 'broken'\n")
      out, err, code = command.run("/usr/bin/env", { "-C", dir .. "/shop", "CLUA_SPEC_DEADLINE=2", cluster.binary,
        "test" }, 120)
      assert.equal(1, code, out .. err)
      assert.truthy((out .. err):find("broken", 1, true), out .. err)
    end)
  end

  it("writes nothing into a directory that has something in it", function()
    write("mine.txt", "mine")
    local out, err, code = clua("new", ".")
    assert.same({ "", "clua new: . is not empty: nothing was written\n", 100 }, { out, err, code })
    out, err, code = clua("new", "mine.txt")
    assert.same({ "", "clua new: mine.txt is there already\n", 100 }, { out, err, code })
    assert.is_nil(uv.fs_stat(dir .. "/dispatch.lua"))
    assert.equal(100, select(3, clua("new", "x", "--template", "none")))
    assert.equal(111, select(3, clua("new", "no/such/place")))
  end)
end)

describe("clua test", function()
  before_each(function()
    dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX"))
    uv.fs_mkdir(dir .. "/spec", tonumber("755", 8))
  end)
  after_each(function() assert.equal(0, select(3, command.run("/bin/rm", { "-r", dir }))) end)

  it("runs specs straight down, with whatever waits, and says by its status how it went", function()
    write("spec/a_spec.lua", [[
      local testing = require "clua.testing"
      describe("an app", function()
        teardown(testing.cleanup)
        it("is asked", function()
          require("clua.timer").sleep(0.01)
          local app = testing.start { serve = "app.lua", env = { WORD = "seven" } }
          local res = app:post("/x", { a = 1 }, { ["X-Y"] = "z" })
          assert.same({ 201, { body = '{"a":1}', method = "POST", word = "seven", y = "z" } }, { res.status, res.json })
          for _, name in ipairs { "sigusr1", "SIGUSR1", "USR1" } do
            local mark = app:mark()
            app:signal(name)
            app:wait_log("reload of %S+ done", mark)
          end
          assert.equal(201, app:get("/").status)
          local ok, message = pcall(app.wait, app, function() return false end, "the impossible", 0.05)
          assert.is_false(ok)
          assert.truthy(message:find("waited 0.05 s for the impossible", 1, true))
          app:stop()
        end)
      end)
    ]])
    write("app.lua", [[
      return function(req, res)
        res:json({ body = req:body(), method = req.method, word = os.getenv "WORD", y = req.headers["x-y"] }, 201)
      end
    ]])
    local out, err, code = clua "test"
    assert.equal(0, code, out .. err)
    assert.truthy(out:find("1 success / 0 failures / 0 errors", 1, true), out .. err)
    write("spec/b_spec.lua", "describe('b', function() it('fails', function() assert.equal(1, 2) end) end)\n")
    out, err, code = clua "test"
    assert.same({ "", 1 }, { err, code })
    assert.truthy(out:find("1 success / 1 failure / 0 errors", 1, true), out)
    assert.equal(0, select(3, clua("test", "spec/a_spec.lua", "--output=TAP")))
  end)

  it("says wrong use with a status of its own, and not with that of a spec that has failed", function()
    local out, err, code = clua("test", "--nosuch")
    assert.same({ "", "clua test: unknown/bad flag: --nosuch: see busted --help\n", 100 }, { out, err, code })
  end)

  it("tells how to get busted when it is missing", function()
    local out, err, code = command.run("/usr/bin/env", { "-C", dir, "LUA_PATH=./?.lua", cluster.binary, "test" })
    assert.same({ "", 111 }, { out, code })
    assert.truthy(err:find("install the package lua%-busted"), err)
  end)

  it("leaves no cluster behind that a spec has forgotten", function()
    write("app.lua", "return function(_, res) res:finish '' end\n")
    write("spec/a_spec.lua", "it('forgets', function()\n"
      .. "  print('pid ' .. require('clua.testing').start { serve = 'app.lua' }.pid)\nend)\n")
    local out, err, code = clua "test"
    assert.equal(0, code, out .. err)
    assert.is_nil(uv.fs_stat("/proc/" .. assert(out:match("pid (%d+)"))), out)
  end)
end)
