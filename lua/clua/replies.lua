--- What the master itself says to a client, as raw bytes: it parses no request, so it can only answer this and close.
-- @module clua.replies

local function reply(status, extra, text)
  return table.concat({
    "HTTP/1.1 " .. status,
    "Content-Type: text/plain; charset=utf-8",
    "Content-Length: " .. #text,
    "Connection: close",
    extra,
  }, "\r\n") .. "\r\n\r\n" .. text
end

return {
  --- No worker could take the connection in time (RFC 9110 section 15.6.4).
  gone = reply("503 Service Unavailable", "Retry-After: 1", "No worker is free. Please try again.\n"),
  --- The worker that was executing the request has died (RFC 9110 section 15.6.3).
  lost = reply("502 Bad Gateway", "Cache-Control: no-store", "The worker that was executing this request has ended.\n"),
}
