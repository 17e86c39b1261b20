-- The memory that the workers of a registration share, as the master has it open.

local core = require "spec.support.core"
local ffi = require "ffi"
local proc = require "spec.support.proc"

local shared = {}

local O_RDWR = 2

ffi.cdef "int open(const char *path, int flags);"

--- Maps that of a cluster's first registration: struct shared *, to be given to core.shared_unmap().
function shared.of(c)
  for fd, target in pairs(proc.fds(c.pid)) do
    if target:find("clua-shared", 1, true) then
      local own = ffi.C.open(("/proc/%d/fd/%s"):format(c.pid, fd), O_RDWR)
      assert(own >= 0)
      local out = ffi.new "struct shared *[1]"
      assert(core.shared_map(own, out) == 0)
      ffi.C.close(own)
      return out[0]
    end
  end
  error "the master shares no memory"
end

return shared
