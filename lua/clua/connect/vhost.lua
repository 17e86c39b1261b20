--- An app for one host name: `app:use(connect.vhost("*.example.com", tenants))`.
-- @module clua.connect.vhost

local is_callable = require "clua.callable"
local usage = require "clua.usage"

local NAME = "vhost(hostname, app)"

-- The name in a Host field, lower case, without port and without the dot of the root; nil when it is malformed.
local function hostname_of(host)
  if not host then return nil end
  local name = host:match("^(%[[%x:.]+%])$") or host:match("^(%[[%x:.]+%]):%d*$") or host:match("^([%w._-]+)$")
    or host:match("^([%w._-]+):%d*$")
  return name and name:lower():gsub("%.$", "") or nil
end

-- A Lua pattern: `*` is one label, or a part of one.
local function compile(hostname)
  local pattern = hostname:lower():gsub("%.$", ""):gsub("[%^$().%[%]+?%%-]", "%%%0"):gsub("%*", "([^.]+)")
  return "^" .. pattern .. "$"
end

--- Makes a middleware that gives requests for one host name to an app, and all others to the next one. There,
-- `req.vhost` is `{ hostname =, [1] =, ... }`: the name without its port, and what each `*` stands for. The case does
-- not count. The name is the client's word: it chooses an app, and proves nothing.
-- @tparam string hostname such as "example.com"; `*` is one label: "*.example.com"
-- @param app a function or an app
-- @treturn function(req, res, next)
-- @raise wrong arguments
return function(hostname, app)
  if type(hostname) ~= "string" or not hostname:find("^[%w.*_%[%]:-]+$") then
    usage.fail(1, "%s: a host name without a port is expected, got %s", NAME, tostring(hostname))
  end
  if not is_callable(app) then usage.fail(1, "%s: an app is expected, got %s", NAME, type(app)) end
  local pattern = compile(hostname)
  return function(req, res, next)
    local name = hostname_of(req.headers.host)
    local labels = name and { name:match(pattern) }
    if not labels or not labels[1] then return next() end
    local before = req.vhost
    labels.hostname = name
    req.vhost = labels
    return app(req, res, function(err)
      req.vhost = before
      return next(err)
    end)
  end
end
