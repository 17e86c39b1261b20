-- Workers with a user of their own.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local uv = require "luv"

local IS_ROOT = uv.getuid() == 0
local user = uv.os_environ().CLUA_SPEC_USER or "nobody"

local function id(option)
  local pipe = io.popen(("id %s %s"):format(option, user))
  local text = pipe:read("*l")
  pipe:close()
  return text
end

local function get(c, path)
  local status, _, body = client.get(c:address(), path)
  assert.equal(200, status)
  return body
end

local function start(options)
  options.app, options.copied = "wants_root", true
  return cluster.start(options)
end

local it_as_root = IS_ROOT and it or pending

describe("a worker with user and group", function()
  after_each(cluster.cleanup)

  it_as_root("has the ids, groups and capabilities of that user alone", function()
    local c = start { options = { cnum = 1, user = user, group = id("-gn") } }
    c:wait_log("all workers ready")
    local status = get(c, "/status")
    local uid, gid = id("-u"), id("-g")
    local function field(name) return status:match("\n" .. name .. ":%s*([^\n]-)%s*\n") end
    assert.equal(("%s\t%s\t%s\t%s"):format(uid, uid, uid, uid), field("Uid"))
    assert.equal(("%s\t%s\t%s\t%s"):format(gid, gid, gid, gid), field("Gid"))
    local wanted, got = {}, {}
    for group in id("-G"):gmatch("%d+") do wanted[group] = true end
    for group in field("Groups"):gmatch("%d+") do got[group] = true end
    assert.same(wanted, got)
    for _, name in ipairs { "CapInh", "CapPrm", "CapEff", "CapAmb" } do
      assert.equal("0000000000000000", field(name), name)
    end
  end)

  it_as_root("cannot become root again, not even while its script is loaded", function()
    local c = start { options = { cnum = 1, user = user } }
    c:wait_log("all workers ready")
    assert.equal("-1 -1 -1 -1", get(c, "/root"))
  end)

  it_as_root("serves a port below 1024 that its master has opened", function()
    -- Any one that is free.
    local port
    for candidate = 1023, 900, -1 do
      local conn = client.connect(candidate)
      if conn then conn:close() else
        port = candidate
        break
      end
    end
    local c = start { name = "127.0.0.1:" .. port, options = { cnum = 1, user = user } }
    c:wait_log("all workers ready")
    get(c, "/status")
  end)

  it_as_root("keeps the master's when none is given", function()
    local c = start { options = { cnum = 1 } }
    c:wait_log("all workers ready")
    assert.truthy(get(c, "/status"):find("\nUid:%s*0\t0\t0\t0\n"))
  end)

  for _, option in ipairs { "user", "group" } do
    it("that does not exist (" .. option .. ") ends the start before any Lua of a worker runs", function()
      local c = start { options = { cnum = 1, [option] = "no-such-name-here" } }
      local code = c:wait_exit()
      assert.not_equal(0, code)
      assert.equal(0, c:count("started, pid"))
      assert.is_true(c:count("no%-such%-name%-here") > 0, c:text())
    end)
  end
end)

describe("the arguments of a worker", function()
  after_each(cluster.cleanup)

  it("reach its script", function()
    local c = start { options = { cnum = 1, args = { "one", "two words", "" } } }
    c:wait_log("all workers ready")
    assert.equal("one,two words,", get(c, "/args"))
  end)
end)
