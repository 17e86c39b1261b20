local fakes = require "spec.unit.connect_fakes"

local base64 = require "clua.connect.base64"
local connect = require "clua.connect"

local USERS = { ann = "s3cret", ["b\195\182b"] = "pass:word", empty = "" }

describe("clua.connect.basicAuth", function()
  local function send(header, given)
    local res, req = fakes.send(connect(connect.basicAuth(given or { users = USERS }), function(req, res)
      res:finish("hello " .. req.user)
    end), "/", { headers = { authorization = header } })
    return res.statusCode, res, req
  end

  local function basic(text) return "Basic " .. base64.encode(text) end

  it("lets those pass who are known", function()
    local status, res, req = send(basic "ann:s3cret")
    assert.equal(200, status)
    assert.equal("hello ann", res:body())
    assert.equal("ann", req.user)
    assert.is_nil(res.headers["www-authenticate"])
    assert.equal(200, (send(basic "b\195\182b:pass:word")))
    assert.equal(200, (send(basic "empty:")))
    assert.equal(200, (send("bASIC  " .. base64.encode "ann:s3cret")))
  end)

  it("asks all others", function()
    local status, res, req = send(nil)
    assert.equal(401, status)
    assert.equal('Basic realm="restricted", charset="UTF-8"', res.headers["www-authenticate"])
    assert.is_nil(req.user)
    for _, header in ipairs {
      "", "Basic", "Basic ", "Basic !", "Bearer " .. base64.encode "ann:s3cret", base64.encode "ann:s3cret",
      basic "ann", basic "ann:", basic "ann:S3cret", basic "ann:s3cret ", basic "ann:s3cre", basic "Ann:s3cret",
      basic ":s3cret", basic ":", basic "", basic "bob:s3cret", basic "ann:s3crets3cret", basic "annann:s3cret",
      basic "ann:s3cret\0", basic "ann\n:s3cret", basic "b\246b:pass:word", basic "ann:s3cret" .. "=",
      "Basic " .. base64.encode("ann:s3cret"):sub(1, -2), basic "__index:x", basic "empty",
    } do
      assert.equal(401, (send(header)), header)
    end
  end)

  it("asks a function, which may wait", function()
    local seen
    local given = { authorize = function(user, password, req)
      require("clua.async").sleep(0.001)
      seen = { user, password, req.url }
      return password == "yes"
    end }
    assert.equal(200, (send(basic "any:yes", given)))
    assert.same({ "any", "yes", "/" }, seen)
    assert.equal(401, (send(basic "any:no", given)))
    seen = nil
    assert.equal(401, (send("Basic nonsense!", given)))
    assert.is_nil(seen)
  end)

  it("quotes the realm", function()
    local _, res = send(nil, { users = USERS, realm = 'a "b" \\c' })
    assert.equal('Basic realm="a \\"b\\" \\\\c", charset="UTF-8"', res.headers["www-authenticate"])
  end)

  it("refuses wrong options", function()
    for given, wanted in pairs {
      [{}] = "either", [{ users = USERS, authorize = print }] = "not both", [{ users = { "ann" } }] = "name = password",
      [{ users = { ["a:b"] = "x" } }] = "holds no ':'", [{ users = {}, realm = "a\r\nX: 1" }] = "control bytes",
      [{ user = {} }] = "did you mean 'users'",
    } do
      local ok, message = pcall(function() connect.basicAuth(given) end)
      assert.is_false(ok)
      assert.truthy(tostring(message):find(wanted, 1, true), tostring(message))
      assert.truthy(tostring(message):find("connect_basicAuth_spec.lua:%d+: basicAuth"), tostring(message))
    end
  end)
end)
