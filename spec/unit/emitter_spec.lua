local Emitter = require "clua.emitter"

describe("clua.emitter", function()
  local emitter, heard

  before_each(function()
    emitter, heard = Emitter.new(), {}
  end)

  local function hear(name)
    return function(...) heard[#heard + 1] = { name, ... } end
  end

  it("calls the handlers in the order they came, with all values", function()
    emitter:on("data", hear "a"):on("data", hear "b"):on("end", hear "c")
    assert.is_true(emitter:emit("data", 1, nil, 3))
    assert.same({ { "a", 1, nil, 3 }, { "b", 1, nil, 3 } }, heard)
  end)

  it("says that nobody listens", function()
    assert.is_false(emitter:emit("data"))
    emitter:on("data", hear "a"):off("data")
    assert.is_false(emitter:emit("data"))
    assert.is_false(emitter:emit("other"))
  end)

  it("calls what can be called: a table with __call too", function()
    local callable = setmetatable({}, { __call = function(_, ...) heard[#heard + 1] = { ... } end })
    emitter:on("data", callable):once("data", callable)
    emitter:emit("data", 1)
    emitter:emit("data", 2)
    assert.same({ { 1 }, { 1 }, { 2 } }, heard)
    emitter:off("data", callable)
    assert.equal(0, emitter:listenerCount("data"))
    assert.has_error(function() emitter:on("data", {}) end)
    assert.has_error(function() emitter:once("data", setmetatable({}, {})) end)
  end)

  it("calls once() once, even when the handler emits again", function()
    emitter:once("data", function()
      heard[#heard + 1] = "x"
      emitter:emit("data")
    end)
    emitter:emit("data")
    emitter:emit("data")
    assert.same({ "x" }, heard)
    assert.equal(0, emitter:listenerCount("data"))
  end)

  it("removes one handler, or all, and counts", function()
    local a, b = hear "a", hear "b"
    emitter:on("data", a):on("data", b):on("data", a)
    assert.equal(3, emitter:listenerCount("data"))
    emitter:off("data", a)
    assert.equal(1, emitter:listenerCount("data"))
    emitter:emit("data")
    assert.same({ { "b" } }, heard)
    emitter:off("data"):off("never")
    assert.equal(0, emitter:listenerCount("data"))
  end)

  it("goes on over the old handlers when one adds or removes some", function()
    local b = hear "b"
    emitter:on("data", function()
      heard[#heard + 1] = "a"
      emitter:off("data", b):on("data", hear "c")
    end)
    emitter:on("data", b)
    emitter:emit("data")
    assert.same({ "a", { "b" } }, heard)
    heard = {}
    emitter:emit("data")
    assert.same({ "a", { "c" } }, heard)
  end)

  it("gives an error to who emits; the handlers behind it are not called", function()
    emitter:on("data", function() error("broken", 0) end):on("data", hear "b")
    assert.has_error(function() emitter:emit("data") end, "broken")
    assert.same({}, heard)
  end)

  it("lets a handler wait in the coroutine of who emits", function()
    emitter:on("data", function() heard[1] = coroutine.yield() end)
    local co = coroutine.create(function() emitter:emit("data") end)
    assert(coroutine.resume(co))
    assert(coroutine.resume(co, "later"))
    assert.same({ "later" }, heard)
  end)

  it("refuses what is no event and no function", function()
    assert.has_error(function() emitter:on(5, print) end, "on: event must be a string, got number")
    assert.has_error(function() emitter:on("data", 5) end, "on: a function is expected for event 'data', got number")
    assert.has_error(function() emitter:once("data") end, "once: a function is expected, got nil")
  end)

  it("makes an emitter of an object, and keeps instances of a class apart", function()
    local object = { name = "x" }
    assert.equal(object, Emitter.new(object))
    local Class = Emitter.class("Class")
    function Class:shout() self:emit("shout", self.name) end
    local one, two = setmetatable({ name = "one" }, Class), setmetatable({ name = "two" }, Class)
    one:on("shout", hear "one")
    two:shout()
    one:shout()
    assert.same({ { "one", "one" } }, heard)
    assert.equal("Class", Class.__name)
  end)
end)
