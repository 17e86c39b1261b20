--- Middleware: a request goes through a chain of functions until one of them answers.
--
--     local connect = require "clua.connect"
--     local app = connect(connect.static(__dirname .. "/public"))
--     app:use("/api", function(req, res, next)
--       if not req.headers.authorization then return next { status = 401 } end
--       next()
--     end)
--     app:use(function(req, res) res:finish("hello\n") end)
--     local server = http.createServer(app)
--
-- A middleware is `function(req, res, next)`: it answers, or calls `next()` for the following one, or `next(err)` with
-- anything but nil and false to go to the error middleware. An error that it raises, before or after waiting, is the
-- same as next(err). An error middleware is `function(err, req, res, next)`; it sees errors only. Lua does not tell how
-- many arguments a function wants, but LuaJIT tells how many parameters it has: exactly four make an error middleware.
-- For others, such as `function(...)`, there is app:use_error().
-- @module clua.connect

local final = require "clua.connect.final"
local host = require "clua.core.host"
local options = require "clua.options"
local path = require "clua.connect.path"
local router = require "clua.connect.router"
local trace = require "clua.trace"
local usage = require "clua.usage"

local App = {}
App.__index = App

-- ---- mounting --------------------------------------------------------------------------------------------------

local function split_mount(mount)
  local segments = {}
  for segment in mount:gmatch("[^/]+") do segments[#segments + 1] = segment end
  return segments
end

-- How many bytes of an encoded path lie below the mount's segments; nil when it is another path. Compared segment by
-- segment and decoded: a guard at /admin must also see //admin and /%61dmin, since what it guards may decode.
local function match_mount(raw, segments)
  local at = 1
  for _, segment in ipairs(segments) do
    local _, last, encoded = raw:find("^/+([^/]+)", at)
    if not last or (path.decode(encoded) or encoded) ~= segment then return nil end
    at = last + 1
  end
  return at - 1
end

-- Takes so many bytes off the path of req.url. Returns what leave() needs to put them back.
local function strip(req, len)
  local origin, raw, query = path.split(req.url)
  local visit = { url = req.url, prefix = raw:sub(1, len) }
  local rest = raw:sub(len + 1)
  req.url = origin .. (rest == "" and "/" or rest) .. query
  visit.stripped = req.url
  return visit
end

-- Takes the mount's part off req.url; nil when the path does not match.
local function enter(req, segments)
  local _, raw = path.split(req.url)
  local len = match_mount(raw, segments)
  return len and strip(req, len)
end

local function leave(req, visit)
  if req.url == visit.stripped then
    req.url = visit.url
  else -- the middleware has rewritten it
    local origin, raw, query = path.split(req.url)
    req.url = origin .. visit.prefix .. raw .. query
  end
end

-- ---- the chain -------------------------------------------------------------------------------------------------

-- The error middleware gets the value as it was raised; the traceback travels beside it, in req.failure. `next(nil)`
-- would mean that all is well, so an error without a value gets one.
local function trace_error(err)
  if err == nil or err == false then err = "error without a value" end
  return { value = err, trace = trace.text(final.describe(err), 2), frames = trace.frames(2) }
end

local proceed

-- The way of a request through layers; out(err) comes behind the last. at: the layer that has it now; visit: where that
-- has been mounted. They are fields of this one table, since every variable of a closure is an allocation. Constants
-- first: of a constructor in precompiled code LuaJIT 2.1 before September 2023 keeps no place for other values, and the
-- table would grow three times.
local function new_chain(layers, req, res, out)
  local chain = { layers = false, req = false, res = false, out = false, at = 0, visit = false }
  chain.layers, chain.req, chain.res, chain.out = layers, req, res, out
  return chain
end

local function invoke(chain, index, visit, err)
  local req, res = chain.req, chain.res
  chain.at, chain.visit = index, visit

  local function next(failure)
    if chain.at ~= index then
      local problem = failure and ", with " .. final.describe(failure) or ""
      host.log("warn", debug.traceback("a middleware called next() twice" .. problem, 2))
      return
    end
    chain.at = index + 1
    if chain.visit then leave(chain.req, chain.visit) end
    return proceed(chain, index + 1, failure or nil)
  end

  local ok, failure
  local fn = chain.layers[index].fn
  if err ~= nil then
    ok, failure = xpcall(fn, trace_error, err, req, res, next)
  else
    ok, failure = xpcall(fn, trace_error, req, res, next)
  end
  if ok then return end
  if chain.at == index then
    req.failure = failure
    return next(failure.value)
  end
  -- Others may be answering by now: too late for the error middleware.
  host.log("error", "a middleware failed after it had called next(): " .. failure.trace)
end

-- Calls the first layer from index on that wants to see this request or this error.
function proceed(chain, index, err)
  for i = index, #chain.layers do
    local layer = chain.layers[i]
    if layer.takes_error == (err ~= nil) then
      local visit = layer.segments and enter(chain.req, layer.segments)
      if visit or not layer.segments then return invoke(chain, i, visit, err) end
    end
  end
  if chain.out then return chain.out(err) end
  return final.answer(chain.req, chain.res, err)
end

--- Sends a request through the chain. `app(req, res, out)` is the same.
-- @tparam table req gets `originalUrl`, the URL as it came; `url` is without the mount path inside a mounted middleware
-- @tparam table res
-- @tparam[opt] function out function(err): what comes after the last middleware. Default: 404, or the status of the
-- error (`err.status` from 400 to 599, else 500) in plain text; 500 and above are logged with a traceback
-- @raise nothing of what a middleware raises
function App:handle(req, res, out)
  req.originalUrl = req.originalUrl or req.url
  return proceed(new_chain(self.layers, req, res, out), 1)
end

function App:__call(req, res, out)
  return self:handle(req, res, out)
end

-- ---- building --------------------------------------------------------------------------------------------------

-- The function of a middleware, and how many parameters it has.
local function resolve(middleware)
  if type(middleware) == "function" then return middleware, debug.getinfo(middleware, "u").nparams end
  if type(middleware) == "table" and type(middleware.handle) == "function" then
    return function(req, res, next) return middleware:handle(req, res, next) end, 3
  end
  local meta = getmetatable(middleware)
  local call = type(meta) == "table" and meta.__call
  if type(call) ~= "function" then return nil end
  return function(...) return call(middleware, ...) end, debug.getinfo(call, "u").nparams - 1
end

-- Its callers return what it returns, that is, they are gone: level 1 is the script's line.
local function add(app, name, takes_error, mount, ...)
  local first = 1
  local segments
  if type(mount) == "string" then
    if mount:sub(1, 1) ~= "/" then usage.fail(1, '%s: a path begins with "/", got "%s"', name, mount) end
    segments = split_mount(mount)
    if #segments == 0 then segments = nil end
  else
    first = 0
  end
  local middlewares = { [0] = mount, ... }
  local count = select("#", ...)
  if count < first then usage.fail(1, "%s: a middleware is needed", name) end
  for i = first, count do
    local fn, nparams = resolve(middlewares[i])
    if not fn then
      usage.fail(1, "%s: a middleware is a function or an app, got %s", name, type(middlewares[i]))
    end
    local is_error = takes_error or nparams == 4
    table.insert(app.layers, { fn = fn, segments = segments, takes_error = is_error })
  end
  return app
end

--- Adds middleware at the end of the chain.
-- @tparam[opt] string mount only for this path and what lies below it, decoded ("/my files"); the case counts
-- @param ... functions, other apps, or callable tables; with exactly four parameters: error middleware
-- @treturn App itself, to go on with
-- @raise wrong arguments
function App:use(mount, ...)
  return add(self, "app:use([path,] middleware...)", false, mount, ...)
end

--- Adds error middleware, `function(err, req, res, next)`, whatever its number of parameters.
-- @tparam[opt] string mount as for use()
-- @param ... functions
-- @treturn App itself
-- @raise wrong arguments
function App:use_error(mount, ...)
  return add(self, "app:use_error([path,] middleware...)", true, mount, ...)
end

--- The same, in the spelling of luvit.
App.onError = App.use_error

router.install(App, {
  resolve = resolve, new_chain = new_chain, proceed = proceed, strip = strip, leave = leave,
})

-- ---- the module ------------------------------------------------------------------------------------------------

local connect = {}

-- Modules clua.connect.NAME, loaded when connect.NAME is asked for.
local LAZY = {
  basicAuth = true, bodyLimit = true, compress = true, cookieParser = true, cookieSession = true, cors = true,
  csrf = true, directory = true, errorHandler = true, favicon = true, json = true, logger = true,
  methodOverride = true, multipart = true, query = true, rateLimit = true, requestId = true, responseTime = true,
  securityHeaders = true, session = true, static = true, timeout = true, urlencoded = true, vhost = true, views = true,
}

local function load_middleware(self, name)
  if not LAZY[name] then
    local near = type(name) == "string" and options.nearest(name, LAZY)
    if near then error(("there is no connect.%s, did you mean connect.%s?"):format(name, near), 2) end
    return nil
  end
  local middleware = require("clua.connect." .. name)
  rawset(self, name, middleware)
  return middleware
end

--- Makes an app: `connect(middleware, ...)`.
-- @param ... the first middlewares, as for use()
-- @treturn App callable as `app(req, res)`, so it can be the handler of http.createServer()
local function new(_, ...)
  local app = setmetatable({ layers = {} }, App)
  if select("#", ...) == 0 then return app end
  return add(app, "connect(middleware...)", false, ...)
end

--- An app to put routes into, for app:use("/path", router). Every app is one.
-- @treturn App
function connect.router()
  return new(connect)
end

return setmetatable(connect, { __call = new, __index = load_middleware })
