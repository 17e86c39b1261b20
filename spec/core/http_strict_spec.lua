local http = require "clua.http"
local peer = require "spec.support.http_peer"
local cases = require "spec.core.http_requests"

local PROBE = "GET /probe HTTP/1.1\r\nHost: a\r\n\r\n"

describe("the raw request", function()
  local server = http.createServer(function(req, res)
    local body = req:body()
    if not body then return end
    res:setHeader("X-Url", req.url)
    res:finish(req.url == "/probe" and "probe" or "ok")
  end)

  -- A connection on which requests with this header section have been accepted before, so that it is recognised; nil
  -- for a section with which they are not.
  local function warm(section)
    local client = peer.connect(server)
    for _ = 1, 3 do
      client:send("GET /warm HTTP/1.1\r\n" .. section):turn(2)
      local response = client:take("GET")
      if not response or response.status ~= 200 or response.headers.connection == "close" then
        client:close()
        return nil
      end
    end
    return client
  end

  -- Sends the pieces, each in a read of its own, and returns the statuses and whether the connection stays open.
  local function try(case, pieces, client)
    client = client or peer.connect(server)
    for _, piece in ipairs(pieces) do
      client:send(piece):turn(1)
    end
    client:turn(1)
    local statuses, open, probe = {}, not client.closed, false
    local method = case.bytes:match("^%s*HEAD") and "HEAD"
    local function collect()
      while true do
        local response = client:take(#statuses == 0 and method or "GET")
        if not response then return end
        if response.status >= 200 then
          statuses[#statuses + 1] = response.status
          if response.headers.connection == "close" then open = false end
          probe = response.body == "probe"
        end
      end
    end
    collect()
    if open and not case.waits then
      client:send(PROBE):turn(2)
      collect()
      open = probe
      if probe then statuses[#statuses] = nil end
    end
    client:close()
    return statuses, open
  end

  local function check(case, pieces, how, client)
    local statuses, open = try(case, pieces, client)
    local got, wanted = table.concat(statuses, " "), table.concat(case.statuses, " ")
    assert(got == wanted, ("%s: expected '%s', got '%s'"):format(how, wanted, got))
    if not case.waits then
      assert(open == case.open, ("%s: the connection is %s"):format(how, open and "still open" or "closed"))
    end
  end

  local recognised = 0
  for _, case in ipairs(cases) do
    local section = case.section:match("^%d%d%d%d") and case.section or "9112 " .. case.section
    it(("[RFC %s] %s"):format(section, case.name), function()
      check(case, { case.bytes }, "whole")
      local bytes = {}
      for i = 1, #case.bytes do bytes[i] = case.bytes:sub(i, i) end
      check(case, bytes, "byte by byte")
      for cut = 1, #case.bytes - 1 do
        check(case, { case.bytes:sub(1, cut), case.bytes:sub(cut + 1) }, "cut behind byte " .. cut)
      end
      local client = warm(case.bytes:match "^[^\n]*\n(.-\r\n\r\n)" or "Host: a\r\n\r\n")
      if client then
        recognised = recognised + 1
        check(case, { case.bytes }, "behind requests with its header section", client)
      end
    end)
  end

  it("is one of at least 150, many with a header section that is accepted", function()
    assert(#cases >= 150)
    assert(recognised >= 80, recognised)
  end)
end)
