local buffer = require "string.buffer"
local wire = require "clua.wire"

describe("clua.wire", function()
  local function round_trip(message)
    local got, why, from, pid = wire.decode(assert(wire.encode(message, "web", 4711)))
    assert.is_nil(why)
    assert.equal("web", from)
    assert.equal(4711, pid)
    return got
  end

  it("carries strings, numbers, booleans and nil", function()
    for _, message in ipairs { "", "text", "\0\255\n", 0, -1.5, 2 ^ 53, math.huge, true, false } do
      assert.equal(message, round_trip(message))
    end
    assert.is_nil(round_trip(nil))
  end)

  it("carries tables in tables", function()
    local message = { 1, 2, { deep = { true, "x" } }, key = "value", [3.5] = 0 }
    assert.same(message, round_trip(message))
  end)

  it("refuses what belongs to one process only", function()
    for _, message in ipairs { print, coroutine.create(print), { nested = { print } }, io.stdout } do
      local bytes, why = wire.encode(message, "web", 1)
      assert.is_nil(bytes)
      assert.truthy(why:find("^message cannot be sent: "), why)
    end
  end)

  it("refuses a table that contains itself", function()
    local message = {}
    message.self = message
    assert.is_nil((wire.encode(message, "web", 1)))
  end)

  it("says why bytes are no message", function()
    for _, bytes in ipairs { "", "junk", "\255\255\255\255", buffer.encode(5), buffer.encode("text") } do
      local message, why = wire.decode(bytes)
      assert.is_nil(message)
      assert.is_string(why)
    end
  end)

  it("survives every truncation and a thousand random bytes", function()
    local bytes = wire.encode({ a = { 1, 2, 3 }, b = "text", c = 1.5 }, "web", 1)
    for len = 0, #bytes - 1 do
      local _, why = wire.decode(bytes:sub(1, len))
      assert.is_string(why)
    end
    for _ = 1, 1000 do
      local at = math.random(#bytes)
      wire.decode(bytes:sub(1, at - 1) .. string.char(math.random(0, 255)) .. bytes:sub(at + 1))
    end
  end)
end)
