-- Other programs as clients: runs one while the loop goes on, and gives its output.

local uv = require "luv"
local loop = require "spec.support.loop"

local command = {}

--- Is the program there?
function command.exists(program)
  for folder in (os.getenv("PATH") or ""):gmatch("[^:]+") do
    if uv.fs_access(folder .. "/" .. program, "X") then return true end
  end
  return false
end

--- Runs a program to its end and returns what it wrote to stdout, to stderr, and its exit status. At the deadline it is
-- killed, and that is an error.
function command.run(program, args, seconds)
  local pipes, texts, open, code = { uv.new_pipe(false), uv.new_pipe(false) }, { "", "" }, 3, nil
  local handle
  handle = assert(uv.spawn(program, { args = args, stdio = { nil, pipes[1], pipes[2] } }, function(status)
    code, open = status, open - 1
    handle:close()
  end))
  for i, pipe in ipairs(pipes) do
    pipe:read_start(function(_, bytes)
      if bytes then
        texts[i] = texts[i] .. bytes
      else
        pipe:close()
        open = open - 1
      end
    end)
  end
  local function explain()
    return ("%s %s to end; it has written:\n%s\n%s"):format(program, table.concat(args, " "), texts[1], texts[2])
  end
  local ok, problem = pcall(loop.wait, function() return open == 0 end, seconds or 60, explain)
  if not ok then
    if not handle:is_closing() then handle:kill("sigkill") end
    error(problem, 2)
  end
  return texts[1], texts[2], code
end

return command
