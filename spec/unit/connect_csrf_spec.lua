local fakes = require "spec.unit.connect_fakes"

local connect = require "clua.connect"
local secure = require "clua.connect.secure"

describe("clua.connect.csrf", function()
  -- One request: what csrf passed to next(), and a token. session: the table, or nil.
  local function send(request, given, session, body)
    local refusal, token
    local req = fakes.request("/", request)
    req.headers.host = req.headers.host or "shop.example:8080"
    req.session = session
    if body then req.body = body end
    local res = fakes.response()
    connect.csrf(given)(req, res, function(err)
      refusal = err
      if not err and req.method == "GET" then token = req:csrfToken() end
    end)
    return refusal and refusal.status, token, (res.headers["set-cookie"] or {})[1]
  end

  local function post(headers, given, session, body)
    return (send({ method = "POST", headers = headers }, given, session, body))
  end

  it("lets safe methods pass, and sets nothing until a token is wanted", function()
    for _, method in ipairs { "HEAD", "OPTIONS", "TRACE" } do
      local status, _, line = send { method = method, headers = { origin = "https://evil.example" } }
      assert.is_nil(status)
      assert.is_nil(line)
    end
  end)

  it("wants the token in a header or a field, against the secret in the session", function()
    local session = {}
    local _, token, line = send({}, nil, session)
    assert.is_nil(line)
    assert.is_string(session.csrf_secret)
    assert.is_nil(post({ ["x-csrf-token"] = token }, nil, session))
    assert.is_nil(post({ ["x-xsrf-token"] = token }, nil, session))
    assert.is_nil(post({}, nil, session, { _csrf = token }))
    assert.equal(403, post({}, nil, session))
    assert.equal(403, post({}, nil, session, { _csrf = { token } }))
    assert.equal(403, post({ ["x-csrf-token"] = token }, nil, {}))
  end)

  it("gives another token each time, and all are good", function()
    local session = {}
    local _, one = send({}, nil, session)
    local _, two = send({}, nil, session)
    assert.not_equal(one, two)
    assert.is_nil(post({ ["x-csrf-token"] = one }, nil, session))
    assert.is_nil(post({ ["x-csrf-token"] = two }, nil, session))
  end)

  it("refuses every changed token, and all methods that change something", function()
    local session = {}
    local _, token = send({}, nil, session)
    for i = 1, #token do
      local c = token:sub(i, i) == "A" and "Q" or "A"
      assert.equal(403, post({ ["x-csrf-token"] = token:sub(1, i - 1) .. c .. token:sub(i + 1) }, nil, session))
    end
    for _, bad in ipairs { "", "x", token:sub(1, -3), token .. "AA", ("A"):rep(64), session.csrf_secret } do
      assert.equal(403, post({ ["x-csrf-token"] = bad }, nil, session))
    end
    for _, method in ipairs { "POST", "PUT", "PATCH", "DELETE", "PURGE", "get" } do
      assert.equal(403, (send({ method = method }, nil, session)))
    end
  end)

  it("keeps the secret in a cookie when there is no session", function()
    local _, token, line = send({})
    assert.truthy(line:find("^csrf=[%w_-]+; Path=/; HttpOnly; SameSite=Lax$"), line)
    local cookie = line:match("^[^;]*")
    assert.is_nil(post { ["x-csrf-token"] = token, cookie = cookie })
    assert.equal(403, post { ["x-csrf-token"] = token })
    assert.equal(403, post { cookie = cookie })
    assert.equal(403, post { ["x-csrf-token"] = token, cookie = "csrf=" .. ("A"):rep(32) })
    assert.equal(403, post { ["x-csrf-token"] = secure.mask "short", cookie = "csrf=c2hvcnQ" })
    local _, _, host = send({}, { cookie = "__Host-csrf", secure = true })
    assert.truthy(host:find("^__Host%-csrf=.*; Secure"), host)
  end)

  describe("judges where a request with a good token comes from:", function()
    local CASES = {
      { {}, true },
      { { origin = "http://shop.example:8080" }, true },
      { { origin = "https://shop.example:8080" }, true }, -- TLS may end before us
      { { origin = "HTTP://SHOP.example:8080" }, true },
      { { origin = "http://shop.example" }, false },
      { { origin = "http://evil.example" }, false },
      { { origin = "http://shop.example:8080.evil.example" }, false },
      { { origin = "http://evil.example/shop.example:8080" }, false },
      { { origin = "null" }, false },
      { { origin = "" }, false },
      { { origin = "https://admin.example" }, true }, -- allowed below
      { { origin = "https://admin.example.evil" }, false },
      { { ["sec-fetch-site"] = "same-origin" }, true },
      { { ["sec-fetch-site"] = "none" }, true },
      { { ["sec-fetch-site"] = "same-site" }, false },
      { { ["sec-fetch-site"] = "cross-site" }, false },
      { { referer = "http://shop.example:8080/form?x=1" }, true },
      { { referer = "http://evil.example/shop.example:8080" }, false },
      { { referer = "http://shop.example:8080@evil.example/" }, false },
      { { referer = "https://admin.example/x" }, true },
    }
    for i, case in ipairs(CASES) do
      local name, value = next(case[1])
      it(("no. %d: %s: %s"):format(i, tostring(name), tostring(value)), function()
        local given, session = { origins = { "https://admin.example" } }, {}
        local _, token = send({}, given, session)
        case[1]["x-csrf-token"] = token
        assert.equal(not case[2] and 403 or nil, post(case[1], given, session))
      end)
    end
  end)

  it("refuses wrong options", function()
    for _, given in ipairs { { origins = { "example.com" } }, { origins = { "https://a/x" } }, { cookies = "x" },
        { cookie = "__Host-x" } } do
      local ok, message = pcall(function() connect.csrf(given) end)
      assert.is_false(ok)
      assert.truthy(tostring(message):find("connect_csrf_spec.lua:%d+: csrf"), tostring(message))
    end
  end)
end)
