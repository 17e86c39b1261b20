--- Routes of an app: `app:get("/users/:id", fn)`. Every app is a router; `connect.router()` makes one.
--
-- Routes that are added one after the other share one tree (clua.connect.routes). It stands in the chain where the
-- first of them was added, so a middleware between two routes guards the second and not the first.
-- @module clua.connect.router

local path = require "clua.connect.path"
local Routes = require "clua.connect.routes"
local usage = require "clua.usage"

local router = {}

-- ---- answering -------------------------------------------------------------------------------------------------

local function list_methods(allowed)
  local list = { "OPTIONS" }
  for method in pairs(allowed) do
    if method ~= "OPTIONS" then list[#list + 1] = method end
  end
  table.sort(list)
  return table.concat(list, ", ")
end

-- The path has routes, but none for this method.
local function refuse_method(req, res, next, allowed)
  res:setHeader("Allow", list_methods(allowed))
  if req.method ~= "OPTIONS" then
    return next { status = 405, message = ("%s is not allowed"):format(req.method) }
  end
  res.statusCode = 204
  res:finish()
end

-- Methods that the path has in the trees of this app so far: the last tree decides, since the right route may stand
-- behind a middleware.
local function gather(app, req, allowed)
  local by_app = req._allowed
  local sum = by_app and by_app[app]
  if not allowed then return sum end
  if not by_app then
    by_app = {}
    req._allowed = by_app
  end
  if not sum then
    by_app[app] = allowed
    return allowed
  end
  for method in pairs(allowed) do sum[method] = true end
  return sum
end

-- The parameters of a mount are seen below it too.
local function params_of(inherited, search)
  local params = {}
  if inherited then
    for name, value in pairs(inherited) do params[name] = value end
  end
  for i, name in ipairs(search.found.names) do params[name] = search.values[i] end
  return params
end

local function dispatch(app, layer, tools, req, res, next)
  local _, raw = path.split(req.url)
  if raw:sub(1, 1) ~= "/" then return next() end
  local search = layer.routes:find(req.method, raw)
  if search.malformed then return next { status = 400, message = "malformed path" } end
  if not search.found then
    local allowed = gather(app, req, search.allowed)
    if allowed and layer == app.last_routes then return refuse_method(req, res, next, allowed) end
    return next()
  end
  local inherited = req.params
  req.params = params_of(inherited, search)
  local handlers = search.found.value
  if handlers.is_last and not search.rest then return handlers[1].fn(req, res) end
  local visit = search.rest and tools.strip(req, search.rest - 1)
  local function leave(err)
    if visit then tools.leave(req, visit) end
    req.params = inherited
    return next(err)
  end
  -- What a mounted function raises must find its way back through leave(), which the chain sees to.
  if #handlers == 1 and not visit then return handlers[1].fn(req, res, leave) end
  return tools.proceed(tools.new_chain(handlers, req, res, leave), 1)
end

-- ---- adding ----------------------------------------------------------------------------------------------------

-- The tree at the end of the chain, made when another layer stands there.
local function tree_of(app, tools)
  local layer = app.layers[#app.layers]
  if layer and layer.routes then return layer.routes end
  layer = { routes = Routes.new(), takes_error = false }
  layer.fn = function(req, res, next) return dispatch(app, layer, tools, req, res, next) end
  app.layers[#app.layers + 1] = layer
  app.last_routes = layer
  return layer.routes
end

local function line_of_caller(level)
  local info = debug.getinfo(level + 1, "Sl")
  return info and ("%s:%d"):format(info.short_src, info.currentline) or "?"
end

-- level: of the script's line, counted from the caller of this function.
local function add(app, tools, level, name, method, pattern, ...)
  if type(pattern) ~= "string" then
    usage.fail(level, "%s: a path is expected, got %s", name, type(pattern))
  end
  local handlers, count = {}, select("#", ...)
  if count == 0 then usage.fail(level, "%s: a handler is needed", name) end
  for i = 1, count do
    local fn, nparams = tools.resolve((select(i, ...)))
    if not fn then
      usage.fail(level, "%s: a handler is a function or an app, got %s", name, type((select(i, ...))))
    end
    if nparams == 4 then usage.fail(level, "%s: error middleware is added by app:use()", name) end
    handlers[i] = { fn = fn, takes_error = false }
  end
  local info = debug.getinfo(handlers[1].fn, "u")
  handlers.is_last = count == 1 and info.nparams < 3 and not info.isvararg -- it cannot call next()
  local ok, message = tree_of(app, tools):add(method, pattern, handlers, line_of_caller(level + 1))
  if not ok then usage.fail(level, "%s: %s", name, message) end
  return app
end

local METHODS = { "get", "post", "put", "patch", "delete", "head", "options" }

--- Gives a class of apps its methods for routes.
-- @tparam table App
-- @tparam table tools of clua.connect: resolve, new_chain, proceed, strip, leave
function router.install(App, tools)
  for _, name in ipairs(METHODS) do
    local text, method = ("app:%s(path, fn...)"):format(name), name:upper()
    App[name] = function(self, pattern, ...)
      local app = add(self, tools, 2, text, method, pattern, ...)
      return app
    end
  end

  --- A route for every method that has none of its own there.
  function App:all(pattern, ...)
    local app = add(self, tools, 2, "app:all(path, fn...)", "*", pattern, ...)
    return app
  end

  --- A route for any method: app:route("PROPFIND", "/files/*path", fn).
  function App:route(method, pattern, ...)
    if type(method) ~= "string" or not method:find("^%u[%u-]*$") then
      usage.fail(1, "app:route(method, path, fn...): the method is a word in upper case, got %s", tostring(method))
    end
    local app = add(self, tools, 2, "app:route(method, path, fn...)", method, pattern, ...)
    return app
  end

  --- Another app for what begins with a path that has parameters: app:mount("/users/:id", posts). As in use(), req.url
  -- is without the path inside; req.params has its parameters.
  function App:mount(pattern, ...)
    local app = add(self, tools, 2, "app:mount(path, app...)", "mount", pattern, ...)
    return app
  end
end

return router
