--- Dates of HTTP headers (RFC 9110, section 5.6.7).
-- Written without os.date and os.time, which follow the process's locale and time zone.
-- @module clua.connect.date

local memo = require "clua.memo"

local date = {}

local MONTHS = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }
local DAYS = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }
local MONTH_DAYS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

local month_number = {}
for number, name in ipairs(MONTHS) do month_number[name:lower()] = number end

local format = memo(function(seconds)
  local t = os.date("!*t", seconds)
  return ("%s, %02d %s %04d %02d:%02d:%02d GMT"):format(DAYS[t.wday], t.day, MONTHS[t.month], t.year, t.hour, t.min,
    t.sec)
end)

--- Formats a time.
-- @tparam number seconds since 1970-01-01 00:00 UTC; a fraction is dropped
-- @treturn string such as "Sun, 06 Nov 1994 08:49:37 GMT"
function date.format(seconds)
  return format(math.floor(seconds))
end

-- Days from 1970-01-01, the year taken to begin in March so that the leap day comes last.
local function days_from_epoch(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  local leap_days = math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
  return 365 * year + leap_days + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
end

local function is_leap(year)
  return year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
end

local function seconds_of(year, month_name, day, hour, min, sec)
  local month = month_number[month_name:lower()]
  year, day, hour, min, sec = tonumber(year), tonumber(day), tonumber(hour), tonumber(min), tonumber(sec)
  if not month or day < 1 or hour > 23 or min > 59 or sec > 60 then return nil end
  if day > MONTH_DAYS[month] and not (month == 2 and day == 29 and is_leap(year)) then return nil end
  return days_from_epoch(year, month, day) * 86400 + hour * 3600 + min * 60 + sec
end

-- RFC 850 dates have two digits for the year: more than 50 years ahead means the past.
local function full_year(year)
  local this_year = os.date("!*t").year
  year = tonumber(year) + this_year - this_year % 100
  return year > this_year + 50 and year - 100 or year
end

--- Reads a date in any of the three forms that a server must understand.
-- @tparam ?string text such as "Sun, 06 Nov 1994 08:49:37 GMT"
-- @treturn ?number seconds since 1970-01-01 00:00 UTC; nil when it is no valid date
function date.parse(text)
  if not text then return nil end
  local day, month, year, hour, min, sec = text:match("^%a%a%a, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$")
  if not day then
    day, month, year, hour, min, sec = text:match("^%a+, (%d%d)%-(%a%a%a)%-(%d%d) (%d%d):(%d%d):(%d%d) GMT$")
    year = year and full_year(year)
  end
  if not day then
    month, day, hour, min, sec, year = text:match("^%a%a%a (%a%a%a) ([ %d]%d) (%d%d):(%d%d):(%d%d) (%d%d%d%d)$")
  end
  return day and seconds_of(year, month, day, hour, min, sec)
end

return date
