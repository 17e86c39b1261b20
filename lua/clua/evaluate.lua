--- Runs an operator's code in a living worker: what `clua repl --worker` types. The master alone can ask for it, over a
-- packet of its own kind, when the registration has `repl = true`.
-- @module clua.evaluate

local host = require "clua.core.host"
local inspect = require "clua.repl.inspect"
local repl = require "clua.repl"
local wire = require "clua.wire"

local evaluate = {}

--- The name that answers are sent to. No registration has such a name.
evaluate.REPLY = "\1evaluated"

local OUTPUT_BYTES = 32768
local VALUE_BYTES = 4096
local VALUES = 4
local SHOWN = { depth = 3, entries = 50 } -- the worker serves nobody meanwhile

local function cut(text, limit)
  if #text <= limit then return text end
  return text:sub(1, limit) .. (" ... (%d bytes more)"):format(#text - limit)
end

local output -- of the code that runs now: array of strings

-- Globals of the code are the worker's; what it prints goes to who has asked.
local environment = setmetatable({}, { __index = _G, __newindex = _G })
rawset(environment, "print", function(...)
  if not output then return print(...) end
  local words = {}
  for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
  output.bytes = output.bytes + #words + 1
  for _, word in ipairs(words) do output.bytes = output.bytes + #word end
  if output.bytes <= OUTPUT_BYTES then
    output[#output + 1] = table.concat(words, "\t") .. "\n"
  else
    output.left_out = true
  end
end)

local function answer_of(ok, ...)
  local answer = { ok = ok }
  if ok then
    answer.values, answer.count = {}, select("#", ...)
    for i = 1, math.min(answer.count, VALUES) do
      answer.values[i] = cut(inspect((select(i, ...)), SHOWN), VALUE_BYTES)
    end
  else
    answer.error = cut(tostring((...)), VALUE_BYTES)
  end
  return answer
end

-- Without our own frames, which begin at the call of the chunk.
local function traceback(err)
  local text = debug.traceback(tostring(err), 2)
  return (text:gsub("\n[^\n]*in function 'xpcall'.*", ""))
end

--- Runs code.
-- @tparam string code an expression, or statements
-- @treturn table `ok`; `values` (array of texts), `count`; or `error`, and `incomplete` when more lines would help;
--   `output`, what it has printed
function evaluate.code(code)
  local chunk, why = repl.compile(code, environment)
  if not chunk then return { ok = false, error = why, incomplete = repl.is_incomplete(why), output = "" } end
  local mine = { bytes = 0 }
  output = mine
  local answer = answer_of(xpcall(chunk, traceback))
  if output == mine then output = nil end
  answer.output = table.concat(mine) .. (mine.left_out and "...\n" or "")
  return answer
end

--- The words that may follow a prefix, as many as fit into the answer; see repl.complete.
-- @tparam string prefix
-- @treturn table `ok`, `words`
function evaluate.words(prefix)
  local words, bytes = {}, 0
  for i, word in ipairs(repl.complete(prefix, environment)) do
    bytes = bytes + #word + 4 -- its length in the packet
    if bytes > OUTPUT_BYTES then break end
    words[i] = word
  end
  return { ok = true, words = words }
end

--- What comes from the master: bytes of { id =, code = } or { id =, prefix = }; the answer goes back with
-- send(name, bytes).
function evaluate.run(bytes, send)
  local request = wire.decode(bytes)
  local answer = request.prefix and evaluate.words(request.prefix) or evaluate.code(request.code)
  answer.id = request.id
  local ok, message = send(evaluate.REPLY, (wire.encode(answer, "worker", 0)))
  if not ok then host.log("warn", "the answer of the code that was run is lost: " .. message) end
end

return evaluate
