-- clua.async over luv's own callbacks: child processes, names, files.
local async = require "clua.async"
local loop = require "spec.support.loop"
local uv = require "luv"

local WAIT = 30 -- seconds that bound a hang

describe("clua.async", function()
  -- Runs fn in a coroutine; what it returns.
  local function run(fn)
    return loop.run(fn, WAIT)
  end

  describe("spawn", function()
    it("gives status, output and errors; input goes in, and the environment is the one given", function()
      loop.wait(function() return true end, 1) -- its own timer
      local before = loop.handles()
      local status, out, err = run(function()
        return async.spawn("sh", { "-c", "cat; echo $NAME; pwd; echo oops >&2; exit 3" },
          { input = "in\n", env = { NAME = "value", PATH = os.getenv "PATH" }, cwd = "/" })
      end)
      assert.same({ 3, "in\nvalue\n/\n", "oops\n" }, { status, out, err })
      loop.wait(function() return loop.handles() == before end, WAIT, "the handles to go")
    end)

    it("gives much output whole, while others go on", function()
      local turns, timer = 0, uv.new_timer()
      timer:start(1, 1, function() turns = turns + 1 end)
      local _, out = run(function() return async.spawn("sh", { "-c", "head -c 3000000 /dev/zero; sleep 0.1" }) end)
      timer:close()
      assert.equal(3000000, #out)
      assert(turns > 1)
    end)

    it("tells of a signal as a shell does", function()
      assert.equal(128 + 9, (run(function() return async.spawn("sh", { "-c", "kill -9 $$" }) end)))
    end)

    it("says why it cannot", function()
      local status, message, code = run(function() return async.spawn("/nonexistent/program") end)
      assert.same({ nil, "ENOENT" }, { status, code })
      assert.equal("cannot run /nonexistent/program: ENOENT: no such file or directory", message)
      status, message, code = run(function() return async.spawn("true", {}, { cwd = "/nonexistent" }) end)
      assert.same({ nil, "ENOENT" }, { status, code })
      assert.equal("cannot run true in /nonexistent: ENOENT: no such file or directory", message)
    end)

    it("ends what takes too long, or says too much", function()
      local began = loop.now()
      local status, _, code = run(function() return async.spawn("sleep", { "60" }, { timeout = 0.1 }) end)
      assert.same({ nil, "ETIMEDOUT" }, { status, code })
      status, _, code = run(function() return async.spawn("cat", { "/dev/zero" }, { limit = 1000 }) end)
      assert.same({ nil, "EMSGSIZE" }, { status, code })
      assert(loop.now() - began < WAIT)
    end)

    it("refuses wrong use", function()
      run(function()
        for _, arguments in ipairs { { nil }, { "true", {}, { tiemout = 1 } }, { "true", "x" },
          { "cat", {}, { input = {} } }, { "cat", {}, { input = true } }, { "true", {}, { limit = "x" } },
          { "true", {}, { timeout = "x" } }, { "true", {}, { cwd = 5 } }, { "true", {}, { env = "A=1" } } } do
          local ok, message = pcall(function() async.spawn(unpack(arguments, 1, 3)) end)
          assert.is_false(ok)
          assert.truthy(tostring(message):find("async_spec.lua:%d+: async.spawn: "), tostring(message))
        end
      end)
    end)
  end)

  it("waits for names", function()
    local addresses = run(function() return async.call(uv.getaddrinfo, "localhost", nil, { socktype = "stream" }) end)
    local found
    for _, entry in ipairs(addresses) do found = found or entry.addr == "127.0.0.1" or entry.addr == "::1" end
    assert.is_true(found)
    local none, message, code = run(function() return async.call(uv.getaddrinfo, "no.such.name.invalid", nil, nil) end)
    assert.is_nil(none)
    assert.truthy(message)
    assert.truthy(code:find("^EAI_"), code)
  end)

  it("waits for files, read and written straight down", function()
    local path = os.tmpname()
    local text = run(function()
      local fd = assert(async.call(uv.fs_open, path, "w+", 384))
      assert(async.call(uv.fs_write, fd, "straight down", 0))
      local bytes = assert(async.call(uv.fs_read, fd, 100, 9))
      assert(async.call(uv.fs_close, fd))
      assert(async.call(uv.fs_unlink, path))
      return bytes
    end)
    assert.equal("down", text)
    assert.is_nil(uv.fs_stat(path))
  end)
end)
