-- An operator's code: what it gives, what it prints, how it fails; bounded in all of them.

local evaluate = require "clua.evaluate"

describe("code of an operator", function()
  it("gives its values as they are read", function()
    local shared = {}
    _G.evaluate_spec = { 1, "two\n\27", list = { a = { b = { c = { d = 1 } } } }, [true] = false, shared, shared }
    _G.evaluate_spec.itself = _G.evaluate_spec
    for code, expected in pairs {
      ["1 + 1"] = { "2" }, ["nil"] = { "nil" }, ["local x = 1"] = {},
      ["'a', {}, { x = 1, 2 }"] = { '"a"', "{}", "{ 2, x = 1 }" },
      ["return 5"] = { "5" }, ["= 2 + 3"] = { "5" }, ["evaluate_spec[2]"] = { '"two\\n\\027"' },
      ["{ ['a b'] = 1, [3] = 2 }"] = { '{ [3] = 2, ["a b"] = 1 }' },
    } do
      local answer = evaluate.code(code)
      assert.same({ true, expected, "" }, { answer.ok, answer.values, answer.output }, code)
    end
    local text = evaluate.code("evaluate_spec").values[1]
    assert.truthy(text:find("itself = <cycle>", 1, true), text)
    assert.truthy(text:find("list = { a = { b = { ... } } }", 1, true), text)
    _G.evaluate_spec = nil
  end)

  it("sets the globals of the process, and prints to who has asked", function()
    local answer = evaluate.code("evaluate_spec = 7 print('hello', nil, evaluate_spec)")
    assert.same({ true, 7, "hello\tnil\t7\n" }, { answer.ok, _G.evaluate_spec, answer.output })
    _G.evaluate_spec = nil
  end)

  it("that fails says where, without our own frames", function()
    local answer = evaluate.code("local function f() error('no such luck') end\nf()")
    assert.is_false(answer.ok)
    assert.truthy(answer.error:find("^repl:1: no such luck\nstack traceback:"), answer.error)
    assert.is_nil(answer.error:find("evaluate.lua", 1, true), answer.error)
    assert.truthy(evaluate.code("error {}").error:find("^table: "))
    answer = evaluate.code("local = 1")
    assert.same({ false, false }, { answer.ok, answer.incomplete })
    answer = evaluate.code("for i = 1, 2 do")
    assert.same({ false, true }, { answer.ok, answer.incomplete })
  end)

  it("is bounded in what it gives and prints", function()
    local answer = evaluate.code("('x'):rep(1e6)")
    assert.is_true(#answer.values[1] < 5000)
    assert.truthy(answer.values[1]:find("bytes more)", 1, true))
    answer = evaluate.code("local t = {} for i = 1, 1e5 do t[i] = i print(i) end return t, 1, 2, 3, 4, 5")
    assert.is_true(#answer.output < 33000)
    assert.equal("...\n", answer.output:sub(-4))
    assert.same({ 4, 6 }, { #answer.values, answer.count })
    assert.truthy(answer.values[1]:find("... 99950 more", 1, true))
    assert.is_true(#evaluate.code("error(('x'):rep(1e6))").error < 5000)
  end)

  it("is completed by the names of the process, as many as one packet holds", function()
    _G.evaluate_spec = { alpha = 1, ["a b"] = 2 }
    assert.same({ ok = true, words = { "evaluate_spec.alpha" } }, evaluate.words("evaluate_spec.a"))
    assert.same({}, evaluate.words("evaluate_spec.none.x").words)
    for i = 1, 1000 do _G.evaluate_spec[("b"):rep(100) .. i] = i end
    local words = evaluate.words("evaluate_spec.b").words
    assert.is_true(#words > 200 and #table.concat(words) < 33000)
    assert.same({}, evaluate.words(("a."):rep(1e5)).words)
    _G.evaluate_spec = nil
  end)

  it("that is shown by a __tostring which fails does no harm", function()
    local answer = evaluate.code("setmetatable({}, { __tostring = function() error 'no' end })")
    assert.same({ true, { "<its __tostring fails>" } }, { answer.ok, answer.values })
    answer = evaluate.code [[
      local proxy = newproxy(true)
      getmetatable(proxy).__tostring = function() error "no" end
      return proxy
    ]]
    assert.same({ true, { "<its __tostring fails>" } }, { answer.ok, answer.values })
  end)
end)
