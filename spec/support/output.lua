-- What busted prints for us: a block per failing test, a line per spec file, and the result alone on the last line.

local running = require "spec.support.running"

local TAIL_LINES = 60

-- Shared with run.lua, which makes the exit status of it.
local output = { passed = 0, failed = 0, skipped = 0 }

local function write(...)
  io.stdout:write(...)
  io.stdout:flush()
end

local function indent(text)
  return "    " .. text:gsub("\n+$", ""):gsub("\n", "\n    ") .. "\n"
end

-- The logs of the clusters that are still running are most often the explanation.
local function write_logs()
  for _, cluster in ipairs(running) do
    local lines = cluster.lines
    local first = math.max(1, #lines - TAIL_LINES + 1)
    write("    last lines of the log of master ", tostring(cluster.pid), ":\n")
    write(indent("  " .. table.concat(lines, "\n  ", first)))
  end
end

local function new(options)
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base"()
  local here = { passed = 0, failed = 0, skipped = 0 }

  local function count(what)
    output[what] = output[what] + 1
    here[what] = here[what] + 1
  end

  local function failed(element, _, message, trace)
    count "failed"
    local name = element.descriptor and handler.getFullName(element) or "busted"
    if element.descriptor and element.descriptor ~= "it" then name = name .. " (" .. element.descriptor .. ")" end
    write("FAIL ", name, "\n", indent(tostring(message)))
    local traceback = type(trace) == "table" and trace.traceback
    if traceback and traceback ~= "" then write(indent(traceback:gsub("^\n", ""))) end
    if not tostring(message):find("the whole log of", 1, true) then write_logs() end
    return nil, true
  end

  function handler.testEnd(element, _, status)
    if status == "success" then
      count "passed"
    elseif status == "pending" then
      count "skipped"
    end
    if options.verbose then write(("  %-8s %6.2f s  %s\n"):format(status, element.duration, element.name)) end
    return nil, true
  end

  function handler.fileStart()
    here = { passed = 0, failed = 0, skipped = 0 }
    return nil, true
  end

  function handler.fileEnd(file)
    local skipped = here.skipped > 0 and (", %d skipped"):format(here.skipped) or ""
    write(("%-4s %7.2f s  %3d passed, %d failed%s  %s\n"):format(here.failed == 0 and "ok" or "FAIL",
      file.duration or 0, here.passed, here.failed, skipped, file.name))
    return nil, true
  end

  function handler.exit()
    write(("%d passed, %d failed"):format(output.passed, output.failed))
    write(output.skipped > 0 and (", %d skipped\n"):format(output.skipped) or "\n")
    return nil, true
  end

  busted.subscribe({ "test", "end" }, handler.testEnd, { predicate = handler.cancelOnPending })
  busted.subscribe({ "file", "start" }, handler.fileStart)
  busted.subscribe({ "file", "end" }, handler.fileEnd)
  busted.subscribe({ "failure" }, failed)
  busted.subscribe({ "error" }, failed)
  busted.subscribe({ "exit" }, handler.exit)
  return handler
end

return setmetatable(output, { __call = function(_, options) return new(options) end })
