--- The evaluator of `clua repl --worker ID`: runs what is typed in a living worker, and completes its names.
--
--     local remote = Remote.open { worker = 2, registration = nil, name = nil, control = nil, pidfile = nil }
--     local answer, message, code = remote:evaluate "worker.remain"
--
-- The first answer binds it to that process: another one that has taken its place has none of what was typed.
-- @module clua.control.remote

local async = require "clua.async"
local Screen = require "clua.control.screen"
local host = require "clua.core.host"
local target = require "clua.control.target"
local text = require "clua.control.text"

local PATIENCE_S = 90 -- more than the master has with a worker

-- Behind these nothing can follow.
local FINAL = { EACCES = true, ECONNRESET = true, ENOENT = true, EOF = true, EPIPE = true, ESRCH = true }

local Remote = {}
Remote.__index = Remote

--- Connects; raises an error of clua.usage when no master answers (see clua.control.target).
-- @tparam table args `worker` (id or pid), `registration` (when the id is not clear), and what chooses the cluster
-- @treturn Remote
function Remote.open(args)
  return setmetatable({
    client = target.open(args), worker = args.worker, registration = args.registration, waiting = {},
  }, Remote)
end

-- One at a time: what is typed waits for the words that were asked for before.
local function request(self, op, arguments)
  if self.asking then async.await(function(go_on) table.insert(self.waiting, go_on) end) end
  self.asking = true
  arguments.name, arguments.worker, arguments.pid = self.registration, self.worker, self.pid
  local answer, message, failure = self.client:request(op, arguments, PATIENCE_S)
  local go_on = table.remove(self.waiting, 1)
  if go_on then go_on() else self.asking = false end
  return answer, message, failure
end

--- Runs code, and waits for its end.
-- @tparam string code an expression, or statements
-- @treturn table|nil `pid`; `ok`; `values` (array of texts, at most 4) and `count`, or `error` with a traceback and
--   `incomplete`, when more lines would help; `output`, what it has printed. nil, message, code when it could not be
--   run: "EACCES" (not enabled), "ENOENT" (no such worker), "ESRCH" (another process has its place), "ETIMEDOUT",
--   "ECONNRESET" (the worker has ended), "EOF" (the master has), ...
function Remote:evaluate(code)
  local answer, message, failure = request(self, "evaluate", { code = code })
  if not answer then return nil, message, failure end
  self.pid = answer.pid
  return answer
end

--- The same as an evaluator of `clua repl`. In a terminal nothing that the worker says is obeyed by it.
-- @treturn function evaluator(text, reply): reply { incomplete = true }, reply { text = } or reply { error = }, with
--   `final = true` when nothing can follow
function Remote:evaluator()
  local clean = Screen.is_there() and text.clean or tostring
  local function answer_of(code)
    local answer, message, failure = self:evaluate(code)
    if not answer then return { error = clean(message), final = FINAL[failure] } end
    if answer.incomplete then return { incomplete = true } end
    if not answer.ok then return { error = clean(answer.output .. answer.error) } end
    local shown = table.concat(answer.values, "\n")
    if answer.count > #answer.values then shown = shown .. ("\n(%d values)"):format(answer.count) end
    return { text = clean(shown == "" and answer.output:gsub("\n$", "") or answer.output .. shown) }
  end
  return function(code, reply)
    host.spawn(function() reply(answer_of(code)) end)
  end
end

--- The words that may follow, of that process. None when it cannot be asked, or says what none is.
-- @tparam string prefix
-- @treturn table
function Remote:complete(prefix)
  local answer, words = request(self, "complete", { prefix = prefix }), {}
  for _, word in ipairs(answer and type(answer.words) == "table" and answer.words or {}) do
    local is_one = type(word) == "string" and word:sub(1, #prefix) == prefix and word:find("^[%w_]*$", #prefix + 1)
    if is_one then words[#words + 1] = word end
  end
  return words
end

--- The same for the editor of `clua repl`, which waits for no answer: while one is under way there are no others.
-- @treturn function complete(prefix, reply): nil, and reply(words) later; or no words
function Remote:completer()
  local is_asking = false
  return function(prefix, reply)
    if is_asking then return {} end
    is_asking = true
    host.spawn(function()
      local words = self:complete(prefix)
      is_asking = false
      reply(words)
    end)
  end
end

function Remote:close()
  self.client:close()
end

return Remote
