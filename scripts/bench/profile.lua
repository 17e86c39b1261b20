-- `make profile [CASE=name]`: where the instructions of a request go, by owner, by our own file and by function; from
-- callgrind.
local callgrind = dofile(__dirname .. "/callgrind.lua")

local LEAST = 0.005 -- of the whole; functions below are not shown

local function sorted(map, value)
  local list = {}
  for key, entry in pairs(map) do list[#list + 1] = { key = key, entry = entry, n = value(entry) } end
  table.sort(list, function(a, b) return a.n > b.n end)
  return list
end

local function show(case)
  local sums = callgrind.measure(case)
  local owners, all = callgrind.by_owner(sums)
  print(("\n%s: %.0f instructions a request, in all processes of the cluster"):format(case.name, all))
  for _, row in ipairs(sorted(owners, function(n) return n end)) do
    if row.n >= 0.5 then print(("%8.0f  %4.1f %%  %s"):format(row.n, row.n / all * 100, row.key)) end
  end
  print ""
  local files = {}
  for _, entry in pairs(sums) do
    -- The name of a function that begins with an inlined one is given the header of that.
    local file = callgrind.owner(entry) == "clua" and (entry.file:match "/src/([%w_]+)%.[ch]$" or "others")
    if file then files[file] = (files[file] or 0) + entry.instructions end
  end
  for _, row in ipairs(sorted(files, function(n) return n end)) do
    if row.n >= 10 then print(("%8.0f  %4.1f %%  clua: %s"):format(row.n, row.n / all * 100, row.key)) end
  end
  print ""
  for _, row in ipairs(sorted(sums, function(entry) return entry.instructions end)) do
    if row.n < all * LEAST then break end
    local entry = row.entry
    local file = (entry.file or ""):match "([^/]+%.[chS])$" or ""
    print(("%8.0f  %4.1f %%  %-14s %s%s"):format(row.n, row.n / all * 100, callgrind.owner(entry), entry.name,
      file ~= "" and " (" .. file .. ")" or ""))
  end
end

for _, case in ipairs(callgrind.cases) do
  if not arg[1] or arg[1] == case.name then show(case) end
end
