-- A strict reader of Prometheus' text format 0.0.4: whatever the documentation of the format does not allow is an error
-- that names the line.

local prometheus = {}

local TYPES = { counter = true, gauge = true, histogram = true, summary = true, untyped = true }

local function fail(number, line, why)
  error(("line %d: %s: %s"):format(number, why, line), 0)
end

-- {a="b",...}: the labels and what stands behind them.
local function read_labels(text, bad)
  local labels, names, i = {}, {}, 2
  while text:sub(i, i) ~= "}" do
    local name, after = text:match("^([%a_][%w_]*)=\"()", i)
    if not name then bad("a label is expected") end
    if names[name] then bad("the label " .. name .. " stands there twice") end
    if name:find("^__") then bad("the label " .. name .. " is reserved") end
    local parts = {}
    i = after
    while text:sub(i, i) ~= '"' do
      local char = text:sub(i, i)
      if char == "" then bad("a label's value does not end") end
      if char == "\\" then
        local escaped = ({ n = "\n", ["\\"] = "\\", ['"'] = '"' })[text:sub(i + 1, i + 1)]
        if not escaped then bad("an unknown escape") end
        parts[#parts + 1] = escaped
        i = i + 2
      else
        parts[#parts + 1] = char
        i = i + 1
      end
    end
    names[name] = true
    labels[#labels + 1] = { name, table.concat(parts) }
    i = i + 1
    local separator = text:sub(i, i)
    if separator == "," then
      i = i + 1
    elseif separator ~= "}" then
      bad("a comma or a brace is expected")
    end
  end
  return labels, text:sub(i + 1)
end

local function read_number(text, bad)
  if text == "+Inf" then return math.huge end
  if text == "-Inf" then return -math.huge end
  if text == "NaN" then return 0 / 0 end
  if not text:find("^[+-]?%d+%.?%d*$") and not text:find("^[+-]?%d+%.?%d*e[+-]?%d+$") then bad("no number") end
  return tonumber(text)
end

local function base_of(name, families)
  if families[name] then return name end
  for _, suffix in ipairs { "_bucket", "_sum", "_count" } do
    local base = name:sub(-#suffix) == suffix and name:sub(1, -#suffix - 1)
    if base and families[base] and families[base].type == "histogram" then return base end
  end
end

local function check_is_utf8(text, bad)
  local at = 1
  while at <= #text do
    local _, last = text:find("^[\1-\127]+", at)
    if not last then _, last = text:find("^[\194-\223][\128-\191]", at) end
    if not last then _, last = text:find("^[\224-\239][\128-\191][\128-\191]", at) end
    if not last then _, last = text:find("^[\240-\244][\128-\191][\128-\191][\128-\191]", at) end
    if not last then bad("no UTF-8") end
    at = last + 1
  end
end

-- What only the whole of a histogram can show.
local function check_histogram(name, family)
  local groups = {}
  for _, sample in ipairs(family.samples) do
    local key = {}
    for _, pair in ipairs(sample.pairs) do
      if pair[1] ~= "le" then key[#key + 1] = pair[1] .. "=" .. pair[2] end
    end
    key = table.concat(key, ",")
    groups[key] = groups[key] or { buckets = {} }
    local kind = sample.name:sub(#name + 2)
    if kind == "bucket" then
      table.insert(groups[key].buckets, { assert(tonumber(sample.labels.le) or
        (sample.labels.le == "+Inf" and math.huge), name .. ": le"), sample.value })
    else
      groups[key][kind] = sample.value
    end
  end
  for key, group in pairs(groups) do
    local bound, count = -math.huge, 0
    for _, bucket in ipairs(group.buckets) do
      assert(bucket[1] > bound and bucket[2] >= count, name .. "{" .. key .. "}: buckets must grow")
      bound, count = unpack(bucket)
    end
    assert(bound == math.huge, name .. "{" .. key .. "}: there is no +Inf")
    assert(count == group.count, name .. "{" .. key .. "}: count is not that of +Inf")
    assert(group.sum, name .. "{" .. key .. "}: there is no sum")
  end
end

--- Reads a page.
-- @treturn table name -> { type =, help =, samples = array of { name =, labels =, pairs =, value = } }
function prometheus.parse(text)
  local families, seen, current, number = {}, {}, nil, 0
  assert(text:sub(-1) == "\n", "the last line must end")
  for line in text:gmatch("(.-)\n") do
    number = number + 1
    local function bad(why) fail(number, line, why) end
    check_is_utf8(line, bad)
    if line == "" then bad("an empty line") end
    local keyword, name, rest = line:match("^# (%u+) ([%a_:][%w_:]*) (.*)$")
    if keyword == "HELP" then
      if families[name] then bad("a second HELP, or one behind the family") end
      families[name] = { help = rest, samples = {} }
      current = name
    elseif keyword == "TYPE" then
      if current ~= name or families[name].type then bad("TYPE without HELP before it, or twice") end
      if not TYPES[rest] then bad("unknown type") end
      if rest == "counter" and not name:find("_total$") then bad("the name of a counter ends in _total") end
      families[name].type = rest
    else
      name, rest = line:match("^([%a_:][%w_:]*)(.*)$")
      if not name then bad("neither comment nor sample") end
      local base = base_of(name, families)
      if not base then bad("a sample without HELP and TYPE") end
      if base ~= current then bad("samples of one family must stand together") end
      local labels = {}
      if rest:sub(1, 1) == "{" then labels, rest = read_labels(rest, bad) end
      local value = rest:match("^ (%S+)$")
      if not value then bad("one value is expected") end
      local sample = { name = name, pairs = labels, labels = {}, value = read_number(value, bad) }
      local key = { name }
      table.sort(labels, function(a, b) return a[1] < b[1] end)
      for _, pair in ipairs(labels) do
        sample.labels[pair[1]] = pair[2]
        key[#key + 1] = ("%s=%q"):format(pair[1], pair[2])
      end
      key = table.concat(key, ",")
      if seen[key] then bad("this sample stands there twice") end
      seen[key] = true
      local is_counter = families[base].type == "counter"
      if is_counter and (sample.value < 0 or sample.value ~= sample.value) then bad("a counter below 0") end
      table.insert(families[base].samples, sample)
    end
  end
  for name, family in pairs(families) do
    assert(family.type and #family.samples > 0, name .. " is announced and empty")
    if family.type == "histogram" then check_histogram(name, family) end
  end
  return families
end

--- The value of the sample of that name whose labels include the given ones; nil when there is none.
function prometheus.value(families, name, labels)
  local base = base_of(name, families)
  for _, sample in ipairs(base and families[base].samples or {}) do
    local fits = sample.name == name
    for key, value in pairs(labels or {}) do fits = fits and sample.labels[key] == value end
    if fits then return sample.value end
  end
end

return prometheus
