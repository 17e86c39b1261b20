-- A line protocol: greets with the date, and echoes every line after 100 ms. `bye` closes the connection; `fatal` ends
-- the worker with status 127, to see that the cluster lives on.
local cluster = require "clua"
local async = require "clua.async"

local LINE_MAX = 65536

local worker = cluster.Worker()

-- Iterates over the lines that the client sends, however they are cut into packets; "\n" and "\r\n" end a line.
local function lines(socket)
  local rest, reading, recalled = "", false, false

  -- This worker is to end (a reload, Ctrl-C): leave the client where nothing that it has sent waits for an answer.
  socket:on("recall", function()
    recalled = true
    if reading then socket:destroy() end
  end)

  return function()
    local line, after = rest:match("^([^\n]*)\n()")
    while not line do
      if recalled or #rest > LINE_MAX then return nil end
      reading = true
      local bytes = socket:read()
      reading = false
      if not bytes then return nil end
      rest = rest .. bytes
      line, after = rest:match("^([^\n]*)\n()")
    end
    rest = rest:sub(after)
    return (line:gsub("\r$", ""))
  end
end

-- False when the conversation is over.
local function answer(socket, line)
  if line == "fatal" then os.exit(127) end
  if line == "bye" then
    socket:finish("Good Bye\r\n")
    return false
  end
  async.sleep(0.1)
  return socket:write(line .. "\r\n") ~= nil
end

worker:ready(function(socket)
  socket:write(os.date() .. "\r\n")
  for line in lines(socket) do
    -- The master balances by what is between transact() and release(), and waits for it before it ends a worker.
    worker:transact()
    local go_on = answer(socket, line)
    worker:release()
    if not go_on then return end
  end
  socket:finish()
end)
