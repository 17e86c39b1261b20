local core = require "spec.support.core"
local ffi = require "ffi"

local EAGAIN = -11

describe("answer", function()
  local master, worker, message, fds, count

  before_each(function()
    local a, b = ffi.new "int[1]", ffi.new "int[1]"
    assert.equal(0, core.channel_pair(a, b))
    master, worker = a[0], b[0]
    message, fds, count = ffi.new "struct channel_message", ffi.new("int[64]"), ffi.new "size_t[1]"
  end)

  after_each(function()
    ffi.C.close(master)
    ffi.C.close(worker)
  end)

  local function send(bytes)
    return core.answer_send(master, 2, bytes, #bytes)
  end

  local function take()
    assert.equal(1, core.channel_receive(worker, message, fds, count))
    assert.equal(tonumber(core.CHANNEL_ANSWER), message.head.type)
    assert.equal(2, message.u.ask.what)
    assert.equal(1, tonumber(count[0]))
    local out, len = ffi.new "char *[1]", ffi.new "size_t[1]"
    assert.equal(0, core.answer_read(fds[0], out, len))
    local bytes = ffi.string(out[0], len[0])
    ffi.C.free(out[0])
    return bytes
  end

  it("brings any length in one packet", function()
    for _, bytes in ipairs { "", "a", ("0123456789abcdef"):rep(64 * 1024) } do
      assert.equal(0, send(bytes))
      assert.equal(bytes, take())
    end
    assert.equal(0, core.channel_receive(worker, message, fds, count))
  end)

  it("is kept for nobody who does not read: few of them are, and then none until he does", function()
    local sent = 0
    while send("x") == 0 do
      sent = sent + 1
      if sent > 200 then error("200 answers wait unread") end
    end
    assert.is_true(sent >= 4)
    assert.equal(EAGAIN, send("x"))
    for _ = 1, sent do assert.equal("x", take()) end
    assert.equal(0, send("y"))
    assert.equal("y", take())
  end)
end)
