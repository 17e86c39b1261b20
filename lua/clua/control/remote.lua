--- The evaluator of `clua repl --worker ID`: runs what is typed in a living worker.
--
--     local remote = Remote.open { worker = 2, registration = nil, name = nil, control = nil, pidfile = nil }
--     local answer, message, code = remote:evaluate "worker.remain"
--
-- @module clua.control.remote

local host = require "clua.core.host"
local target = require "clua.control.target"

local PATIENCE_S = 90 -- more than the master has with a worker

local Remote = {}
Remote.__index = Remote

--- Connects; raises an error of clua.usage when no master answers (see clua.control.target).
-- @tparam table args `worker` (id or pid), `registration` (when the id is not clear), and what chooses the cluster
-- @treturn Remote
function Remote.open(args)
  return setmetatable({ client = target.open(args), worker = args.worker, registration = args.registration }, Remote)
end

--- Runs code, and waits for its end.
-- @tparam string code an expression, or statements
-- @treturn table|nil `ok`; `values` (array of texts, at most 4) and `count`, or `error` with a traceback and
--   `incomplete`, when more lines would help; `output`, what it has printed. nil, message, code when it could not be
--   run: "EACCES" (not enabled), "ENOENT" (no such worker), "ETIMEDOUT", "ECONNRESET" (the worker has ended), "EOF"
--   (the master has), ...
function Remote:evaluate(code)
  return self.client:request("evaluate", { name = self.registration, worker = self.worker, code = code }, PATIENCE_S)
end

--- The same as an evaluator of `clua repl`.
-- @treturn function evaluator(text, reply): reply { incomplete = true }, reply { text = } or reply { error = }
function Remote:evaluator()
  local function answer_of(text)
    local answer, message = self:evaluate(text)
    if not answer then return { error = message } end
    if answer.incomplete then return { incomplete = true } end
    if not answer.ok then return { error = answer.output .. answer.error } end
    local shown = table.concat(answer.values, "\n")
    if answer.count > #answer.values then shown = shown .. ("\n(%d values)"):format(answer.count) end
    return { text = shown == "" and answer.output:gsub("\n$", "") or answer.output .. shown }
  end
  return function(text, reply)
    host.spawn(function() reply(answer_of(text)) end)
  end
end

function Remote:close()
  self.client:close()
end

return Remote
