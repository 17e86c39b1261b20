local cjson = require "cjson"
local json = require "clua.status.json"
local utf8 = require "clua.status.utf8"

describe("clua.status.json", function()
  local function entry(workers, held_time)
    return {
      name = "a\255", ready = true, wanted = 0, exits = {}, workers = workers,
      counters = {
        accepted = 1, responses = { ["2xx"] = 1 }, places = {}, queue_time = { count = 0, sum = 0, buckets = {} },
        request_time = { count = 3, sum = 0.5, buckets = { { 1e-06, 3 } } },
        held_time = held_time,
      },
    }
  end

  it("has arrays where arrays belong, empty ones, too", function()
    local text = json.encode({ entry {} }, { pid = 1, ready = false })
    for _, name in ipairs { "workers", "places", "buckets" } do
      assert.truthy(text:find('"' .. name .. '":[]', 1, true), text)
    end
    assert.truthy(text:find('"exits":{}', 1, true), text)
    assert.equal('{"master":{"pid":1},"registrations":[]}', json.encode({}, { pid = 1 }))
    local all = cjson.decode(text)
    assert.same({ { 1e-06, 3 } }, all.registrations[1].counters.request_time.buckets)
    assert.equal(1, all.registrations[1].counters.responses["2xx"])
    assert.is_false(all.master.ready)
  end)

  it("has the time of held requests where the master tells of it", function()
    local text = json.encode({ entry({}, { count = 3, sum = 0.5, buckets = { { 0.2, 3 } } }) }, {})
    assert.same({ { 0.2, 3 } }, cjson.decode(text).registrations[1].counters.held_time.buckets)
    assert.is_nil(json.encode({ entry {} }, {}):find("held_time", 1, true))
  end)

  it("writes UTF-8 whatever the workers have published", function()
    local text = json.encode({ entry { { id = 1, values = { ["\254"] = '"\237\160\128"\n', ok = "ä" } } } }, {})
    local worker = cjson.decode(text).registrations[1].workers[1]
    assert.equal("ä", worker.values.ok)
    assert.equal('"\239\191\189\239\191\189\239\191\189"\n', worker.values["\239\191\189"])
    assert.equal(text, utf8.valid(text))
  end)

  it("knows well-formed sequences", function()
    for _, good in ipairs { "", "abc", "ä", "€", "\240\159\152\128", "\244\143\191\191", "\237\159\191" } do
      assert.equal(good, utf8.valid(good))
    end
    for _, bad in ipairs { "\128", "\192\128", "\193\191", "\224\159\191", "\237\160\128", "\240\143\191\191",
      "\244\144\128\128", "\245\128\128\128", "\226\130", "\195" } do
      assert.is_nil(utf8.valid(bad):find(bad, 1, true))
      assert.truthy(utf8.valid("a" .. bad .. "b"):find("^a\239\191\189.*b$"))
    end
  end)
end)
