--- A line for each request, when its answer has ended. (The option access_log of a registration writes one without
-- running Lua; this one knows what middlewares know. What that one calls $x is $x here, too, with the same text.)
-- @module clua.connect.logger

local host = require "clua.core.host"
local is_callable = require "clua.callable"
local options = require "clua.options"
local usage = require "clua.usage"
local uv = require "luv"

local NAME = "logger(options)"
local KNOWN = { format = "string|function", stream = "string|table|userdata|function", skip = "function" }

local COMMON = '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent'
local FORMATS = {
  common = COMMON,
  combined = COMMON .. ' "$http_referer" "$http_user_agent"',
  short = "$remote_addr $request_method $request_uri $status $body_bytes_sent $request_ms ms",
}

-- ---- values ----------------------------------------------------------------------------------------------------

local function user_of(req)
  local user = req.user
  return type(user) == "string" and user or type(user) == "table" and user.name or nil
end

-- Of a request, read when it comes: later its fields may be gone, or changed.
local AT_START = {
  remote_addr = function(req) return req.remoteAddress end,
  request_method = function(req) return req.method end,
  request_uri = function(req) return req.originalUrl or req.url end,
  server_protocol = function(req) return "HTTP/" .. req.httpVersion end,
  request = function(req) return ("%s %s HTTP/%s"):format(req.method, req.originalUrl or req.url, req.httpVersion) end,
  host = function(req) return req.headers.host end,
  remote_port = function(req) return req.remotePort end,
  server_port = function(req) return req.port end,
}

-- Of this process; nil when it is no worker.
local function boot(field)
  local known = package.loaded["clua.core.worker"] or package.preload["clua.core.worker"]
  local of = known and require("clua.core.worker").boot()
  return of and of[field]
end

-- Seconds of the epoch, and the milliseconds behind them.
local function wall()
  local seconds, microseconds = uv.gettimeofday()
  return seconds, math.floor(microseconds / 1000)
end

-- Of an answer, read when it has ended. `sent` is what the last hook before the head has seen, nil when none was sent.
local AT_END = {
  status = function(sent) return sent.status or 499 end, -- nginx's, of a client that went before there was an answer
  msec = function() return ("%d.%03d"):format(wall()) end,
  name = function() return boot "name" end,
  worker_id = function() return boot "id" end,
  request_completion = function(sent) return sent.complete and "OK" or nil end,
  body_bytes_sent = function(sent) return ("%d"):format(sent.bytes or 0) end,
  request_ms = function(sent) return ("%.3f"):format(sent.seconds * 1000) end,
  request_time = function(sent) return ("%.6f"):format(sent.seconds) end,
  time_local = function() return os.date("%d/%b/%Y:%H:%M:%S %z") end,
  time_iso8601 = function()
    local seconds, milliseconds = wall()
    return os.date("!%Y-%m-%dT%H:%M:%S", seconds) .. (".%03dZ"):format(milliseconds)
  end,
  pid = function() return uv.os_getpid() end,
  remote_user = function(_, req) return user_of(req) end,
  request_id = function(_, req) return req.id end,
}

-- What could end the line, or pass for another field.
local function escape(value)
  if value == nil then return "-" end
  return (tostring(value):gsub('[%c"\\\127-\255]', function(byte) return ("\\x%02X"):format(byte:byte()) end))
end

-- A variable as { when, fn }.
local function variable(name)
  if AT_START[name] then return { "start", AT_START[name] } end
  if AT_END[name] then return { "finish", AT_END[name] } end
  local field = name:match("^http_([%w_]+)$")
  if field then
    field = field:gsub("_", "-"):lower()
    return { "start", function(req) return req.headers[field] end }
  end
  field = name:match("^sent_http_([%w_]+)$")
  if not field then
    local known = {}
    for _, list in ipairs { AT_START, AT_END } do
      for one in pairs(list) do known[one] = true end
    end
    local near = options.nearest(name, known)
    usage.fail(3, "%s: there is no variable '$%s'%s", NAME, name, near and (", did you mean '$%s'?"):format(near) or "")
  end
  field = field:gsub("_", "-")
  return { "head", function(res)
    local value = res:getHeader(field)
    return type(value) == "table" and table.concat(value, ", ") or value
  end }
end

-- A format as a list of texts and variables.
local function compile(format)
  if FORMATS[format] then format = FORMATS[format] end
  if not format:find("$", 1, true) then
    local near = options.nearest(format, FORMATS)
    usage.fail(2, "%s: option 'format' is common, combined, short or text with $variables, got '%s'%s", NAME, format,
      near and (", did you mean '%s'?"):format(near) or "")
  end
  local parts, at = {}, 1
  while true do
    local dollar = format:find("$", at, true)
    parts[#parts + 1] = format:sub(at, (dollar or 0) - 1)
    if not dollar then return parts end
    local name, stop = format:match("^([%w_]+)()", dollar + 1)
    if not name then name, stop = format:match("^{([%w_]+)}()", dollar + 1) end
    parts[#parts + 1] = name and variable(name) or "$"
    at = stop or dollar + (format:sub(dollar + 1, dollar + 1) == "$" and 2 or 1)
  end
end

-- ---- writing ---------------------------------------------------------------------------------------------------

local function writer_of(stream)
  if stream == nil or stream == "log" then return function(line) host.log("info", line) end end
  if type(stream) == "string" then
    local file, message = io.open(stream, "a")
    if not file then usage.fail(2, "%s: %s", NAME, message) end
    file:setvbuf "line"
    return function(line) file:write(line, "\n") end
  end
  if is_callable(stream) then return stream end
  if type(stream.write) ~= "function" then
    usage.fail(2, "%s: option 'stream' must be 'log', the path of a file, or have a method write()", NAME)
  end
  return function(line) stream:write(line .. "\n") end
end

local function fill(parts, values, when, object, req)
  for i, part in ipairs(parts) do
    if type(part) == "table" and part[1] == when then values[i] = escape(part[2](object, req)) end
  end
end

local function line_of(parts, values)
  local words = {}
  for i, part in ipairs(parts) do words[i] = type(part) == "string" and part or values[i] or "-" end
  return table.concat(words)
end

--- Makes the middleware; it stands in front. `$variables` (also `${variable}`; `$$` is a `$`): those of the option
-- access_log, and remote_user (req.user), request_id (req.id), request_ms (request_time in milliseconds). What a client
-- sends is escaped: control bytes, quotes and backslashes are \xHH.
-- @tparam[opt] table given options:
-- @tparam[opt="combined"] string|function given.format common, combined, short, text with $variables, or fn(record,
-- req) -> line or nil; record: method, url, status, bytes, seconds, complete
-- @tparam[opt="log"] string|table|function given.stream "log" (clua's own), the path of a file, an object with
-- write(), or fn(line)
-- @tparam[opt] function given.skip fn(record, req): true for no line
-- @treturn function(req, res, next)
-- @raise an unknown option, format or variable; a file that cannot be opened
return function(given)
  given = options.check(given, KNOWN, NAME)
  local custom = type(given.format) == "function" and given.format
  local parts = custom and {} or compile(given.format or "combined")
  local write = writer_of(given.stream)
  return function(req, res, next)
    local began, values = uv.hrtime(), {}
    local record = { method = req.method, url = req.originalUrl or req.url, complete = false }
    fill(parts, values, "start", req)
    res:onHead(function(answer)
      record.status = answer.statusCode
      fill(parts, values, "head", answer)
    end)
    local function ended(complete)
      record.seconds = (uv.hrtime() - began) / 1e9
      record.complete = complete
      record.bytes = record.method == "HEAD" and 0 or res.bytesWritten or 0
      if complete and not record.status then record.status = res.statusCode end -- answered by the server itself
      if given.skip and given.skip(record, req) then return end
      fill(parts, values, "finish", record, req)
      local line = custom and custom(record, req) or not custom and line_of(parts, values)
      if line then write(line) end
    end
    res:on("finish", function() ended(true) end)
    res:on("close", function() ended(false) end)
    return next()
  end
end
