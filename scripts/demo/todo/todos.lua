-- The list itself, and its JSON API: a router that app.lua mounts at /api/todos.
local connect = require "clua.connect"
local json = require "cjson"
local Store = require "store"
local uv = require "luv"

local store = Store.new(arg[1] .. "/entries")
local todos = {}

local function refuse(message)
  error({ status = 422, message = message, expose = true }, 0)
end

local function check_title(title)
  if type(title) == "string" and title:find("%S") and #title <= 200 then return title end
  refuse("title: 1 to 200 bytes are expected")
end

local function save(todo)
  assert(store:set(todo.id, json.encode(todo)))
  return todo
end

function todos.get(id)
  local text = store:get(id)
  return text and json.decode(text)
end

function todos.all()
  local list = {}
  for _, id in ipairs(store:ids()) do list[#list + 1] = todos.get(id) end
  return list
end

function todos.add(title)
  local seconds, microseconds = uv.gettimeofday() -- ids in the order of their making
  local id = ("%08x%05x%s"):format(seconds, microseconds, Store.random():sub(1, 6))
  return save { id = id, title = check_title(title), done = false }
end

-- A title a line. All or none: what is wrong with one is found before the first is stored.
function todos.import(text)
  local titles = {}
  for line in text:gmatch("[^\r\n]+") do
    if line:find("%S") then titles[#titles + 1] = check_title(line) end
  end
  for _, title in ipairs(titles) do todos.add(title) end
  return #titles
end

function todos.change(id, changes)
  local todo = todos.get(id)
  if not todo then return nil end
  if changes.title ~= nil then todo.title = check_title(changes.title) end
  if changes.done ~= nil then
    if type(changes.done) ~= "boolean" then refuse("done: true or false is expected") end
    todo.done = changes.done
  end
  return save(todo)
end

function todos.remove(id)
  return store:destroy(id)
end

-- ---- /api/todos ------------------------------------------------------------------------------------------------

local router = connect.router()
todos.router = router

local function body_of(req)
  if type(req.body) ~= "table" then refuse("a JSON object is expected") end
  return req.body
end

local function found(todo, next, res, status)
  if not todo then return next { status = 404, message = "no such entry", expose = true } end
  res:json(todo, status)
end

router:get("/", function(req, res)
  local list, wanted = {}, req.query.done
  for _, todo in ipairs(todos.all()) do
    if wanted == nil or tostring(todo.done) == wanted then list[#list + 1] = todo end
  end
  if #list == 0 then return res:type("json"):finish("[]") end
  res:json(list)
end)

router:post("/", function(req, res)
  local todo = todos.add(body_of(req).title)
  res:setHeader("Location", "/api/todos/" .. todo.id)
  res:json(todo, 201)
end)

router:get("/:id", function(req, res, next) found(todos.get(req.params.id), next, res) end)

router:patch("/:id", function(req, res, next) found(todos.change(req.params.id, body_of(req)), next, res) end)

router:delete("/:id", function(req, res, next)
  if not todos.remove(req.params.id) then return found(nil, next, res) end
  res.statusCode = 204
  res:finish()
end)

return todos
