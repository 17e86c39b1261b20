local date = require "clua.connect.date"

describe("clua.connect.date", function()
  local TIMES = {
    { 0, "Thu, 01 Jan 1970 00:00:00 GMT" },
    { 784111777, "Sun, 06 Nov 1994 08:49:37 GMT" },
    { 951782400, "Tue, 29 Feb 2000 00:00:00 GMT" },
    { 1709251199, "Thu, 29 Feb 2024 23:59:59 GMT" },
    { 4102444799, "Thu, 31 Dec 2099 23:59:59 GMT" },
    { 4107542400, "Mon, 01 Mar 2100 00:00:00 GMT" },
  }

  for _, case in ipairs(TIMES) do
    it("formats and reads " .. case[2], function()
      assert.equal(case[2], date.format(case[1]))
      assert.equal(case[1], date.parse(case[2]))
    end)
  end

  it("reads back what it formats, every week for 160 years", function()
    for time = 0, 160 * 365 * 86400, 7 * 86400 + 4321 do
      assert.equal(time, date.parse(date.format(time)))
    end
  end)

  it("drops fractions of a second", function()
    assert.equal("Thu, 01 Jan 1970 00:00:01 GMT", date.format(1.999))
  end)

  it("does not depend on the locale or the time zone", function()
    local uv = require "luv"
    local zone = os.getenv("TZ")
    finally(function()
      if zone then uv.os_setenv("TZ", zone) else uv.os_unsetenv("TZ") end
    end)
    uv.os_setenv("TZ", "Asia/Shanghai")
    assert.equal(784111777, date.parse("Sun, 06 Nov 1994 08:49:37 GMT"))
    assert.equal("Sun, 06 Nov 1994 08:49:37 GMT", date.format(784111777))
  end)

  it("reads the two obsolete forms", function()
    assert.equal(784111777, date.parse("Sunday, 06-Nov-94 08:49:37 GMT"))
    assert.equal(784111777, date.parse("Sun Nov  6 08:49:37 1994"))
  end)

  it("takes a year of two digits for the past when it lies more than 50 years ahead", function()
    local year = os.date("!*t").year
    for _, offset in ipairs { 50, 51 } do
      local short = (year + offset) % 100
      local expected = offset == 50 and year + 50 or year - 49
      local text = ("Monday, 01-Jun-%02d 00:00:00 GMT"):format(short)
      assert.equal(tostring(expected), date.format(date.parse(text)):match("%d%d%d%d"))
    end
  end)

  local WRONG = {
    "", "yesterday", "784111777", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC",
    "Sun, 06 Nov 1994 08:49:37 +0100", "Sun, 32 Nov 1994 08:49:37 GMT", "Thu, 31 Nov 1994 08:49:37 GMT",
    "Sun, 00 Nov 1994 08:49:37 GMT", "Wed, 29 Feb 2023 00:00:00 GMT", "Mon, 29 Feb 2100 00:00:00 GMT",
    "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:00 GMT",
    "Sun, 06 Nov 1994 08:49:61 GMT", " Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT, and more",
  }
  for _, text in ipairs(WRONG) do
    it(("takes %q for no date"):format(text), function() assert.is_nil(date.parse(text)) end)
  end

  it("takes a missing date for none", function() assert.is_nil(date.parse(nil)) end)
end)
