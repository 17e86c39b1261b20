--- The built-in worker behind the option `admin`: serves figures that it asks the master for.
--
--     GET /healthz   200 as long as the master answers
--     GET /readyz    200 when clients should come, else 503 and why
--     GET /metrics   for Prometheus
--     GET /status    JSON
-- @module clua.admin.worker

local async = require "clua.async"
local buffer = require "string.buffer"
local core = require "clua.core.worker"
local http = require "clua.http"
local json = require "clua.status.json"
local metrics = require "clua.admin.metrics"
local uv = require "luv"
local Worker = require "clua.worker"

local STATE, STATUS = 1, 2 -- enum ask_what of src/channel.h
local PATIENCE = 2 -- seconds until a master that does not answer is said to be ill
local CACHE = 0.1 -- seconds for which a status is good: many scrapers cost the master no more than one

local worker = Worker.new()

-- ---- asking the master --------------------------------------------------------------------------------------------

local waiting = { [STATE] = {}, [STATUS] = {} } -- who waits for an answer: functions
local timers = {}
local cached, cached_at

local function answered(what, bytes)
  local callbacks = waiting[what]
  waiting[what] = {}
  if timers[what] then timers[what]:close() end
  timers[what] = nil
  local answer = bytes and bytes ~= "" and buffer.decode(bytes) or nil
  if what == STATUS and answer then cached, cached_at = answer, uv.hrtime() / 1e9 end
  for _, callback in ipairs(callbacks) do callback(answer) end
end

worker:on("answer", function(bytes, what)
  if waiting[what] then answered(what, bytes) end
end)

-- One question at a time: who comes meanwhile is told the same.
local function ask(what, callback)
  local callbacks = waiting[what]
  callbacks[#callbacks + 1] = callback
  if timers[what] then return end
  timers[what] = uv.new_timer()
  timers[what]:start(PATIENCE * 1000, 0, function() answered(what) end)
  if not core.ask(what) then answered(what) end
end

local function state()
  return async.await(ask, STATE)
end

local function status()
  if cached and uv.hrtime() / 1e9 - cached_at < CACHE then return unpack(cached) end
  local both = async.await(ask, STATUS)
  if both then return unpack(both) end
end

-- ---- answers ------------------------------------------------------------------------------------------------------

local PLAIN = "text/plain; charset=utf-8"

local function answer(res, code, kind, body)
  res:writeHead(code, { ["Content-Type"] = kind, ["Cache-Control"] = "no-store" })
  res:finish(body)
end

local function master_is_silent(res)
  answer(res, 503, PLAIN, "the master does not answer\n")
end

local pages = {}

pages["/"] = function(res)
  answer(res, 200, PLAIN, "/healthz\n/readyz\n/metrics\n/status\n")
end

pages["/healthz"] = function(res)
  if not state() then return master_is_silent(res) end
  answer(res, 200, PLAIN, "ok\n")
end

pages["/readyz"] = function(res)
  local now = state()
  if not now then return master_is_silent(res) end
  answer(res, now.ready and 200 or 503, PLAIN, now.ready and "ready\n" or now.reason .. "\n")
end

pages["/metrics"] = function(res)
  local registrations, itself = status()
  if not registrations then return master_is_silent(res) end
  answer(res, 200, metrics.content_type, metrics.format(registrations, itself))
end

pages["/status"] = function(res)
  local registrations, itself = status()
  if not registrations then return master_is_silent(res) end
  answer(res, 200, "application/json", json.encode(registrations, itself) .. "\n")
end

local limits = { maxHeaderSize = 8192, maxUrlSize = 1024, maxBodySize = 0, headersTimeout = 5, bodyTimeout = 5 }

local server = http.createServer(limits, function(req, res)
  local page = pages[req.url:match("^[^?]*")]
  if not page then return answer(res, 404, PLAIN, "no such page\n") end
  if req.method ~= "GET" and req.method ~= "HEAD" then
    res:setHeader("Allow", "GET, HEAD")
    return answer(res, 405, PLAIN, "only GET and HEAD are served\n")
  end
  page(res)
end)

worker:ready(function(socket)
  server:emit("connection", socket)
end)
