local core = require "spec.support.core"
local ffi = require "ffi"
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
end)
