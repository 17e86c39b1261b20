-- wrk's script: one request, or a batch of them in one write. arguments: pipeline, kind of request.
local VARIANTS = 4096 -- of the kind "varied": clua has forgotten the first one when it comes again
local requests, at = {}, 0

function init(args) -- luacheck: ignore
  local count, kind = tonumber(args[1] or 1), args[2] or "plain"
  local headers, method, body = {}, "GET", nil
  if kind == "browser" or kind == "varied" then
    headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0"
    headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
    headers["Accept-Language"] = "en-US,en;q=0.5"
    headers["Accept-Encoding"] = "gzip, deflate, br"
    headers["Cookie"] = "session=8f14e45fceea167a5a36dedd4bea2543; theme=dark"
    headers["Upgrade-Insecure-Requests"] = "1"
    headers["Sec-Fetch-Dest"] = "document"
    headers["Sec-Fetch-Mode"] = "navigate"
    headers["Sec-Fetch-Site"] = "none"
    headers["DNT"] = "1"
  elseif kind == "close" then
    headers["Connection"] = "close"
  elseif kind == "post" then
    method, body = "POST", ("x"):rep(64 * 1024)
  end
  for n = 1, kind == "varied" and VARIANTS or 1 do
    if kind == "varied" then headers["Cookie"] = ("session=%032x; theme=dark"):format(n) end
    requests[n] = wrk.format(method, nil, headers, body):rep(count) -- luacheck: ignore
  end
end

function request() -- luacheck: ignore
  at = at % #requests + 1
  return requests[at]
end
