--- Choice of a content coding by Accept-Encoding (RFC 9110, section 12.5.3). Pure functions.
-- @module clua.http.encoding

local encoding = {}

--- Codings that a file may be stored in, best first, with the extension of the stored file.
encoding.stored = {
  { name = "br", extension = ".br" },
  { name = "zstd", extension = ".zst" },
  { name = "gzip", extension = ".gz" },
}

--- How much each coding is wanted.
-- @tparam ?string header Accept-Encoding
-- @treturn table coding in lower case -> weight from 0 to 1; "*" for all others
function encoding.weights(header)
  local weights = {}
  for element in (header or ""):gmatch("[^,]+") do
    local name, parameters = element:match("^%s*([^;%s]+)%s*(.*)$")
    if name then
      local q = parameters:match(";%s*[qQ]%s*=%s*([%d.]+)")
      weights[name:lower()] = math.min(tonumber(q or 1) or 0, 1)
    end
  end
  if weights["x-gzip"] and not weights.gzip then weights.gzip = weights["x-gzip"] end
  return weights
end

--- The stored codings that the client takes, the most wanted first.
-- @tparam ?string header Accept-Encoding
-- @treturn table list of entries of encoding.stored
function encoding.acceptable(header)
  if not header then return {} end
  local weights, list = encoding.weights(header), {}
  for i, coding in ipairs(encoding.stored) do
    local weight = weights[coding.name] or weights["*"] or 0
    if weight > 0 then list[#list + 1] = { coding = coding, weight = weight, order = i } end
  end
  table.sort(list, function(a, b)
    if a.weight ~= b.weight then return a.weight > b.weight end
    return a.order < b.order
  end)
  local codings = {}
  for i, entry in ipairs(list) do codings[i] = entry.coding end
  return codings
end

return encoding
