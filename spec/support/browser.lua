-- A real browser without a window: chromium, spoken to by the DevTools protocol over two pipes (JSON, each message
-- ended by a NUL). It resolves no name and so sees loopback only; its profile is in a folder of its own.

local cjson = require "cjson"
local cluster = require "spec.support.cluster"
local command = require "spec.support.command"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local uv = require "luv"

local DEADLINE_S = 60 -- to start one on a slow machine takes a while

local browser = {}
local methods = {}
methods.__index = methods

local open = {} -- those that nobody has closed

--- Whether there is one.
function browser.exists()
  return command.exists "chromium"
end

local function read_messages(self, pipe)
  local parts = {}
  pipe:read_start(function(_, bytes)
    if not bytes then return pipe:close() end
    local first = 1
    for stop in bytes:gmatch("()%z") do
      parts[#parts + 1] = bytes:sub(first, stop - 1)
      local answer = cjson.decode(table.concat(parts))
      if answer.id then self.answers[answer.id] = answer end
      parts, first = {}, stop + 1
    end
    parts[#parts + 1] = bytes:sub(first)
  end)
end

-- Calls a method of the protocol and waits for its result; nil, message.
local function call(self, method, params)
  self.last_id = self.last_id + 1
  local id = self.last_id
  local request = { id = id, method = method, params = params, sessionId = self.session }
  self.input:write(cjson.encode(request) .. "\0")
  loop.wait(function() return self.answers[id] or self.code end, DEADLINE_S, function()
    return ("an answer to %s; the browser says:\n%s"):format(method, self.complaints)
  end)
  local answer = self.answers[id]
  if not answer then error(("the browser ended with %s:\n%s"):format(self.code, self.complaints)) end
  self.answers[id] = nil
  if answer.error then return nil, answer.error.message end
  return answer.result
end

local function spawn(self)
  local stderr, input, output = uv.new_pipe(false), uv.new_pipe(false), uv.new_pipe(false)
  self.input, self.complaints = input, ""
  self.handle, self.pid = uv.spawn("chromium", {
    args = {
      "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio",
      "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
      "--disable-breakpad",
      "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--user-data-dir=" .. self.dir,
      "--window-size=1000,700", "--remote-debugging-pipe", "about:blank",
    },
    stdio = { nil, nil, stderr, input, output },
  }, function(code)
    self.code = code
    self.handle:close()
  end)
  assert(self.handle, self.pid)
  stderr:read_start(function(_, bytes)
    if bytes then self.complaints = self.complaints .. bytes else stderr:close() end
  end)
  read_messages(self, output)
end

--- Starts one, with an empty page.
function browser.start()
  local self = setmetatable({ dir = assert(uv.fs_mkdtemp("/tmp/clua-browser-XXXXXX")), answers = {}, last_id = 0 },
    methods)
  open[#open + 1] = self
  spawn(self)
  local target = assert(call(self, "Target.createTarget", { url = "about:blank" }))
  self.session = assert(call(self, "Target.attachToTarget", { targetId = target.targetId, flatten = true })).sessionId
  return self
end

--- Opens an address.
function methods:go(url)
  local result = assert(call(self, "Page.navigate", { url = url }))
  assert(not result.errorText, result.errorText)
  return self
end

--- The value of a JavaScript expression; nil, message while there is no page, or when it throws.
function methods:evaluate(expression)
  local result, message = call(self, "Runtime.evaluate", { expression = expression, returnByValue = true })
  if not result then return nil, message end
  if result.exceptionDetails then return nil, result.exceptionDetails.text end
  return result.result.value
end

--- What a person reads on the page.
function methods:text()
  return self:evaluate("document.body && document.body.innerText") or ""
end

--- Waits until it reads like a Lua pattern.
function methods:wait_text(pattern)
  local text
  return loop.wait(function()
    text = self:text()
    return type(text) == "string" and text:match(pattern)
  end, DEADLINE_S, function() return ("%q on the page, which is:\n%s"):format(pattern, tostring(text)) end)
end

--- A picture of the page, as PNG.
function methods:screenshot(path)
  local result = assert(call(self, "Page.captureScreenshot", { format = "png" }))
  cluster.write(path, (require("clua.connect.base64").decode(result.data)))
end

local function family(pid, list)
  list[#list + 1] = pid
  for _, child in ipairs(proc.children(pid)) do family(child, list) end
  return list
end

--- Ends it and all its processes, and removes its profile: one that lived on would make it anew.
function methods:close()
  local pids = family(self.pid, {})
  for _, pid in ipairs(pids) do uv.kill(pid, "sigkill") end
  loop.wait(function()
    for _, pid in ipairs(pids) do
      if proc.alive(pid) then return false end
    end
    return self.code
  end, DEADLINE_S, "the browser to end")
  self.input:close()
  cluster.remove(self.dir)
end

--- For after_each: none is left.
function browser.cleanup()
  while #open > 0 do table.remove(open):close() end
end

return browser
