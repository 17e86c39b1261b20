-- clua.repl: evaluator, values as text, completion.

local inspect = require "clua.repl.inspect"
local repl = require "clua.repl"

local function run(text, env)
  local result
  repl.evaluator(env or setmetatable({}, { __index = _G }))(text, function(r) result = r end)
  return result
end

describe("clua.repl", function()
  it("runs expressions, with and without =, and statements", function()
    local env = setmetatable({}, { __index = _G })
    assert.same({ text = "3" }, run("1 + 2", env))
    assert.same({ text = "3" }, run("=1 + 2", env))
    assert.same({ text = "" }, run("x = 5", env))
    assert.same({ text = "5\nnil\n\"a\"" }, run("x, nil, 'a'", env))
    assert.same({ text = "5" }, run("_", env))
    assert.equal(5, env.x)
  end)

  it("knows a chunk that has no end yet from one that is wrong", function()
    for _, text in ipairs { "for i = 1, 2 do", "f(", "x = {", "function f()", "x = [[" } do
      assert.same({ incomplete = true }, run(text), text)
    end
    assert.truthy(run("x = = 1").error:find("unexpected symbol near '='", 1, true))
    assert.is_true(repl.is_incomplete "repl:1: unexpected symbol near '<eof>'")
    assert.is_false(repl.is_incomplete "repl:1: '=' expected near 'x'")
    assert.truthy(run("end").error)
  end)

  it("tells errors of any kind, without its own frames", function()
    assert.truthy(run("local a = nil + 1").error:find("^repl:1: attempt to perform arithmetic"))
    assert.equal("error: { a = 1 }", run("error { a = 1 }").error)
    assert.falsy(run("error 'x'").error:find("clua/", 1, true))
  end)

  it("waits for code that waits", function()
    local loop = require "spec.support.loop"
    local result
    repl.evaluator()("require('clua.timer').sleep(0.01) return 'slept'", function(r) result = r end)
    assert.is_nil(result)
    loop.wait(function() return result end, 20, "the answer")
    assert.same({ text = '"slept"' }, result)
  end)

  it("shows tables as they are read", function()
    assert.equal('{ 1, 2, nil, 4, [7] = 7, a = "x\\n\\"", ["b c"] = {} }',
      inspect { 1, 2, nil, 4, [7] = 7, a = 'x\n"', ["b c"] = {} })
    local cycle = {}
    cycle.self = cycle
    assert.equal("{ self = <cycle> }", inspect(cycle))
    local long = inspect { ("a"):rep(60), ("b"):rep(60) }
    assert.equal(('{\n  "%s",\n  "%s"\n}'):format(("a"):rep(60), ("b"):rep(60)), long)
    assert.equal('"\\027[31m\\127"', inspect "\27[31m\127")
    assert.equal("text", inspect(setmetatable({}, { __tostring = function() return "text" end })))
    assert.truthy(inspect(setmetatable({}, { __tostring = error })):find("fails", 1, true))
    local many = {}
    for i = 1, 500 do many[i] = i end
    assert.truthy(inspect(many):find("... 300 more", 1, true))
    assert.equal("{ { ... }, 2, ... 1 more }", inspect({ { 1 }, 2, 3 }, { depth = 1, entries = 2 }))
  end)

  it("completes globals, keywords and fields, and calls nothing", function()
    local called = false
    local object = setmetatable({ alpha = { beta = 1 } }, { __index = function() called = true end })
    local env = { object = object, print = print, str = "text" }
    assert.same({ "object", "or" }, repl.complete("o", env))
    assert.same({ "object.alpha.beta" }, repl.complete("object.alpha.b", env))
    assert.same({ "str:rep", "str:reverse" }, repl.complete("str:re", env))
    assert.same({}, repl.complete("object.none.x", env))
    assert.is_false(called)
  end)

  it("completes what is a name only, and no more than can be read", function()
    local env = { [1] = 1, [true] = 2, ["a b"] = 3, ["a\27[31m"] = 4, [""] = 5, [("a"):rep(1000)] = 6, ab = 7 }
    assert.same({ "ab", "and" }, repl.complete("a", env))
    local many = {}
    for i = 1, 1e5 do many["name" .. i] = i end
    assert.equal(500, #repl.complete("many.name", { many = many }))
    -- Of keys that do not fit no more are looked at.
    local far = setmetatable({}, { __index = { found = 1 } })
    assert.same({ "far.found" }, repl.complete("far.f", { far = far }))
    for i = 1, 1e5 do far[i] = i end
    assert.same({}, repl.complete("far.f", { far = far }))
  end)
end)
