-- master:status(): what clients counted is what it says, whatever has happened to the workers.

local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local status = require "spec.support.status"
local uv = require "luv"

describe("master:status()", function()
  after_each(cluster.cleanup)

  local function up(registrations)
    return cluster.up { dispatch = status.script(registrations) }
  end

  local function ask(c, path, count)
    for _ = 1, count or 1 do
      local code, headers = client.get(c:address(), path)
      assert(code, tostring(headers))
    end
  end

  -- An answer reaches the client a moment before its worker has counted it.
  local function settled(c, check)
    return c:wait(function()
      local registrations, itself = status.of(c)
      local counters = registrations[1].counters
      return check(counters, registrations[1]) and { counters, registrations[1], itself }
    end, "the counters")
  end

  local function sum(places)
    local requests = 0
    for _, place in ipairs(places) do requests = requests + place.requests end
    return requests
  end

  local function assert_answered(c, twos, fours)
    local counters, registration, itself = unpack(settled(c, function(counters)
      return counters.responses["2xx"] >= twos and counters.responses["4xx"] >= fours
        and counters.request_time.count >= twos + fours
    end))
    assert.same({ ["1xx"] = 0, ["2xx"] = twos, ["3xx"] = 0, ["4xx"] = fours, ["5xx"] = 0 }, counters.responses)
    assert.equal(twos + fours, counters.requests)
    assert.equal(twos + fours, counters.request_time.count)
    assert.equal(twos + fours, sum(counters.places))
    assert.is_true(counters.request_time.sum > 0)
    assert.is_true(counters.queue_time.count >= counters.accepted)
    local in_buckets, before = 0, 0
    for _, bucket in ipairs(counters.request_time.buckets) do
      assert.is_true(bucket[1] > before)
      before, in_buckets = bucket[1], in_buckets + bucket[2]
    end
    assert.equal(counters.request_time.count, in_buckets)
    return counters, registration, itself
  end

  it("counts over reloads, deaths and upgrades", function()
    local c = up { { "127.0.0.1:0", "answers", { cnum = 2 } } }
    ask(c, "/", 20)
    ask(c, "/404", 5)
    local before = assert_answered(c, 20, 5)
    assert.equal(25, before.accepted)

    c:signal("sigusr1")
    c:wait_log("reload of .+ done")
    ask(c, "/", 10)
    local reloaded, registration = assert_answered(c, 30, 5)
    assert.same({ reload = 2 }, registration.exits)
    assert.is_true(reloaded.request_time.sum > before.request_time.sum)
    assert.equal(4, reloaded.starts)

    for _, member in ipairs(c:workers()) do uv.kill(member.pid, "sigkill") end
    c:wait_log("exited, pid %d+, killed by SIGKILL", nil, 2)
    c:wait_workers(2)
    ask(c, "/404", 10)
    registration = select(2, assert_answered(c, 30, 15))
    assert.same({ reload = 2, SIGKILL = 2 }, registration.exits)

    for generation = 1, 2 do
      c:signal("sigusr2")
      c:wait_log("upgraded, generation " .. generation)
      ask(c, "/", 10)
      local counters, after, itself = assert_answered(c, 30 + 10 * generation, 15)
      assert.same({ reload = 2, SIGKILL = 2 }, after.exits)
      assert.equal(generation, itself.generation)
      assert.equal(45 + 10 * generation, counters.accepted)
      assert.equal(6, counters.starts)
    end
    c:stop()
  end)

  it("counts requests that are refused before a handler sees them as responses only", function()
    local c = up { { "127.0.0.1:0", "answers", { cnum = 1 } } }
    local conn = assert(client.connect(c:address()))
    conn:send("GET / HTTP/1.1\r\n\r\n")
    assert.equal(400, (conn:response()))
    conn:close()
    local counters = settled(c, function(counters) return counters.responses["4xx"] > 0 end)[1]
    assert.equal(1, counters.responses["4xx"])
    assert.equal(0, counters.requests)
    assert.equal(0, counters.request_time.count)
  end)

  it("measures the time that a handler took", function()
    local c = up { { "127.0.0.1:0", "blocks_loop", { cnum = 1 } } }
    local first = assert(client.connect(c:address()))
    first:send("GET /block/300 HTTP/1.1\r\nHost: a\r\n\r\n")
    c:wait_log("block begins")
    local second = assert(client.connect(c:address()))
    second:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.equal(200, (first:response()))
    assert.equal(200, (second:response()))
    local counters = settled(c, function(counters) return counters.request_time.count == 2 end)[1]
    local slow = 0
    for _, bucket in ipairs(counters.request_time.buckets) do
      if bucket[1] >= 0.3 then slow = slow + bucket[2] end
    end
    assert.equal(1, slow)
    assert.is_true(counters.request_time.sum >= 0.3)
  end)

  it("measures the time that clients wait for a worker", function()
    local c = up { { "127.0.0.1:0", "answers", { cnum = 0 } } } -- the first one has it started
    ask(c, "/")
    local counters = settled(c, function(counters) return counters.request_time.count == 1 end)[1]
    assert.equal(1, counters.queue_time.count)
    assert.is_true(counters.queue_time.sum > 0.001)
  end)

  it("says how workers have ended", function()
    local c = up {
      { "127.0.0.1:0", "answers", { cnum = 1 } },
      { "unix:maxc.sock", "hello", { cnum = 1, maxc = 2 } },
      { "unix:hang.sock", "blocks_loop", { cnum = 1, hang_timeout = 0.5 } },
      { "unix:part.sock", "slow", { cnum = 1, term_timeout = 0.1 } },
    }
    local conn = assert(client.connect(c:address()))
    conn:send("GET /exit/9 HTTP/1.1\r\nHost: a\r\n\r\n")
    local hangs = assert(client.connect(c.dir .. "/hang.sock"))
    hangs:send("GET /block/600000 HTTP/1.1\r\nHost: a\r\n\r\n")
    local part = assert(client.connect(c.dir .. "/part.sock"))
    part:send("GET /part HTTP/1.1\r\nHost: a\r\n\r\n")
    c:wait(function() return part.buffer:find("a part", 1, true) end, "a part of an answer")
    for _, member in ipairs(c:workers("unix:part.sock")) do uv.kill(member.pid, "sigkill") end
    for _ = 1, 2 do client.get(c.dir .. "/maxc.sock", "/") end
    local function exits(registrations, name) return registrations[name].exits end
    c:wait(function()
      local registrations = status.of(c)
      return exits(registrations, c:events("^listening on ")[1].text:match("for (.+)$"))["status 9"] == 1
        and exits(registrations, "unix:maxc.sock").maxc == 1 and exits(registrations, "unix:hang.sock").hang == 1
        and exits(registrations, "unix:part.sock").SIGKILL == 1
    end, "the causes")
    local registrations = status.of(c)
    assert.equal(1, registrations["unix:part.sock"].counters.broken)
    assert.equal(0, registrations["unix:part.sock"].counters.lost)
    assert.equal(1, registrations["unix:hang.sock"].counters.lost)
    for _, one in ipairs { conn, hangs, part } do one:close() end
  end)

  it("knows the master's own figures", function()
    local c = up { { "127.0.0.1:0", "answers", { cnum = 1 } } }
    local _, itself = status.of(c)
    assert.equal(c.pid, itself.pid)
    assert.equal("running", itself.state)
    assert.is_true(itself.ready)
    assert.equal(0, itself.generation)
    assert.equal(c:fds(), itself.fds)
    assert.is_true(itself.rss > 1024 * 1024 and itself.cpu > 0 and itself.lua_heap > 1024)
    assert.is_true(itself.started <= os.time() and itself.started > os.time() - 600)
  end)
end)
