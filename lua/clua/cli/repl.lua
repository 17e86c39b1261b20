--- `clua repl`: interactive Lua on the event loop; `clua repl --worker ID`: in a living worker.
-- @module clua.cli.repl

local target = require "clua.control.target"
local usage = require "clua.usage"
local uv = require "luv"

local repl = { summary = "talk to Lua on the event loop" }

local PROMPT, MORE = "> ", ">> "
local NO_END = "the chunk has no end"

local function id(word)
  if word:find "^%d+$" then return tonumber(word) end
  return nil, ("a worker is named by its id or pid, got '%s'"):format(word)
end

function repl.configure(parser)
  parser:option("-l --require", "load a module first, into a global of its name"):argname("MODULE"):count "*"
  parser:option("--worker", "in this living worker, id or pid; its registration must have repl = true")
    :argname("ID"):convert(id)
  parser:option("--registration", "whose worker, when several have that id"):argname "NAME"
  target.configure(parser)
end

local function history_file()
  local state = os.getenv("CLUA_HISTORY")
  if state then return state ~= "" and state or nil end
  local home = os.getenv("HOME")
  return home and home .. "/.clua_history"
end

--- Talks through an evaluator and a completer (clua.repl) until the input ends.
-- @tparam function evaluate evaluator(text, reply)
-- @tparam function complete
-- @tparam function done called at the end; with a message, when the evaluator has replied an error that is `final`
-- @tparam[opt] string left the message when Ctrl-C leaves what runs elsewhere, and with it the conversation; without
--   it Ctrl-C gives up waiting for what was typed
function repl.talk(evaluate, complete, done, left)
  local editor = require "clua.repl.editor"
  local pending, busy, ended, queue, edit = nil, false, false, {}, nil
  local signal, print_plain = uv.new_signal(), print

  local function finish(problem)
    signal:close()
    _G.print = print_plain
    edit:close()
    if edit.is_terminal then print "" end
    return done(problem)
  end

  local function prompt()
    edit:prompt(pending and MORE or PROMPT)
  end

  local next_line

  local function replied(turn, result)
    if turn ~= busy then return end -- given up
    busy = false
    if result.final then return finish(result.error) end
    if result.incomplete and not (ended and #queue == 0) then return next_line() end
    pending = nil
    if result.incomplete then result = { error = NO_END } end
    if result.error then
      io.stdout:write(result.error .. "\n")
    elseif result.text and result.text ~= "" then
      io.stdout:write(result.text .. "\n")
    end
    io.stdout:flush()
    return next_line()
  end

  function next_line()
    local text = table.remove(queue, 1)
    if not text then
      if ended and pending then io.stdout:write(NO_END .. "\n") end
      if ended then return finish() end
      return prompt()
    end
    pending = pending and pending .. "\n" .. text or text
    if not pending:find("%S") then
      pending = nil
      return next_line()
    end
    local turn = {}
    busy = turn
    edit:rest()
    evaluate(pending, function(result) replied(turn, result) end)
  end

  edit = editor.open {
    complete = complete, history = history_file(),
    on_line = function(text)
      queue[#queue + 1] = text
      if not busy then next_line() end
    end,
    on_end = function()
      ended = true
      if edit.library then edit.poll:stop() end
      if not busy then next_line() end
    end,
  }
  -- What others print must not stand in the line that is typed.
  if edit.library then
    _G.print = function(...)
      edit:hide()
      print_plain(...)
      edit:show()
    end
  end
  -- Ctrl-C clears what has been typed, or gives up waiting; what does not wait is interrupted by the evaluator.
  signal:start("sigint", function()
    if busy then
      if left then return finish(left) end
      replied(busy, { error = "interrupted: what was waited for goes on" })
      return
    end
    pending = nil
    edit:clear()
    prompt()
  end)
  prompt()
end

-- An option that would do nothing is refused.
local function check(args)
  if args.worker then
    if args.require[1] then usage.refuse "--require is not for a worker: require() there" end
    return
  end
  for _, name in ipairs { "registration", "control", "pidfile", "name" } do
    if args[name] then usage.refuse(("--%s needs --worker ID: see clua repl --help"):format(name)) end
  end
end

local function load_modules(names)
  for _, name in ipairs(names) do
    local ok, found = pcall(require, name)
    if not ok then
      found = tostring(found):gsub("^(module '.-' not found):\n.*", "%1")
      usage.refuse(("--require %s: %s"):format(name, found))
    end
    _G[name] = found
  end
end

local function is_tty()
  return uv.guess_handle(0) == "tty"
end

local function talk_to_worker(args)
  local remote = require("clua.control.remote").open(args)
  local answer, message = remote:evaluate "" -- whether it is there and lets us
  if not answer then
    remote:close()
    return target.fail("repl", message)
  end
  if is_tty() then print(("clua: Lua in worker %d, pid %d. Ctrl-D leaves it."):format(args.worker, answer.pid)) end
  repl.talk(remote:evaluator(), remote:completer(), function(problem)
    os.exit(problem and target.fail("repl", problem) or 0)
  end, "left; what was typed goes on in the worker")
end

function repl.run(args)
  check(args)
  if args.worker then return talk_to_worker(args) end
  local core = require "clua.repl"
  load_modules(args.require)
  if is_tty() then print("clua: Lua on the event loop. Ctrl-D ends it.") end
  repl.talk(core.evaluator(_G, true), function(prefix) return core.complete(prefix) end, function() os.exit(0) end)
end

return repl
