-- One request to an app in this very process, through the real HTTP server: ask(app, "GET /path", headers, body).

local http = require "clua.http"
local peer = require "spec.support.http_peer"

local DATE = "^%a%a%a, %d%d "

--- Returns the response: status, headers (names in lower case), body. headers may be a list of lines as well.
return function(app, line, headers, body)
  local connection = peer.connect(http.createServer(app))
  local lines = { line .. " HTTP/1.1" }
  local has_host = false
  for name, value in pairs(headers or {}) do
    if tostring(name):lower() == "host" then has_host = true end
    lines[#lines + 1] = name .. ": " .. value
  end
  if not has_host then lines[#lines + 1] = "Host: spec" end
  if body then lines[#lines + 1] = "Content-Length: " .. #body end
  local response = connection:request(table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or ""))
  assert(response.headers.date:find(DATE))
  connection:close()
  return response
end
