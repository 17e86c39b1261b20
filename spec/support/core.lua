-- The parts of the C core that need neither Lua nor an event loop, through LuaJIT's FFI: build/spec.so (see Makefile),
-- beside the binary that runs the specs. Returns its functions and constants.

local ffi = require "ffi"
local uv = require "luv"

local folder = uv.exepath():match("^(.*)/")

-- busted loads this module afresh for each spec file; declarations last as long as the process.
if not pcall(ffi.typeof, "struct core_layout") then
  local file = assert(io.open(folder .. "/spec.h"), "build/spec.so is missing: run `make build/spec.so`")
  ffi.cdef("typedef int pid_t;" .. file:read("*a"))
  file:close()
  ffi.cdef [[
    struct core_layout { const char *type, *member; size_t bytes; };
    extern const struct core_layout core_layouts[];
    bool core_loan_swap(uint32_t *word, uint32_t from, uint32_t to);
    uint32_t core_segment_stamp(uint64_t now_ms);
    uint32_t core_blame_begin(const char *line, size_t len, size_t available);
    void core_blame_end(uint32_t ticket);
    uint32_t core_blame_running(void);
    uint32_t core_blame_switch(uint32_t ticket);

    int close(int fd);
    void free(void *memory);
    int dup(int fd);
    int pipe(int fds[2]);
    int fcntl(int fd, int command, ...);
    int ftruncate(int fd, long length);
    int memfd_create(const char *name, unsigned flags);

    struct iovec { void *iov_base; size_t iov_len; };
    struct cmsghdr { size_t cmsg_len; int cmsg_level, cmsg_type; };
    struct msghdr {
      void *msg_name; uint32_t msg_namelen; struct iovec *msg_iov; size_t msg_iovlen; void *msg_control;
      size_t msg_controllen; int msg_flags;
    };
    ssize_t sendmsg(int fd, const struct msghdr *message, int flags);

    struct rlimit { uint64_t rlim_cur, rlim_max; };
    int getrlimit(int resource, struct rlimit *limit);
    int setrlimit(int resource, const struct rlimit *limit);
  ]]
end

local core = ffi.load(folder .. "/spec.so")

-- Both compilers must see the same structs, or nothing below tests what it seems to.
local i = 0
while core.core_layouts[i].type ~= nil do
  local layout = core.core_layouts[i]
  local type, member = ffi.string(layout.type), layout.member ~= nil and ffi.string(layout.member)
  local here = member and ffi.offsetof("struct " .. type, member) or ffi.sizeof("struct " .. type)
  if here ~= tonumber(layout.bytes) then
    error(("struct %s %s: %d in C, %d in spec.h"):format(type, member or "", tonumber(layout.bytes), here))
  end
  i = i + 1
end
assert(i > 0)

return core
