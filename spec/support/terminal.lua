-- A real terminal (tmux), driven as a person does.
--
--     local screen = terminal.open(dir, "zsh -i", 100, 30)   -- a shell command; its socket is in dir
--     screen.press("C-c")
--     screen.wait("pattern")
--     after_each(terminal.cleanup)

local command = require "spec.support.command"
local loop = require "spec.support.loop"

local terminal = {}

local sockets = {}

local function tmux(socket, ...)
  return command.run("tmux", { "-u", "-f", "/dev/null", "-S", socket, ... })
end

--- Whether there is a tmux.
function terminal.exists()
  return command.exists "tmux"
end

function terminal.open(dir, line, width, height)
  local self = { socket = dir .. "/tmux" .. #sockets }
  sockets[#sockets + 1] = self.socket
  width, height = tostring(width or 120), tostring(height or 20)
  local _, err, code = tmux(self.socket, "new-session", "-d", "-x", width, "-y", height, line)
  assert(code == 0, err)
  function self.text()
    return (tmux(self.socket, "capture-pane", "-p"))
  end
  --- Waits until the screen is like a Lua pattern.
  function self.wait(pattern)
    local text
    return loop.wait(function()
      text = self.text()
      return text:match(pattern)
    end, 20, function() return ("%q on the screen, which is:\n%s"):format(pattern, text) end)
  end
  --- Keys by tmux's names, or text.
  function self.press(...) tmux(self.socket, "send-keys", ...) end
  function self.resize(columns, rows)
    tmux(self.socket, "resize-window", "-x", tostring(columns), "-y", tostring(rows))
  end
  return self
end

--- Ends all.
function terminal.cleanup()
  for i, socket in ipairs(sockets) do
    tmux(socket, "kill-server")
    sockets[i] = nil
  end
end

return terminal
