local usage = require "clua.usage"

describe("clua.usage", function()
  local function caught(fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    return err
  end

  it("fails with the line of the caller, a code and an exit status", function()
    local function register() usage.fail(1, "register: '%s' is %d", "x", 5) end
    local line = debug.getinfo(1, "l").currentline + 1
    local err = caught(function() register() end)
    assert.equal(("spec/unit/usage_spec.lua:%d: register: 'x' is 5"):format(line),
      (err.message:gsub("^.*/(spec/unit/)", "%1")))
    assert.equal(err.message, tostring(err))
    assert.equal("EINVAL", err.code)
    assert.equal(100, err.exit_status)
  end)

  it("leaves a message without values as it is", function()
    assert.truthy(caught(function() usage.fail(1, "100%") end).message:find("100%", 1, true))
  end)

  it("refuses with the message alone", function()
    local err = caught(usage.refuse, "cannot listen on 80", "EACCES", 111)
    assert.equal("cannot listen on 80", tostring(err))
    assert.equal("EACCES", err.code)
    assert.equal(111, err.exit_status)
    assert.equal(100, caught(usage.refuse, "no").exit_status)
    assert.equal("EINVAL", caught(usage.refuse, "no").code)
  end)
end)
