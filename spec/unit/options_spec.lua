local options = require "clua.options"

local known = {
  pidfile = "string", cnum = "integer", linger = "number", mode = "integer|string", balance = "function",
  app = "callable", log_level = "string",
}

describe("clua.options", function()
  local function check(given)
    return options.check(given, known, "register")
  end

  local function refuses(given, text)
    local ok, err = pcall(check, given)
    assert.is_false(ok)
    assert.equal(100, err.exit_status)
    assert.truthy(tostring(err):find(text, 1, true), tostring(err))
  end

  it("takes what is known, and returns it", function()
    local given = {
      pidfile = "/run/x", cnum = 0, linger = 0.2, mode = "0660", balance = print,
      app = setmetatable({}, { __call = print }),
    }
    assert.equal(given, check(given))
    check { mode = 432, app = print }
  end)

  it("makes an empty table of none", function()
    assert.same({}, check(nil))
  end)

  it("refuses an unknown name and says the nearest", function()
    refuses({ pidfiel = "x" }, "register: unknown option 'pidfiel', did you mean 'pidfile'?")
    refuses({ PidFile = "x" }, "did you mean 'pidfile'?")
    refuses({ loglevel = "x" }, "did you mean 'log_level'?")
    refuses({ cnumm = 1 }, "did you mean 'cnum'?")
  end)

  it("guesses nothing when nothing is near, and takes any key for a name", function()
    refuses({ completely_different = 1 }, "register: unknown option 'completely_different'")
    local _, err = pcall(check, { completely_different = 1 })
    assert.is_nil(tostring(err):find("did you mean"))
    refuses({ "first" }, "unknown option '1'")
    refuses({ [print] = 1 }, "unknown option 'function")
  end)

  it("refuses a wrong type and says which is right", function()
    refuses({ pidfile = 5 }, "option 'pidfile' must be string, got number")
    refuses({ cnum = 1.5 }, "option 'cnum' must be integer, got number")
    refuses({ cnum = "1" }, "option 'cnum' must be integer, got string")
    refuses({ mode = {} }, "option 'mode' must be integer or string, got table")
    refuses({ balance = {} }, "option 'balance' must be function, got table")
    refuses({ app = {} }, "option 'app' must be callable, got table")
    refuses("text", "register: options must be a table, got string")
  end)

  it("refuses numbers that no option can mean", function()
    refuses({ linger = -0.1 }, "option 'linger' must not be negative")
    refuses({ cnum = -1 }, "option 'cnum' must not be negative")
    refuses({ linger = 0 / 0 }, "must not be negative")
    refuses({ linger = math.huge }, "option 'linger' must be finite, got inf")
    refuses({ cnum = math.huge }, "option 'cnum' must be finite, got inf")
    refuses({ linger = -math.huge }, "must not be negative")
  end)

  it("points to the line of who called the function", function()
    local function register(given) options.check(given, known, "register", 2) end
    local line = debug.getinfo(1, "l").currentline + 1
    local ok, err = pcall(function() register { zebra = 1 } end)
    assert.is_false(ok)
    assert.equal(("spec/unit/options_spec.lua:%d: register: unknown option 'zebra'"):format(line),
      (tostring(err):gsub("^.*/(spec/unit/)", "%1")))
  end)

  describe("nearest", function()
    it("is the one with the fewest changes, the first of equals", function()
      assert.equal("gone", options.nearest("gon", { gone = 1, lost = 1 }))
      assert.equal("ab", options.nearest("ax", { ac = 1, ab = 1 }))
    end)

    it("is none for a word that has little in common", function()
      assert.is_nil(options.nearest("zebra", { gone = 1, lost = 1 }))
      assert.is_nil(options.nearest("x", {}))
      assert.is_nil(options.nearest("a", { b = 1 }))
      assert.is_nil(options.nearest("", { ps = 1 }))
      assert.is_nil(options.nearest("zz", { ps = 1 }))
      assert.equal("a", options.nearest("A", { a = 1 }))
    end)
  end)
end)
