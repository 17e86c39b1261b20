-- Requests that we did not write; see spec/core/corpora.
local http = require "clua.http"
local peer = require "spec.support.http_peer"

local CORPORA = { "gunicorn", "http11probe", "http_garden", "llhttp", "portswigger", "servers", "smuggler" }

describe("the request corpus of", function()
  local served
  local server = http.createServer(function(req, res)
    if not req:body() then return end
    served = served + 1
    res:finish("ok")
  end)

  -- Statuses of all answers (but 100) once the client has ended its side and the server has closed.
  local function try(pieces)
    served = 0
    local client = peer.connect(server)
    for _, piece in ipairs(pieces) do client:send(piece):turn(1) end
    client:turn(2):shutdown():wait_closed()
    local statuses = {}
    for status in client.text:gmatch("HTTP/1%.1 (%d%d%d) ") do
      if status ~= "100" then statuses[#statuses + 1] = tonumber(status) end
    end
    client:close()
    return statuses
  end

  local function count(statuses, wanted)
    local n = 0
    for _, status in ipairs(statuses) do
      if (status == 200) == wanted then n = n + 1 end
    end
    return n
  end

  -- Served must be so many requests; refused: and then one answer of 400 or more.
  local function check(pieces, answers, refused, how)
    local statuses = try(pieces)
    local text = ("%s: answered by %s, %d served"):format(how, table.concat(statuses, " "), served)
    assert(count(statuses, true) == answers and served == answers, text)
    assert(count(statuses, false) == (refused and 1 or 0), text)
  end

  local function bytes_of(text)
    local bytes = {}
    for i = 1, #text do bytes[i] = text:sub(i, i) end
    return bytes
  end

  -- Most files have no Host, for which alone we would refuse them: what they are about must show without that.
  local function with_host(text)
    if text:lower():find("\nhost[ \t]*:") then return text end
    return (text:gsub("( HTTP/1%.%d\r?\n)", "%1Host: a\r\n"))
  end

  for _, name in ipairs(CORPORA) do
    local rows = require("spec.core.corpora." .. name)

    it(("%s (%d requests)"):format(name, #rows), function()
      for _, row in ipairs(rows) do
        local refused = row[3] == "invalid" or row.refuse
        local answers = row.answers or (refused and 0 or 1)
        local text = row.bare and row[2] or with_host(row[2])
        check({ text }, answers, refused, row[1])
        if not row.long then check(bytes_of(text), answers, refused, row[1] .. ", byte by byte") end
        if row[3] == "invalid" and not row.answers then check({ row[2] }, 0, true, row[1] .. ", as it stands") end
      end
    end)
  end
end)
