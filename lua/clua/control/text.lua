--- Figures and tables as a person reads them.
-- @module clua.control.text

local text = {}

--- What workers and clients have said, without what a terminal would obey.
function text.clean(value)
  return (tostring(value):gsub("[%z\1-\8\11-\31\127]", function(c) return ("\\x%02x"):format(c:byte()) end)
    :gsub("\194([\128-\159])", function(c) return ("\\u%04x"):format(c:byte()) end))
end

--- "3 s", "12 min", "5 h", "9 d"
function text.age(seconds)
  if seconds < 120 then return ("%d s"):format(seconds) end
  if seconds < 7200 then return ("%d min"):format(seconds / 60) end
  if seconds < 172800 then return ("%d h"):format(seconds / 3600) end
  return ("%d d"):format(seconds / 86400)
end

--- "512 B", "3.8 MiB"
function text.bytes(count)
  for _, unit in ipairs { "B", "KiB", "MiB", "GiB" } do
    if count < 1024 or unit == "GiB" then return (unit == "B" and "%d %s" or "%.1f %s"):format(count, unit) end
    count = count / 1024
  end
end

--- "0.3 ms", "1.2 s"
function text.duration(seconds)
  if seconds < 1 then return ("%.1f ms"):format(seconds * 1000) end
  return ("%.1f s"):format(seconds)
end

--- Rows as lines, in columns as wide as their widest cell.
-- @tparam table rows arrays of strings; the first is the head
-- @tparam[opt] table left set of columns that begin at the left; the others end at the right
function text.columns(rows, left)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, #cell) end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local space = (" "):rep(widths[i] - #cell)
      cells[i] = left and left[i] and cell .. space or space .. cell
    end
    lines[#lines + 1] = (table.concat(cells, "  "):gsub("%s+$", ""))
  end
  return lines
end

return text
