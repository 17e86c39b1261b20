local condition = require "clua.connect.condition"

local ETAG = '"now"'
local MODIFIED = 784111777
local AT = "Sun, 06 Nov 1994 08:49:37 GMT"
local BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
local AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"

describe("clua.connect.condition", function()
  -- status, then the request's headers
  local CASES = {
    { 200, {} },
    -- If-None-Match: weak comparison, lists, *
    { 304, { ["if-none-match"] = '"now"' } },
    { 304, { ["if-none-match"] = 'W/"now"' } },
    { 304, { ["if-none-match"] = "*" } },
    { 304, { ["if-none-match"] = " * " } },
    { 304, { ["if-none-match"] = '"old", "now"' } },
    { 304, { ["if-none-match"] = '"old","now","other"' } },
    { 304, { ["if-none-match"] = '  "old" ,, W/"now"' } },
    { 304, { ["if-none-match"] = '"a, b", "now"' } },
    { 200, { ["if-none-match"] = '"old"' } },
    { 200, { ["if-none-match"] = 'W/"old", "older"' } },
    { 200, { ["if-none-match"] = "" } },
    { 200, { ["if-none-match"] = "now" } },
    { 200, { ["if-none-match"] = '"no"' } },
    { 200, { ["if-none-match"] = '"now' } },
    { 200, { ["if-none-match"] = '"*"' } },
    { 200, { ["if-none-match"] = 'w/"now"' } },
    { 200, { ["if-none-match"] = '"a,\\"now\\""' } },
    -- If-Modified-Since
    { 304, { ["if-modified-since"] = AT } },
    { 304, { ["if-modified-since"] = AFTER } },
    { 304, { ["if-modified-since"] = "Sunday, 06-Nov-94 08:49:37 GMT" } },
    { 304, { ["if-modified-since"] = "Sun Nov  6 08:49:37 1994" } },
    { 200, { ["if-modified-since"] = BEFORE } },
    { 200, { ["if-modified-since"] = "once upon a time" } },
    { 200, { ["if-modified-since"] = "" } },
    -- the tag outranks the date
    { 200, { ["if-none-match"] = '"old"', ["if-modified-since"] = AT } },
    { 304, { ["if-none-match"] = '"now"', ["if-modified-since"] = BEFORE } },
    -- If-Match: strong comparison
    { 200, { ["if-match"] = '"now"' } },
    { 200, { ["if-match"] = "*" } },
    { 200, { ["if-match"] = '"old", "now"' } },
    { 412, { ["if-match"] = '"old"' } },
    { 412, { ["if-match"] = 'W/"now"' } },
    { 412, { ["if-match"] = "" } },
    -- If-Unmodified-Since
    { 200, { ["if-unmodified-since"] = AT } },
    { 200, { ["if-unmodified-since"] = AFTER } },
    { 412, { ["if-unmodified-since"] = BEFORE } },
    { 200, { ["if-unmodified-since"] = "once upon a time" } },
    { 200, { ["if-match"] = '"now"', ["if-unmodified-since"] = BEFORE } },
    { 412, { ["if-match"] = '"old"', ["if-unmodified-since"] = AFTER } },
    -- what the client insists on comes before what it has
    { 412, { ["if-match"] = '"old"', ["if-none-match"] = '"now"' } },
    { 304, { ["if-match"] = '"now"', ["if-none-match"] = '"now"' } },
    { 412, { ["if-unmodified-since"] = BEFORE, ["if-modified-since"] = AFTER } },
    { 304, { ["if-unmodified-since"] = AT, ["if-modified-since"] = AT } },
  }

  for _, case in ipairs(CASES) do
    local words = {}
    for name, value in pairs(case[2]) do words[#words + 1] = name .. ": " .. value end
    table.sort(words)
    it(("%d for { %s }"):format(case[1], table.concat(words, "; ")), function()
      assert.equal(case[1], condition.status(case[2], ETAG, MODIFIED))
    end)
  end

  it("makes another tag of every change that can be seen", function()
    local function stat(change)
      local result = { ino = 7, size = 100, mtime = { sec = 5, nsec = 6 } }
      for key, value in pairs(change) do result[key] = value end
      return result
    end
    local seen = {}
    for _, change in ipairs { {}, { ino = 8 }, { size = 101 }, { mtime = { sec = 6, nsec = 6 } },
      { mtime = { sec = 5, nsec = 7 } }, { mtime = { sec = 5, nsec = 60 } } } do
      local etag = condition.etag(stat(change))
      assert.truthy(etag:find('^"[%x.-]+"$'))
      assert.is_nil(seen[etag])
      seen[etag] = true
    end
    assert.equal(condition.etag(stat {}), condition.etag(stat {}))
  end)

  it("takes inode numbers beyond 32 bits", function()
    local big = { ino = 2 ^ 40 + 1, size = 2 ^ 41, mtime = { sec = 1, nsec = 0 } }
    assert.equal('"10000000001-20000000000-1.0"', condition.etag(big))
    big.ino = 2 ^ 64
    assert.equal('"ffffffffffffffff-20000000000-1.0"', condition.etag(big))
  end)

  it("takes times before 1970", function()
    local old = { ino = 1, size = 0, mtime = { sec = -1, nsec = 5 } }
    assert.equal('"1-0-ffffffffffffffff.5"', condition.etag(old))
  end)
end)
