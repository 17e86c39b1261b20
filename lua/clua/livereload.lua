--- The browser's page loads itself again when the workers have been reloaded (`clua serve --livereload`). For
-- development.
--
-- Workers serve a stream of server-sent events, and HTML answers get a script that listens to it. Each generation of
-- workers has a token: the page was made by one, and a stream that tells another one says that it is old.
-- @module clua.livereload

local livereload = {}

local EVENTS = "/.clua/livereload"
local SCRIPT = "/.clua/livereload.js"
local RETRY_MS = 100

-- A browser tries again by itself when a stream has ended or nobody listens, but not when it was given another answer
-- (503 while no worker is there).
local CODE = ([[
(function () {
  var token = document.currentScript.dataset.token;
  function listen() {
    var source = new EventSource("%s");
    source.addEventListener("generation", function (event) {
      if (event.data !== token) { source.close(); location.reload(); }
    });
    source.addEventListener("error", function () {
      if (source.readyState === EventSource.CLOSED) { setTimeout(listen, %d); }
    });
  }
  listen();
})();
]]):format(EVENTS, RETRY_MS)

local streams = {} -- answers that wait for the end of this worker
local is_draining = false

local function token()
  return os.getenv("CLUA_GENERATION") or "1"
end

-- ---- the stream ----------------------------------------------------------------------------------------------------

local function no_store(res, content_type)
  res:setHeader("Content-Type", content_type)
  res:setHeader("Cache-Control", "no-store")
end

local function stream(res)
  no_store(res, "text/event-stream")
  local event = ("retry: %d\nevent: generation\ndata: %s\n\n"):format(RETRY_MS, token())
  if is_draining then return res:finish(event) end -- nobody would end it later
  streams[res] = true
  res:on("close", function() streams[res] = nil end)
  res:write(event)
end

--- Ends the streams: the browser comes back, and is another worker's.
function livereload.finish()
  is_draining = true
  for res in pairs(streams) do
    streams[res] = nil
    res:finish()
  end
end

-- ---- the script in the page ----------------------------------------------------------------------------------------

local NO_BODY = { [204] = true, [206] = true, [304] = true }

local function tag()
  return ('\n<script src="%s" data-token="%s"></script>\n'):format(SCRIPT, token())
end

-- The page is not to be kept: it has the token of now in it.
local function inject(res)
  local kind = res:getHeader("Content-Type")
  if type(kind) ~= "string" or not kind:find("^text/html") or NO_BODY[res.statusCode] then return nil end
  if res:getHeader("Content-Encoding") then return nil end
  local extra = tag()
  local length = res:getHeader("Content-Length")
  if length then res:setHeader("Content-Length", tonumber(length) + #extra) end
  for _, name in ipairs { "ETag", "Last-Modified", "Accept-Ranges" } do res:removeHeader(name) end
  res:setHeader("Cache-Control", "no-store")
  if res:getHeader("Content-Security-Policy") == require("clua.trace").PAGE_POLICY then
    res:removeHeader("Content-Security-Policy")
  end
  return {
    push = function(_, bytes) return bytes end,
    flush = function() return "" end,
    finish = function(_, bytes) return bytes .. extra end,
  }
end

--- An app with live reload around it.
-- @param app function(req, res) or what can be called like one
-- @treturn function(req, res)
function livereload.wrap(app)
  return function(req, res, ...)
    local path = req.url:match("^[^?]*")
    if path == EVENTS then return stream(res) end
    if path == SCRIPT then
      no_store(res, "text/javascript; charset=utf-8")
      return res:finish(CODE)
    end
    req.headers["accept-encoding"] = nil -- a coded page takes no script
    req.headers["if-none-match"], req.headers["if-modified-since"] = nil, nil
    if req.method ~= "HEAD" then res:onHead(inject) end
    return app(req, res, ...)
  end
end

--- Puts it around every handler that is given to http.createServer() from now on, for scripts that make their servers
-- themselves.
function livereload.install()
  local http = require "clua.http"
  local is_callable = require "clua.callable"
  local create = http.createServer
  function http.createServer(given, handler) -- luacheck: ignore
    if handler == nil and is_callable(given) then given, handler = nil, given end
    return create(given, handler and livereload.wrap(handler))
  end
  require("clua.worker").new():on("drain", livereload.finish)
end


return livereload
