local cluster = require "spec.support.cluster"
local file_store = require "clua.connect.file_store"
local loop = require "spec.support.loop"
local uv = require "luv"

describe("clua.connect.file_store", function()
  local dir, time, store

  before_each(function()
    dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX"))
    time = os.time()
    store = file_store({ path = dir .. "/sessions", sweep = 0 }, function() return time end)
  end)
  after_each(function() cluster.remove(dir) end)

  local function files()
    local names, request = {}, assert(uv.fs_scandir(dir .. "/sessions"))
    for name in function() return uv.fs_scandir_next(request) end do names[#names + 1] = name end
    table.sort(names)
    return names
  end

  -- In a coroutine, as in a handler, and outside of one, as in a callback of luv.
  for how, run in pairs {
    ["in a coroutine"] = function(fn) loop.run(fn, 20) end, ["outside of one"] = function(fn) fn() end,
  } do
    it("keeps, changes, prolongs and forgets, " .. how, function()
      run(function()
        assert.is_true(store:set("a", "one", 10, true))
        assert.equal("one", store:get("a"))
        assert.is_true(store:set("a", "two", 10, false))
        time = time + 9
        assert.equal("two", store:get("a"))
        assert.is_true(store:touch("a", 10))
        time = time + 9
        assert.equal("two", store:get("a"))
        time = time + 1
        assert.same({}, { store:get("a") })
        assert.is_true(store:set("b", "b", 10, true))
        assert.is_true(store:destroy("b"))
        assert.same({}, { store:get("b") })
      end)
    end)
  end

  it("makes files for its user alone, with nothing half written beside them", function()
    store:set("a-b_C", "x", 10, true)
    store:set("a-b_C", ("y"):rep(100000), 10, false)
    assert.same({ "a-b_C.session" }, files())
    assert.equal(tonumber("600", 8), uv.fs_stat(dir .. "/sessions/a-b_C.session").mode % 512)
    assert.equal(tonumber("700", 8), uv.fs_stat(dir .. "/sessions").mode % 512)
    assert.equal(("y"):rep(100000), store:get("a-b_C"))
  end)

  it("does not bring back what is gone", function()
    store:set("a", "1", 10, true)
    store:destroy("a")
    assert.is_true(store:destroy("a"))
    assert.is_true(store:set("a", "2", 10, false))
    assert.is_true(store:touch("a", 10))
    assert.same({}, files())
  end)

  it("has no way out of its directory", function()
    cluster.write(dir .. "/x.session", "secret")
    for _, id in ipairs { "../x", "..", "", "a/b", "a\0b", ("a"):rep(65), "a.b" } do
      assert.is_nil(store:get(id))
      assert.is_nil(store:set(id, "x", 10, true))
      store:touch(id, 10)
      store:destroy(id)
    end
    assert.same({}, files())
    assert.truthy(uv.fs_stat(dir .. "/x.session"))
  end)

  it("sweeps what has expired, what was never finished, and nothing else", function()
    store:set("old", "x", 10, true)
    store:set("new", "x", 1000, true)
    cluster.write(dir .. "/sessions/gone.session.4711-1.new", "half")
    cluster.write(dir .. "/sessions/README", "not ours")
    uv.fs_utime(dir .. "/sessions/README", 1, 1)
    time = time + 50
    assert.equal(1, store:sweep())
    assert.same({ "README", "gone.session.4711-1.new", "new.session" }, files())
    time = time + 50 -- a file's own time of birth cannot be set
    assert.equal(1, store:sweep())
    assert.same({ "README", "new.session" }, files())
  end)

  it("tells what the disk says, and takes a file that is empty for none", function()
    cluster.write(dir .. "/sessions/empty.session", "")
    store:touch("empty", 10)
    assert.same({}, { store:get("empty") })
    uv.fs_mkdir(dir .. "/sessions/folder.session", tonumber("700", 8))
    store:touch("folder", 10)
    assert.truthy(select(2, store:get("folder")):find "^EISDIR")
    cluster.remove(dir .. "/sessions")
    assert.truthy(select(2, store:set("a", "x", 10, true)):find "^ENOENT")
    assert.truthy(select(2, store:sweep()):find "^ENOENT")
    assert.truthy(select(2, store:set("a", ("x"):rep(2 ^ 20 + 1), 10, true)):find "1048576 bytes")
  end)

  it("refuses what cannot be used", function()
    cluster.write(dir .. "/file", "")
    uv.fs_mkdir(dir .. "/open", tonumber("700", 8))
    uv.fs_chmod(dir .. "/open", tonumber("777", 8))
    for wanted, given in pairs {
      ["option 'path' is needed"] = {}, ["is no directory"] = { path = dir .. "/file" },
      ["others may write into"] = { path = dir .. "/open" }, ["cannot make"] = { path = dir .. "/no/where" },
      ["unknown option 'pth'"] = { pth = dir },
    } do
      local ok, message = pcall(file_store, given)
      assert.is_false(ok)
      assert.truthy(tostring(message):find(wanted, 1, true), tostring(message))
    end
  end)
end)
