-- Serves the page, the stream of events, and takes what is said. Any worker can serve any client.
local async = require "clua.async"
local cluster = require "clua"
local connect = require "clua.connect"
local http = require "clua.http"
local json = require "cjson"
local timer = require "clua.timer"
local uv = require "luv"

local KEPT, QUEUE_MAX = 500, 1000
local worker = cluster.Worker()
local messages, last, caught_up = {}, 0, false -- as the hub has told
local streams, unconfirmed = {}, {}

-- ---- the hub ---------------------------------------------------------------------------------------------------

local function ask_hub()
  worker:broadcast("hub", { kind = "catch up", after = last })
end

local function wake(stream)
  local fn = stream.wake
  stream.wake = nil
  if fn then fn() end
end

local function push(stream, message)
  stream.queue[#stream.queue + 1] = ("id: %d\ndata: %s\n\n"):format(message.id,
    json.encode { id = message.id, name = message.name, text = message.text, time = message.time })
  wake(stream)
end

-- In the order of the ids, each once.
local function take(message)
  local waiter = unconfirmed[message.key]
  if waiter then waiter(message) end
  if message.id ~= last + 1 and (caught_up or message.id <= last) then
    if message.id > last then ask_hub() end -- one is missing
    return
  end
  last = message.id
  messages[#messages + 1] = message
  if #messages > KEPT then table.remove(messages, 1) end
  for stream in pairs(streams) do
    if message.id > stream.seen then push(stream, message) end
  end
end

worker:on("message", function(event)
  if event.kind == "said" then
    if caught_up then take(event.message) else ask_hub() end
  elseif event.kind == "history" then
    caught_up = false -- what the hub has forgotten is no gap to ask for again
    for _, message in ipairs(event.messages) do take(message) end
    if event.complete then caught_up = true end
  elseif event.kind == "state" and event.last > last then
    ask_hub()
  end
end)

timer.every(0.5, function()
  if not caught_up then ask_hub() end
end)
ask_hub()

-- Says it, again until the hub has confirmed: it may just be starting. The key tells it that it is the same message.
local function say(name, text)
  local key = uv.random(12):gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)
  local confirmed
  unconfirmed[key] = function(message) confirmed = message end
  for _ = 1, 100 do
    worker:broadcast("hub", { kind = "say", key = key, name = name, text = text })
    for _ = 1, 10 do
      if confirmed then break end
      async.sleep(0.01)
    end
    if confirmed then break end
  end
  unconfirmed[key] = nil
  return confirmed
end

-- ---- clients ---------------------------------------------------------------------------------------------------

local app = connect(
  connect.requestId(),
  connect.logger { format = "short" },
  connect.securityHeaders { strictTransportSecurity = false, contentSecurityPolicy = "default-src 'self'" },
  connect.favicon(__dirname .. "/../favicon.svg"),
  connect.compress(),
  connect.query(),
  connect.static(__dirname .. "/public")
)

app:get("/events", function(req, res)
  res:writeHead(200, { ["Content-Type"] = "text/event-stream", ["Cache-Control"] = "no-store" })
  res:write("retry: 200\n\n")
  local stream = { queue = {}, seen = tonumber(req.headers["last-event-id"] or req.query.after) or 0 }
  for _, message in ipairs(messages) do
    if message.id > stream.seen then push(stream, message) end
  end
  streams[stream] = true
  local function stop()
    stream.over = true
    wake(stream)
  end
  req:on("close", stop)
  while not stream.over and #stream.queue <= QUEUE_MAX do
    if #stream.queue == 0 then
      async.await(function(callback)
        stream.wake = callback
        return true
      end)
    end
    local bytes = table.concat(stream.queue)
    stream.queue = {}
    if bytes ~= "" and res:write(bytes) == nil then break end
  end
  streams[stream] = nil
  res:finish()
end)

app:post("/messages",
  connect.rateLimit { limit = 600, window = 60, name = "chat" },
  connect.bodyLimit(16 * 1024),
  connect.json(),
  function(req, res)
    local body = req.body
    local function is_text(value, max) return type(value) == "string" and #value > 0 and #value <= max end
    if type(body) ~= "table" or not is_text(body.name, 40) or not is_text(body.text, 2000) then
      error { status = 422, message = "JSON with name (40 bytes) and text (2000 bytes) is expected", expose = true }
    end
    local message = say(body.name, body.text)
    if not message then error { status = 503, message = "the hub does not answer", expose = true } end
    res:json({ id = message.id }, 201)
  end)

app:use(function(_, _, next) next { status = 404 } end)
app:use(connect.errorHandler())

-- A comment now and then shows that the client is still there.
timer.every(15, function()
  for stream in pairs(streams) do
    stream.queue[#stream.queue + 1] = ":\n\n"
    wake(stream)
  end
end)

-- A worker that is replaced ends its streams: browsers come again at once, and say what they have seen.
worker:on("drain", function()
  for stream in pairs(streams) do
    stream.over = true
    wake(stream)
  end
end)

local server = http.createServer(app)
worker:ready(function(socket) server:emit("connection", socket) end)
