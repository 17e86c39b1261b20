local fakes = require "spec.unit.connect_fakes"
local uv = require "luv"

local async = require "clua.async"

describe("clua.async", function()
  describe("await", function()
    it("returns what the callback is given, nil in the middle included", function()
      fakes.run(function()
        local function fetch(a, b, callback)
          local timer = uv.new_timer()
          timer:start(0, 0, function()
            timer:close()
            callback(a, nil, b, nil)
          end)
        end
        assert.same({ n = 4, "one", nil, "two" }, (function(...) return { n = select("#", ...), ... } end)(
          async.await(fetch, "one", "two")))
      end)
    end)

    it("passes nil arguments on, and puts the callback behind them", function()
      fakes.run(function()
        local got
        async.await(function(...)
          got = { n = select("#", ...), ... }
          got[4]()
        end, nil, 2, nil)
        assert.equal(4, got.n)
        assert.equal(2, got[2])
      end)
    end)

    it("takes a callback that comes before the function returns", function()
      fakes.run(function()
        assert.equal("now", async.await(function(callback) callback("now") end))
      end)
    end)

    it("gives the error of luv's callback, then no values", function()
      fakes.run(function()
        local err, stat = async.await(uv.fs_stat, "/nonexistent")
        assert.truthy(err:find("^ENOENT"))
        assert.is_nil(stat)
      end)
    end)

    it("returns the message of a call that did not start", function()
      fakes.run(function()
        assert.equal("EINVAL: no", async.await(function() return nil, "EINVAL: no", "EINVAL" end))
      end)
    end)

    it("ignores a callback that comes again, whatever the coroutine waits for by then", function()
      local again, woken
      local co = coroutine.create(function()
        async.await(function(callback)
          again = callback
          callback()
        end)
        coroutine.yield()
        woken = true
      end)
      assert(coroutine.resume(co))
      again()
      assert.is_nil(woken)
      assert.equal("suspended", coroutine.status(co))
    end)

    it("goes on waiting when the coroutine is resumed by somebody else", function()
      local callback, result
      local co = coroutine.create(function()
        result = async.await(function(given) callback = given end)
      end)
      coroutine.resume(co)
      coroutine.resume(co, "not for you")
      assert.is_nil(result)
      callback("mine")
      assert.equal("mine", result)
    end)

    it("raises what the function raises", function()
      fakes.run(function()
        assert.has_error(function() async.await(function() error("wrong use", 0) end) end, "wrong use")
      end)
    end)
  end)

  describe("call", function()
    it("returns the values without the error argument", function()
      fakes.run(function()
        assert.equal("directory", async.call(uv.fs_stat, "/").type)
      end)
    end)

    it("returns nil, message, code for an error", function()
      fakes.run(function()
        local stat, message, code = async.call(uv.fs_stat, "/nonexistent")
        assert.is_nil(stat)
        assert.equal("ENOENT: no such file or directory: /nonexistent", message)
        assert.equal("ENOENT", code)
      end)
    end)

    it("has a code for an error that names none", function()
      fakes.run(function()
        assert.equal("EUNKNOWN", (select(3, async.call(function(callback) callback("just so") end))))
      end)
    end)
  end)

  describe("sleep", function()
    it("waits at least so long, while the loop goes on", function()
      local ticks, timer = 0, uv.new_timer()
      timer:start(1, 1, function() ticks = ticks + 1 end)
      finally(function() timer:close() end)
      fakes.run(function()
        local start = uv.hrtime()
        async.sleep(0.05)
        -- libuv drops the fractions of a millisecond when it looks at the clock.
        assert.is_true(uv.hrtime() - start >= 49e6)
      end)
      assert.is_true(ticks > 1)
    end)

    it("counts from now, however long the handler has been busy before", function()
      fakes.run(function()
        uv.update_time()
        local start = uv.hrtime()
        repeat until uv.hrtime() - start > 30e6
        start = uv.hrtime()
        async.sleep(0.02)
        assert.is_true(uv.hrtime() - start >= 19e6)
      end)
    end)

    it("leaves no timer behind", function()
      local function count()
        local handles = 0
        uv.walk(function(handle) if not handle:is_closing() then handles = handles + 1 end end)
        return handles
      end
      local before
      fakes.run(function()
        before = count()
        async.sleep(0)
      end)
      assert.equal(before, count())
    end)

    for _, wrong in ipairs { -1, 0 / 0, math.huge, "1", false } do
      it("refuses " .. tostring(wrong), function()
        fakes.run(function() assert.error_matches(function() async.sleep(wrong) end, "seconds") end)
      end)
    end
  end)

  it("says what is wrong when there is no coroutine to wait in", function()
    -- The main line of a spec may itself be a coroutine: that of clua. As running() answers without one:
    -- luacheck: push ignore 122
    local running = coroutine.running
    finally(function() coroutine.running = running end)
    local main = coroutine.create(function() end)
    for _, answer in ipairs { function() return nil end, function() return main, true end } do
      coroutine.running = answer
      for name, call in pairs {
        await = function() async.await(uv.fs_stat, "/") end,
        call = function() async.call(uv.fs_stat, "/") end,
        sleep = function() async.sleep(0) end,
      } do
        local ok, message = pcall(call)
        assert.is_false(ok)
        assert.truthy(message:find("async_spec.lua:%d+: async%." .. name .. "%(%) waits, so it must be called inside"))
      end
    end
    -- luacheck: pop
  end)
end)
