-- res:json, res:type, res:redirect.

local ask = require "spec.support.ask"
local connect = require "clua.connect"
local json = require "cjson"

local function with(fn)
  return connect(function(_, res) fn(res) end)
end

describe("res:json", function()
  it("answers with type and length", function()
    local response = ask(with(function(res) res:json({ list = { 1, 2 }, text = "ü<" }, 201) end), "GET /")
    assert.equal(201, response.status)
    assert.equal("application/json", response.headers["content-type"])
    assert.same({ list = { 1, 2 }, text = "ü<" }, json.decode(response.body))
  end)

  it("leaves a type that is set, and raises for what JSON does not have", function()
    local response = ask(with(function(res)
      res:type "application/problem+json"
      assert.is_false((pcall(res.json, res, { f = print })))
      assert.is_false((pcall(res.json, res, 0 / 0)))
      res:json { ok = true }
    end), "GET /")
    assert.equal("application/problem+json", response.headers["content-type"])
    assert.equal('{"ok":true}', response.body)
  end)
end)

describe("res:type", function()
  it("takes an extension or a type", function()
    for name, wanted in pairs { html = "text/html; charset=utf-8", [".png"] = "image/png", ["a/b"] = "a/b" } do
      assert.equal(wanted, ask(with(function(res) res:type(name) res:finish("x") end), "GET /").headers["content-type"])
    end
  end)
end)

describe("res:redirect", function()
  local function redirect(url, given)
    return ask(with(function(res) res:redirect(url, given) end), "GET /")
  end

  it("redirects on this site", function()
    for url, location in pairs {
      ["/a?b=c#d"] = "/a?b=c#d", ["next"] = "next", ["?page=2"] = "?page=2", ["../x"] = "../x", ["/ü"] = "/%C3%BC",
      ["/a:b"] = "/a:b", ['/"<x>'] = "/%22%3Cx%3E", ["/x?u=http://other/"] = "/x?u=http://other/",
    } do
      local response = redirect(url)
      assert.equal(302, response.status, url)
      assert.equal(location, response.headers.location)
    end
    assert.equal(303, redirect("/x", 303).status)
    assert.equal(308, redirect("/x", { status = 308 }).status)
  end)

  it("refuses to leave it", function()
    for _, url in ipairs {
      "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "\\/evil.example", "/\t/evil.example",
      " //evil.example", "\t//evil.example", "http://evil.example", "HTTPS://evil.example/", "https:evil.example",
      "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x", "java\nscript:x", "",
      "/x\r\nSet-Cookie: a=b", "/x\0y", "/x y", "x%y:z", "1http://evil.example",
    } do
      local response = redirect(url)
      assert.equal(400, response.status, url)
      assert.is_nil(response.headers.location)
      assert.is_nil(response.headers["set-cookie"])
    end
  end)

  it("leaves it when it may", function()
    local list = { external = { "https://id.example", "http://127.0.0.1:8080/" } }
    assert.equal("https://id.example/login?x", redirect("https://id.example/login?x", list).headers.location)
    assert.equal("HTTPS://ID.example", redirect("HTTPS://ID.example", list).headers.location)
    assert.equal("http://127.0.0.1:8080/x", redirect("http://127.0.0.1:8080/x", list).headers.location)
    for _, url in ipairs {
      "https://id.example.evil", "https://id.example@evil.example", "https://evil.example/https://id.example",
      "http://id.example", "https://id.example:444", "//id.example", "ftp://id.example", "https:///id.example",
      "https://id.example\\@evil.example",
    } do
      assert.equal(400, redirect(url, list).status, url)
    end
    assert.equal(302, redirect("https://any.example/", { external = true }).status)
    for _, url in ipairs { "javascript:alert(1)", "https://", "//x.example", "https://u:p@x.example", "ftp://x" } do
      assert.equal(400, redirect(url, { external = true }).status, url)
    end
  end)

  it("is wrong use with another status or option", function()
    assert.equal(500, redirect("/x", 200).status)
    assert.equal(500, redirect("/x", { extern = true }).status)
    with(function(res)
      local ok, err = pcall(function() res:redirect("/x", { extern = true }) end)
      assert.is_false(ok)
      assert.truthy(tostring(err):find("answer_spec.lua:%d+: redirect.*external"), tostring(err))
    end)
  end)
end)
