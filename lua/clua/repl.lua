--- Interactive Lua: what is behind the prompt, without a terminal.
--
-- An evaluator is a function(text, reply) that calls `reply(result)` once, now or later:
--
--     { incomplete = true }               the chunk has no end yet: ask for another line
--     { text = "..." }                    what it has returned, made readable; "" for nothing
--     { error = "..." }                   message with a short traceback
--
-- `evaluator(env)` makes one that runs text in this process. `clua repl` talks to any of the same form, so that one may
-- send the text to a worker instead; so may `complete(prefix, reply)`, which returns an array of words, or nil when
-- `reply(words)` follows.
-- @module clua.repl

local inspect = require "clua.repl.inspect"
local trace = require "clua.trace"
local host = require "clua.core.host"

local repl = {}

local CHUNK = "=repl"

--- Compiles what was typed. An expression is what compiles behind `return`; "=x" means the same as "x".
-- @tparam string text
-- @tparam table env globals of the text
-- @treturn function|nil nil, message of the compiler: see is_incomplete()
function repl.compile(text, env)
  local expression = text:match("^%s*=(.*)$")
  local chunk, message = loadstring("return " .. (expression or text), CHUNK)
  if not chunk then chunk, message = loadstring(expression and "return " .. expression or text, CHUNK) end
  if chunk then return setfenv(chunk, env) end
  return nil, message
end

--- Whether a message of the compiler says that the chunk has no end yet.
function repl.is_incomplete(message)
  return message:find("'<eof>'$") ~= nil
end

-- The application's frames in this process: those of the repl itself are clua's.
local function describe(err)
  local text = type(err) == "table" and getmetatable(err) and getmetatable(err).__tostring and tostring(err)
    or type(err) == "string" and err or "error: " .. inspect(err)
  local frames, parts = trace.frames(2), { text }
  for _, frame in ipairs(frames) do parts[#parts + 1] = "\n    " .. trace.frame(frame) end
  return table.concat(parts)
end

local function show(...)
  local count, parts = select("#", ...), {}
  for i = 1, count do parts[i] = inspect((select(i, ...))) end
  return table.concat(parts, "\n")
end

--- Makes an evaluator of this process. Each text runs in a coroutine of its own, so it may wait: the loop goes on.
-- @tparam[opt] table env globals of the text; default: _G
-- @tparam[opt=false] boolean interruptible whether SIGINT raises an error in it until it waits or ends; then it is not
--   compiled by the JIT, whose code cannot be interrupted
-- @treturn function evaluator(text, reply)
function repl.evaluator(env, interruptible)
  env = env or _G
  return function(text, reply)
    local chunk, message = repl.compile(text, env)
    if not chunk then
      return reply(repl.is_incomplete(message) and { incomplete = true } or { error = message })
    end
    if interruptible then
      jit.off(chunk, true)
      host.interruptible(true)
    end
    host.spawn(function()
      local function answer(ok, ...)
        if interruptible then host.interruptible(false) end -- before the editor sets its own handlers
        if not ok then return reply { error = (...) } end
        if select("#", ...) > 0 then env._ = (...) end
        return reply { text = show(...) }
      end
      return answer(xpcall(chunk, describe))
    end)
    if interruptible then host.interruptible(false) end
  end
end

-- ---- completion ----------------------------------------------------------------------------------------------------

local KEYWORDS = { "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local",
  "nil", "not", "or", "repeat", "return", "then", "true", "until", "while" }

-- A table may be large, and whoever has it may serve others: keys that are looked at, words that are found.
local KEYS, WORDS, WORD_BYTES = 20000, 500, 128

-- Fields of a value, and of what its metatable's __index leads to, until visit() returns false.
local function fields_of(value, visit)
  for _ = 1, 10 do
    if type(value) == "table" then
      for key in next, value do
        if not visit(key) then return end
      end
    end
    local meta = debug.getmetatable(value)
    value = type(meta) == "table" and rawget(meta, "__index") or nil
    if value == nil then return end
  end
end

-- Looks up without calling anything of the application.
local function field(value, name)
  for _ = 1, 10 do
    if type(value) == "table" and rawget(value, name) ~= nil then return rawget(value, name) end
    local meta = debug.getmetatable(value)
    value = type(meta) == "table" and rawget(meta, "__index") or nil
    if value == nil then return nil end
  end
end

--- The words that may follow: globals, keywords, and fields behind "." and ":". Runs nothing of the application. At
-- most 500, of what is among the first 20,000 keys.
-- @tparam string prefix what stands before the cursor, from the last word on, such as "string.re"
-- @tparam[opt] table env as for evaluator()
-- @treturn table sorted array of words that take the place of the prefix
function repl.complete(prefix, env)
  local path, last = prefix:match("^(.*[.:])([%w_]*)$")
  local value, list, known, keys = env or _G, {}, {}, 0
  for name in (path or ""):gmatch("[^.:]+") do value = field(value, name) end
  if value == nil then return list end
  local function add(word)
    if word:sub(1, #(last or prefix)) ~= (last or prefix) or known[word] then return end
    known[word] = true
    list[#list + 1] = (path or "") .. word
  end
  fields_of(value, function(key)
    keys = keys + 1
    if type(key) == "string" and #key <= WORD_BYTES and key:find("^[%a_][%w_]*$") then add(key) end
    return keys < KEYS and #list < WORDS
  end)
  if not path then
    for _, word in ipairs(KEYWORDS) do add(word) end
  end
  table.sort(list)
  return list
end

return repl
