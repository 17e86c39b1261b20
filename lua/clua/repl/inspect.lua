--- Values as they are read: tables with what is in them, sorted, in lines that fit.
-- @module clua.repl.inspect

local WIDTH = 100
local LIMITS = { depth = 6, entries = 200 }

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\" }

-- Control bytes would be the terminal's; UTF-8 is left as it is.
local function quote(text)
  return '"' .. text:gsub('[%c"\\\127]', function(byte)
    return ESCAPES[byte] or ("\\%03d"):format(byte:byte())
  end) .. '"'
end

local function is_word(key)
  return type(key) == "string" and key:find("^[%a_][%w_]*$") ~= nil
end

local function before(a, b)
  local ta, tb = type(a), type(b)
  if ta ~= tb then return ta == "number" or (tb ~= "number" and ta < tb) end
  if ta == "number" or ta == "string" then return a < b end
  return tostring(a) < tostring(b)
end

local function keys_of(value)
  local keys, count = {}, #value
  for key in next, value do
    if not (type(key) == "number" and key >= 1 and key <= count and key % 1 == 0) then keys[#keys + 1] = key end
  end
  table.sort(keys, before)
  return keys, count
end

local render

local function entries_of(value, depth, state)
  local keys, count = keys_of(value)
  local most = state.limits.entries
  local list = {}
  local function add(text)
    if #list < most then list[#list + 1] = text end
  end
  for i = 1, math.min(count, most) do add(render(rawget(value, i), depth + 1, state)) end
  for _, key in ipairs(keys) do
    if #list >= most then break end
    local name = is_word(key) and key or "[" .. render(key, depth + 1, state) .. "]"
    add(name .. " = " .. render(rawget(value, key), depth + 1, state))
  end
  local left = count + #keys - #list
  if left > 0 then list[#list + 1] = ("... %d more"):format(left) end
  return list
end

local function render_table(value, depth, state)
  if state[value] then return "<cycle>" end
  if next(value) == nil then return "{}" end
  if depth >= state.limits.depth then return "{ ... }" end
  state[value] = true
  local list = entries_of(value, depth, state)
  state[value] = nil
  local line = "{ " .. table.concat(list, ", ") .. " }"
  if #line + depth * 2 <= WIDTH and not line:find("\n", 1, true) then return line end
  local indent = ("  "):rep(depth + 1)
  return "{\n" .. indent .. table.concat(list, ",\n" .. indent) .. "\n" .. ("  "):rep(depth) .. "}"
end

function render(value, depth, state)
  local kind = type(value)
  if kind == "string" then return quote(value) end
  local meta = debug.getmetatable(value)
  if kind ~= "table" or type(meta) == "table" and rawget(meta, "__tostring") then
    local ok, text = pcall(tostring, value)
    return ok and text or "<its __tostring fails>"
  end
  return render_table(value, depth, state)
end

--- Text of any value.
-- @param value
-- @tparam[opt] table limits `depth` of tables in tables (6) and `entries` of each (200) that are shown
-- @treturn string
return function(value, limits)
  return render(value, 0, { limits = limits or LIMITS })
end
