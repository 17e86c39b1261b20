local core = require "spec.support.core"
local ffi = require "ffi"
local loop = require "spec.support.loop"
local proc = require "spec.support.proc"
local uv = require "luv"

describe("process", function()
  it("counts descriptors by either way as the kernel lists them, with gaps and beyond one look", function()
    local list = {}
    for i = 1, 300 do list[i] = ffi.C.dup(0) end
    for i = 1, 300, 7 do ffi.C.close(list[i]) end
    local listed = proc.count_fds(uv.os_getpid()) - 1 -- one is that of the folder
    assert.equal(listed, core.process_fd_count())
    assert.equal(listed, core.process_fd_count_by_poll())
    for i = 1, 300 do
      if i % 7 ~= 1 then ffi.C.close(list[i]) end
    end
    assert.equal(proc.count_fds(uv.os_getpid()) - 1, core.process_fd_count_by_poll())
  end)

  it("knows its memory, its processor time and its limit", function()
    local limit = ffi.new "struct rlimit"
    assert.equal(0, ffi.C.getrlimit(7, limit))
    assert.equal(tonumber(limit.rlim_cur), core.process_fd_limit())
    assert.is_true(tonumber(core.process_rss_bytes()) > 1024 * 1024)
    local before = tonumber(core.process_cpu_us())
    local till = uv.hrtime() + 50e6
    while uv.hrtime() < till do end -- luacheck: ignore 542
    assert.is_true(tonumber(core.process_cpu_us()) > before)
  end)

  it("knows the processor time and the state of another one", function()
    local exited
    local sleeper, pid = uv.spawn("sleep", { args = { "100" } }, function() exited = true end)
    local own = tonumber(core.process_cpu_ns_of(uv.os_getpid())) / 1000
    assert.is_true(math.abs(own - tonumber(core.process_cpu_us())) < 1e6)
    loop.wait(function() return core.process_state_of(pid) == ("S"):byte() end, 60, "the child to sleep")
    local spent = core.process_cpu_ns_of(pid)
    assert.is_true(spent > 0)
    assert.equal(("R"):byte(), core.process_state_of(uv.os_getpid()))
    sleeper:kill("sigkill")
    loop.wait(function() return exited end, 60, "its end")
    assert.equal(0, core.process_state_of(pid))
    assert.equal(0, tonumber(core.process_cpu_ns_of(pid)))
  end)
end)
