-- A bar chart of the bench as SVG: one group a case, one bar a server, microseconds of CPU a request.
local chart = {}

local COLOURS = { "#1f5fa8", "#6b9bd1", "#5aa469", "#a4c99b", "#c9a227", "#e3cb7a", "#999999" }
local BAR, GAP, LEFT, WIDTH = 16, 18, 190, 900

local function longest(rows)
  local most = 0
  for _, row in ipairs(rows) do
    for _, result in pairs(row.servers) do most = math.max(most, result.us_median) end
  end
  return most
end

--- @tparam table rows as scripts/bench/main.lua measures them
-- @tparam table servers in the order of the bars
function chart.draw(rows, servers)
  local out, y = {}, 40
  local function add(format, ...) out[#out + 1] = format:format(...) end
  add('<text x="10" y="20" font-size="14">server CPU time per request, microseconds (less is better; log scale)</text>')
  local scale = (WIDTH - LEFT - 80) / math.log(1 + longest(rows))
  for _, row in ipairs(rows) do
    add('<text x="10" y="%d">%s</text>', y + BAR - 3, row.case)
    for i, server in ipairs(servers) do
      local result = row.servers[server.name]
      if result then
        local width = math.log(1 + result.us_median) * scale
        add('<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>', LEFT, y, width, BAR - 2, COLOURS[i] or "#333")
        add('<text x="%.1f" y="%d">%.2f %s</text>', LEFT + width + 5, y + BAR - 4, result.us_median, server.name)
        y = y + BAR
      end
    end
    y = y + GAP
  end
  local frame = '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif"'
    .. ' font-size="11">\n%s\n</svg>\n'
  return frame:format(WIDTH + 120, y, table.concat(out, "\n"))
end

return chart
