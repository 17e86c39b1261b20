-- Slow requests never occupy all workers: one is left unread while the only free worker is needed for others.

local bit = require "bit"
local cjson = require "cjson"
local client = require "spec.support.client"
local cluster = require "spec.support.cluster"
local control = require "spec.support.control"
local core = require "spec.support.core"
local load = require "spec.support.load"
local shared_memory = require "spec.support.shared"
local status = require "spec.support.status"
local text = require "clua.control.text"
local uv = require "luv"

local ATTEMPTS = 5
local mapped

local function shared_of(c)
  mapped = shared_memory.of(c)
  return mapped
end

local function bits(word)
  local count = 0
  while word ~= 0 do
    word = bit.band(word, word - 1)
    count = count + 1
  end
  return count
end

local function open_gate(c, gate) cluster.write(("%s/gate.%s"):format(c.dir, gate), "") end

local function close_gates(c)
  local request = assert(uv.fs_scandir(c.dir))
  for name in function() return (uv.fs_scandir_next(request)) end do
    if name:find("^gate%.") then assert(uv.fs_unlink(c.dir .. "/" .. name)) end
  end
end

local function start(options)
  local given = { cnum = 3, slow_after = 0.02 } -- a request is held for a fifth of a second at most
  for name, value in pairs(options or {}) do given[name] = value end
  return cluster.up { dispatch = status.script { { "127.0.0.1:0", "gates", given } } }
end

local function ask(c, path)
  return assert(client.connect(c:address())):send(client.format("GET", path))
end

-- Each worker serves a fast request (which pays for a hold), and one learns that the line is slow.
local function prepare(c, method)
  local seen, count = {}, 0
  while count < #c:workers() do
    local code, _, pid = client.get(c:address(), "/")
    assert.equal(200, code)
    if not seen[pid] then seen[pid], count = true, count + 1 end
  end
  open_gate(c, "learn")
  local conn = assert(client.connect(c:address()))
  for _ = 1, 6 do assert.equal(200, (conn:request(method or "GET", "/slow?learn"))) end
  conn:close()
end

local function begun(c, mark) return c:count("slow begins", mark) end

local function held(c) return status.of(c)[1].counters.held end

-- Two slow requests run, a third has been sent. Returns the connections.
local function occupy(c)
  local mark, slow = c:mark(), {}
  for i = 1, 2 do
    slow[i] = ask(c, "/slow?" .. i)
    c:wait(function() return begun(c, mark) == i end, "slow request " .. i)
  end
  slow[3] = ask(c, "/slow?3")
  return slow, mark
end

local function answers(conns)
  for _, conn in ipairs(conns) do
    assert.equal(200, (conn:response("GET")))
    conn:close()
  end
end

-- How long a request is held is bounded: on a machine that stands still for so long, once more.
local function until_held(c, body)
  for attempt = 1, ATTEMPTS do
    prepare(c)
    local slow, mark = occupy(c)
    local was_held = body(slow, mark)
    for i = 1, 3 do open_gate(c, i) end
    answers(slow)
    if was_held then return end
    assert.is_true(attempt < ATTEMPTS, "the third slow request is never held\n" .. c:text())
    close_gates(c)
  end
end

describe("slow requests", function()
  after_each(function()
    if mapped then core.shared_unmap(mapped) end
    mapped = nil
    cluster.cleanup()
  end)

  it("leave one worker free: others are answered while all but one are held up", function()
    local c = start()
    until_held(c, function(_, mark)
      for _ = 1, 5 do
        local conn = ask(c, "/")
        c:wait(function() return conn.buffer ~= "" or begun(c, mark) > 2 end, "an answer or the end of the hold")
        local free = begun(c, mark) == 2
        if not free then
          for i = 1, 3 do open_gate(c, i) end
        end
        assert.equal(200, (conn:response("GET")))
        conn:close()
        if not free then return false end
      end
      return true
    end)
    assert.is_true(held(c) > 0)
    c:stop()
  end)

  it("are begun when another worker is free, and all are answered", function()
    local c = start()
    prepare(c)
    local slow = occupy(c)
    for i = 4, 9 do slow[i] = ask(c, "/slow?" .. i) end
    for i = 1, 9 do open_gate(c, i) end
    answers(slow)
    local shared = shared_of(c)
    c:wait(function() return shared.bulkhead.slow == 0 end, "all marks to be cleared")
    c:stop()
  end)

  it("occupy all workers where nothing is slow", function()
    local c = start { slow_after = 0 }
    prepare(c)
    local slow, mark = occupy(c)
    c:wait(function() return begun(c, mark) == 3 end, "the third slow request")
    assert.equal(0, tonumber(shared_of(c).bulkhead.known_until_s))
    for i = 1, 3 do open_gate(c, i) end
    answers(slow)
    assert.equal(0, held(c))
    c:stop()
  end)

  it("occupy all workers in the end, when they last", function()
    local c = start()
    prepare(c)
    local slow, mark = occupy(c)
    c:wait(function() return begun(c, mark) == 3 end, "the third slow request")
    assert.equal(1, held(c))
    for i = 1, 3 do open_gate(c, i) end
    answers(slow)
    c:stop()
  end)

  it("that were held are counted by how long, over reloads and upgrades", function()
    local c = start()
    local begin, seen_held, still_held, time = uv.hrtime(), nil, nil, nil
    until_held(c, function(_, mark)
      c:wait(function()
        local look = uv.hrtime()
        local counters = status.of(c)[1].counters
        if counters.held > counters.held_time.count then seen_held, still_held = seen_held or uv.hrtime(), look end
        return begun(c, mark) == 3
      end, "the third slow request")
      time = status.of(c)[1].counters.held_time
      return time.count > 0
    end)
    -- Not less than between two looks that found it held, nor more than all of it took.
    assert.is_true(time.sum > 0 and time.sum <= (uv.hrtime() - begin) / 1e9, time.sum)
    assert.is_true(not still_held or time.sum >= (still_held - seen_held) / 1e9, time.sum)
    assert.equal(time.count, held(c))

    local out = control.run(c, "status")
    assert.truthy(out:find(("%d held (%s in all)"):format(time.count, text.duration(time.sum)), 1, true), out)
    c:signal "sigusr1"
    c:wait_log "reload of .+ done"
    c:signal "sigusr2"
    c:wait_log "upgraded, generation 1"
    out = control.run(c, "status", "--json")
    assert.same(time, cjson.decode(out).registrations[1].counters.held_time)
    c:stop()
  end)

  it("that nobody else needs to wait for are not held", function()
    local c = start { cnum = 2 }
    prepare(c)
    local mark = c:mark()
    for i = 1, 4 do open_gate(c, i) end
    local before = held(c)
    local slow = load.start(c:address(), { clients = 8, think = 0, path = "/slow?1" })
    slow:wait(150)
    slow:stop()
    assert.equal(0, #slow.incidents, tostring(slow))
    assert.is_true(begun(c, mark) >= 150)
    -- No more than the fast ones before have paid for: the most that two workers keep for later.
    assert.is_true(held(c) - before <= 2 * 16, held(c))
    c:stop()
  end)

  it("are slow also when their handler has waited before", function()
    local c = start()
    local conn = assert(client.connect(c:address()))
    conn:send("POST /slow?post HTTP/1.1\r\nHost: spec\r\nContent-Length: 4\r\n\r\n")
    local shared = shared_of(c)
    assert.equal(0, tonumber(shared.bulkhead.known_until_s))
    c:wait(function()
      local busy = status.of(c)[1].workers
      for _, worker in ipairs(busy) do
        if worker.remain == 1 then return true end
      end
    end, "the handler to wait")
    open_gate(c, "post")
    conn:send("body")
    assert.equal(200, (conn:response("POST")))
    c:wait(function() return shared.bulkhead.known_until_s ~= 0 end, "the line to be known")
    local line = "POST /slow"
    local name = core.bulkhead_name(shared.bulkhead, line, #line)
    assert.is_true(core.bulkhead_mean_us(shared.bulkhead, name, shared.bulkhead.known_until_s - 60) >= 30000 / 4)
    conn:close()
    c:stop()
  end)

  it("of a worker that is killed hold up nobody: its mark goes with it", function()
    local c = start()
    local shared = shared_of(c)
    prepare(c)
    assert.equal(7, tonumber(shared.bulkhead.ready))
    local slow, mark = {}, c:mark()
    for i = 1, 2 do
      slow[i] = ask(c, "/slow?" .. i)
      c:wait(function() return begun(c, mark) == i end, "slow request " .. i)
    end
    assert.equal(2, bits(shared.bulkhead.slow))
    local victim
    for _, entry in ipairs(c:events("^slow begins 1$")) do victim = entry.pid end
    assert(uv.kill(victim, "sigkill"))
    c:wait_log(("exited, pid %d, killed by SIGKILL"):format(victim), mark)
    assert.equal(1, bits(shared.bulkhead.slow))
    assert.equal(502, (slow[1]:response("GET")))
    slow[1]:close()
    c:wait_workers(3)
    c:wait(function() return shared.bulkhead.ready == 7 end, "the new worker to be counted")
    open_gate(c, 2)
    answers { slow[2] }
    c:wait(function() return shared.bulkhead.slow == 0 end, "all marks to be cleared")
    c:stop()
  end)

  it("that are held are nobody's loss when their worker dies, and dropped when their client is gone", function()
    local c = start()
    until_held(c, function(slow, mark)
      local gone = ask(c, "/slow?gone")
      c:wait(function() return held(c) > 0 or begun(c, mark) > 2 end, "a request to be held")
      if begun(c, mark) > 2 then
        open_gate(c, "gone")
        answers { gone }
        return false
      end
      local executing = {}
      for _, entry in ipairs(c:events("^slow begins %d$")) do executing[entry.pid] = true end
      local holder
      for _, member in ipairs(c:workers()) do
        if not executing[member.pid] then holder = member.pid end
      end
      if not holder or begun(c, mark) > 2 then
        open_gate(c, "gone")
        answers { gone }
        return false
      end
      assert(uv.kill(holder, "sigkill"))
      gone:reset()
      c:wait_log(("exited, pid %d, killed by SIGKILL"):format(holder), mark)
      for i = 1, 3 do open_gate(c, i) end
      assert.equal(200, (slow[3]:response("GET")))
      slow[3]:close()
      table.remove(slow, 3)
      return true
    end)
    c:stop()
  end)

  it("that are held are served by a worker that drains, and by a cluster that stops", function()
    local c = start { cnum = 2, term_timeout = 20 }
    prepare(c)
    local mark = c:mark()
    local slow = { ask(c, "/slow?1") }
    c:wait(function() return begun(c, mark) == 1 end, "the first")
    slow[2] = ask(c, "/slow?2")
    c:wait(function() return held(c) > 0 end, "a request to be held")
    c:signal("sigterm")
    c:wait(function() return begun(c, mark) == 2 end, "the second")
    for i = 1, 2 do open_gate(c, i) end
    answers(slow)
    assert.equal(0, (c:wait_exit()))
  end)
end)
