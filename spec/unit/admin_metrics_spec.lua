local metrics = require "clua.admin.metrics"
local prometheus = require "spec.support.prometheus"

local itself = {
  version = "0", luajit = "L", libuv = "1", pid = 1, state = "running", ready = true, generation = 2, started = 1e9,
  fds = 20, max_fds = 1024, rss = 1e6, lua_heap = 1e5, loop_lag = 0.001, cpu = 1.5,
}

local function histogram(...)
  local all = { count = 0, sum = 0, buckets = { ... } }
  for _, bucket in ipairs(all.buckets) do all.count = all.count + bucket[2] end
  return all
end

local function worker(id, given)
  local all = {
    id = id, serial = id, pid = 100 + id, state = "ready", remain = 0, loans = 1, handed = 1, scores = 3, rss = 1,
    lua_heap = 2, loop_lag = 0.25, age = 3, cpu = 0.5, stuck = false, values = {},
  }
  for name, value in pairs(given or {}) do all[name] = value end
  return all
end

local function registration(name, given)
  local all = {
    name = name, ready = true, wanted = 1, exits = {}, workers = { worker(1) },
    counters = {
      accepted = 5, turned_away = 0, lost = 0, broken = 0, stolen = 0, held = 3, waiting = 1, parked = 2, starts = 1,
      requests = 7, responses = { ["1xx"] = 0, ["2xx"] = 7, ["3xx"] = 0, ["4xx"] = 0, ["5xx"] = 0 },
      places = { { requests = 7, cpu = 0.5 } }, queue_time = histogram(), request_time = histogram(),
      held_time = histogram({ 0.02, 1 }, { 0.2, 2 }),
    },
  }
  for key, value in pairs(given or {}) do all[key] = value end
  return all
end

describe("clua.admin.metrics", function()
  local function page(...)
    return prometheus.parse(metrics.format({ ... }, itself))
  end

  it("is a page that a strict reader takes, with every registration and worker", function()
    local families = page(registration("web", { workers = { worker(1), worker(2) } }), registration("/run/a.sock"))
    assert.equal(1, prometheus.value(families, "clua_build_info", { version = "0" }))
    assert.equal(2, prometheus.value(families, "clua_master_upgrades_total"))
    for _, name in ipairs { "web", "/run/a.sock" } do
      assert.equal(7, prometheus.value(families, "clua_requests_total", { registration = name }))
      assert.equal(3, prometheus.value(families, "clua_requests_held_total", { registration = name }))
      assert.equal(3, prometheus.value(families, "clua_held_seconds_count", { registration = name }))
      assert.equal(1, prometheus.value(families, "clua_held_seconds_bucket", { registration = name, le = "0.032768" }))
      assert.equal(7, prometheus.value(families, "clua_responses_total", { registration = name, class = "2xx" }))
      assert.equal(0.25, prometheus.value(families, "clua_worker_loop_lag_seconds", { registration = name }))
    end
    assert.equal(2, prometheus.value(families, "clua_workers", { registration = "web", state = "ready" }))
    assert.equal(0, prometheus.value(families, "clua_workers", { registration = "web", state = "starting" }))
  end)

  it("shows no worker twice while a place changes it: the one that serves", function()
    local families = page(registration("web", { workers = {
      worker(1, { serial = 1, state = "draining", age = 1 }), worker(1, { serial = 3, state = "ready", age = 3 }),
      worker(1, { serial = 2, state = "starting", age = 2 }), worker(2, { serial = 4, state = "ready", age = 4 }),
      worker(2, { serial = 5, state = "ready", age = 5 }),
    } }))
    assert.equal(3, prometheus.value(families, "clua_worker_age_seconds", { worker = "1" }))
    assert.equal(5, prometheus.value(families, "clua_worker_age_seconds", { worker = "2" }))
  end)

  it("gathers the buckets of a histogram under the bounds that it shows", function()
    local counters = registration("web").counters
    counters.request_time = histogram({ 1e-06, 1 }, { 1.6e-05, 2 }, { 2e-05, 4 }, { 0.065536, 8 }, { 67.108864, 16 })
    counters.request_time.count, counters.request_time.sum = 63, 12.5 -- 32 took longer than any bound
    local families = page(registration("web", { counters = counters }))
    local function at(le) return prometheus.value(families, "clua_request_seconds_bucket", { le = le }) end
    assert.same({ 3, 7, 7, 15, 15, 31, 63 }, {
      at "1.6e-05", at "3.2e-05", at "0.032768", at "0.065536", at "0.131072", at "67.108864", at "+Inf",
    })
    assert.equal(63, prometheus.value(families, "clua_request_seconds_count"))
    assert.equal(12.5, prometheus.value(families, "clua_request_seconds_sum"))
  end)

  it("escapes what stands in labels, and lets nobody write another line", function()
    local nasty = 'a"} 1\nfake_total{x="\\'
    local families = page(registration(nasty, { exits = { ["status 1"] = 2, SIGSEGV = 1 } }))
    assert.equal(7, prometheus.value(families, "clua_requests_total", { registration = nasty }))
    assert.equal(2, prometheus.value(families, "clua_worker_exits_total", { cause = "status 1" }))
    assert.is_nil(families.fake_total)
    assert.equal("\239\191\189ä\239\191\189", metrics.escape("\255ä\237"))
  end)

  it("shows numeric monset values as gauges, under valid names, without losing one", function()
    local families = page(registration("web", { workers = { worker(1, { values = {
      depth = "12", ["queue depth"] = "-1.5e-3", ["queue-depth"] = "7", ["2nd"] = "+.5", ["\255"] = "1", ["\254"] = "1",
      word = "many", hex = "0x10", empty = "", dot = ".", inf = "inf", nan = "nan", ["b\n"] = "3",
    } }) } }))
    assert.equal(12, prometheus.value(families, "clua_value_depth", { worker = "1" }))
    assert.equal(-1.5e-3, prometheus.value(families, "clua_value_queue_depth", { key = "queue depth" }))
    assert.equal(7, prometheus.value(families, "clua_value_queue_depth", { key = "queue-depth" }))
    assert.equal(0.5, prometheus.value(families, "clua_value_2nd"))
    assert.equal(3, prometheus.value(families, "clua_value_b_", { key = "b\n" }))
    assert.equal(math.huge, prometheus.value(families, "clua_value_inf"))
    local nan = prometheus.value(families, "clua_value_nan")
    assert.is_true(nan ~= nan)
    for _, name in ipairs { "word", "hex", "empty", "dot" } do assert.is_nil(families["clua_value_" .. name]) end
  end)

  it("writes numbers without losing digits", function()
    assert.equal("0", metrics.number(0))
    assert.equal("1234567890123", metrics.number(1234567890123))
    assert.equal("0.1", metrics.number(0.1))
    assert.equal(1 / 3, tonumber(metrics.number(1 / 3)))
    assert.equal("-Inf", metrics.number(-math.huge))
  end)
end)

describe("spec.support.prometheus", function()
  local head = "# HELP a_total x\n# TYPE a_total counter\n"
  local histogram_head = "# HELP h x\n# TYPE h histogram\n"

  for name, text in pairs {
    ["no line end"] = head .. "a_total 1",
    ["no type"] = "a_total 1\n",
    ["a sample twice"] = head .. "a_total 1\na_total 1\n",
    ["labels twice in another order"] = head .. 'a_total{x="1",y="2"} 1\na_total{y="2",x="1"} 1\n',
    ["an unescaped quote"] = head .. 'a_total{x="a"b"} 1\n',
    ["an unknown escape"] = head .. 'a_total{x="\\t"} 1\n',
    ["a bad label"] = head .. 'a_total{1x="a"} 1\n',
    ["no number"] = head .. "a_total one\n",
    ["a hexadecimal number"] = head .. "a_total 0x10\n",
    ["a negative counter"] = head .. "a_total -1\n",
    ["a counter without _total"] = "# HELP a x\n# TYPE a counter\na 1\n",
    ["a family in two pieces"] = head .. "a_total 1\n# HELP b x\n# TYPE b gauge\nb 1\na_total{x=\"1\"} 1\n",
    ["bytes that are no UTF-8"] = head .. 'a_total{x="\255"} 1\n',
    ["a histogram without +Inf"] = histogram_head .. 'h_bucket{le="1"} 1\nh_sum 1\nh_count 1\n',
    ["buckets that shrink"] = histogram_head .. 'h_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n',
    ["a count that is not +Inf's"] = histogram_head .. 'h_bucket{le="+Inf"} 1\nh_sum 1\nh_count 2\n',
  } do
    it("refuses " .. name, function()
      assert.is_false((pcall(prometheus.parse, text)))
    end)
  end
end)
