-- What clua top makes of two looks at a cluster.

local top = require "clua.control.top"

local function worker(id, pid, fields)
  local all = {
    id = id, pid = pid, state = "ready", remain = 0, scores = 0, loop_lag = 0, rss = 2 ^ 20, lua_heap = 1024, cpu = 0,
    age = 5,
  }
  for name, value in pairs(fields or {}) do all[name] = value end
  return all
end

local function sample(at, requests, workers, name)
  return { at = at, status = {
    master = {
      name = "shop", pid = 7, state = "running", ready = true, started = os.time() - 3, version = "1", rss = 1024,
      cpu = at / 10, loop_lag = 0, fds = 20, max_fds = 1024,
    },
    registrations = { { name = name or "web", workers = workers, counters = { requests = requests, waiting = 1,
      parked = 2 } } },
  } }
end

local function order(now, before, key)
  local rows, ids = top.rows(now, before), {}
  top.sort(rows, key)
  for i, row in ipairs(rows) do ids[i] = row.id end
  return ids
end

describe("clua top", function()
  it("counts by the second, each worker from when it was first seen", function()
    local before = sample(10, 100, { worker(1, 51, { scores = 40, cpu = 1 }) })
    local now = sample(12, 150, { worker(1, 51, { scores = 60, cpu = 2 }), worker(2, 52, { scores = 9000, cpu = 9 }) })
    local rows = top.rows(now, before)
    assert.same({ 10, 0.5, 0, 0 }, { rows[1].rate, rows[1].cpu, rows[2].rate, rows[2].cpu })
    local history = {}
    assert.equal(25, top.remember(history, now, before))
    -- One that was replaced has the same id and another pid; a counter that went back is another's.
    assert.equal(0, top.remember(history, before, now))
    assert.same({ 25, 0 }, history)
  end)

  it("remembers a minute", function()
    local history = {}
    for i = 1, 100 do top.remember(history, sample(i, i * i, {}), sample(i - 1, (i - 1) ^ 2, {})) end
    assert.equal(60, #history)
    assert.equal(199, history[60])
  end)

  it("sorts by what is pressed, the largest first, and equals by id", function()
    local before = sample(0, 0, { worker(1, 51), worker(2, 52), worker(3, 53) })
    local now = sample(1, 0, {
      worker(3, 53, { remain = 5, scores = 1, loop_lag = 1, rss = 1, cpu = 0 }),
      worker(1, 51, { remain = 1, scores = 9, loop_lag = 2, rss = 3, cpu = 0.5 }),
      worker(2, 52, { remain = 1, scores = 3, loop_lag = 3, rss = 2, cpu = 0.9 }),
    })
    for key, expected in pairs { i = { 1, 2, 3 }, r = { 3, 1, 2 }, s = { 1, 2, 3 }, l = { 2, 1, 3 }, m = { 1, 2, 3 },
      c = { 2, 1, 3 } } do
      assert.same(expected, order(now, before, key), key)
    end
  end)

  it("draws bars as high as the highest, in the terminal's letters", function()
    assert.equal("▁▁▄█", top.sparkline({ 0, 1, 8, 16 }, true))
    assert.equal("..=@", top.sparkline({ 0, 1, 8, 16 }, false))
    assert.equal("▁▁", top.sparkline({ 0, 0 }, true))
    assert.equal("", top.sparkline({}, true))
  end)

  it("fits the terminal: no letter is cut, and what is hidden is counted", function()
    local workers = {}
    for i = 1, 50 do workers[i] = worker(i, 100 + i) end
    local now, before = sample(1, 10, workers, "wéb\27[2J"), sample(0, 0, workers)
    local history = { 1, 2, 3 }
    local lines, heading = top.lines(now, before, history, { sort = "r", utf8 = true, width = 14, height = 10 })
    assert.equal(10, #lines)
    assert.equal("REGISTRATION", lines[heading]:match("^%S+"))
    for _, line in ipairs(lines) do
      assert.is_true(#line:gsub("[\128-\191]", "") <= 14, line)
      assert.is_nil(line:find("[%z\1-\31]"))
    end
    assert.equal("requests/s 3.0", lines[2])
    assert.equal("wéb\\x1b[2J    ", lines[heading + 1])
    lines = top.lines(now, before, history, { sort = "r", utf8 = true, width = 200, height = 10 })
    assert.truthy(lines[heading]:find("REMAIN*", 1, true))
    assert.truthy(lines[10]:find("46 lines more", 1, true), lines[10])
    assert.equal(55, #top.lines(now, before, history, { sort = "i", utf8 = true }))
  end)
end)
