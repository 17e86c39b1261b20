local range = require "clua.http.range"

describe("http range", function()
  local function parse(header, size)
    local list = range.parse(header, size)
    if not list then return nil end
    local texts = {}
    for i, part in ipairs(list) do texts[i] = part[1] .. "-" .. part[2] end
    return table.concat(texts, " ")
  end

  it("reads first and last, open ends and suffixes", function()
    assert.equal("0-0", parse("bytes=0-0", 10))
    assert.equal("2-9", parse("bytes=2-", 10))
    assert.equal("7-9", parse("bytes=-3", 10))
    assert.equal("0-9", parse("bytes=-100", 10))
    assert.equal("5-9", parse("bytes=5-100", 10))
    assert.equal("0-1 4-5", parse("bytes=0-1, 4-5", 10))
    assert.equal("8-9 0-1", parse("BYTES=8-,,0-1", 10))
  end)

  it("leaves out what lies outside, to the last", function()
    assert.equal("0-1", parse("bytes=0-1,10-", 10))
    assert.equal("", parse("bytes=10-", 10))
    assert.equal("", parse("bytes=-0", 10))
    assert.equal("", parse("bytes=0-", 0))
  end)

  it("ignores what is malformed, of another unit, or too much", function()
    for _, header in ipairs { "bytes=", "bytes=a-b", "bytes=3-1", "bytes=1", "bytes=1-2-3", "lines=1-2", "bytes 1-2",
      "bytes=-", "bytes=0-9,0-9", "bytes=1234567890123456-" } do
      assert.is_nil(range.parse(header, 10))
    end
    assert.is_nil(range.parse(nil, 10))
    assert.is_nil(range.parse("bytes=" .. ("0-0,"):rep(range.limit + 1), 1000))
  end)
end)
