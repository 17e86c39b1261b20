--- `clua repl`: interactive Lua on the event loop.
-- @module clua.cli.repl

local uv = require "luv"

local repl = { summary = "talk to Lua on the event loop" }

local PROMPT, MORE = "> ", ">> "

function repl.configure(parser)
  parser:option("-l --require", "load a module first, into a global of its name"):argname("MODULE"):count "*"
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
-- @tparam function done called at the end
function repl.talk(evaluate, complete, done)
  local editor = require "clua.repl.editor"
  local pending, busy, ended, queue, edit = nil, false, false, {}, nil
  local signal = uv.new_signal()

  local function finish()
    signal:close()
    edit:close()
    if edit.is_terminal then print "" end
    return done()
  end

  local function prompt()
    edit:prompt(pending and MORE or PROMPT)
  end

  local next_line

  local function replied(result)
    busy = false
    if result.incomplete and not (ended and #queue == 0) then return next_line() end
    pending = nil
    if result.incomplete then result = { error = "the chunk has no end" } end
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
      if ended then return finish() end
      return prompt()
    end
    pending = pending and pending .. "\n" .. text or text
    if not pending:find("%S") then
      pending = nil
      return next_line()
    end
    busy = true
    edit:rest()
    evaluate(pending, replied)
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
  -- Ctrl-C clears what has been typed. What runs and does not wait is not interrupted.
  signal:start("sigint", function()
    if busy then return end
    pending = nil
    edit:clear()
    prompt()
  end)
  prompt()
end

function repl.run(args)
  local core = require "clua.repl"
  for _, name in ipairs(args.require) do _G[name] = require(name) end
  if uv.guess_handle(0) == "tty" then print("clua: Lua on the event loop. Ctrl-D ends it.") end
  repl.talk(core.evaluator(), core.complete, function() os.exit(0) end)
end

return repl
