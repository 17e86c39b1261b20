local bit = require "bit"
local core = require "spec.support.core"
local ffi = require "ffi"
local proc = require "spec.support.proc"
local uv = require "luv"

local C = ffi.C
local EAGAIN, EBADF, EPIPE, EPROTO, EOF = -11, -9, -32, -71, -4095
local SOL_SOCKET, SCM_RIGHTS, RLIMIT_NOFILE = 1, 1, 7
local F_GETFD, F_GETFL, FD_CLOEXEC, O_NONBLOCK = 1, 3, 1, 2048
local LOANS_MAX, BYTES_MAX = tonumber(core.CHANNEL_LOANS_MAX), tonumber(core.CHANNEL_BYTES_MAX)
local LOAN = 16 -- bytes of a struct channel_loan
local HEAD = tonumber(ffi.sizeof "struct channel_head")

local function fd_count()
  return proc.count_fds(uv.os_getpid())
end

local function inode(fd)
  return uv.fs_fstat(fd).ino
end

describe("channel", function()
  local master, worker, message, fds, received_count, mine

  before_each(function()
    local pair = ffi.new "int[2]"
    assert.equal(0, core.channel_pair(pair, pair + 1))
    master, worker = pair[0], pair[1]
    message = ffi.new "struct channel_message"
    fds, received_count = ffi.new("int[?]", LOANS_MAX), ffi.new "size_t[1]"
    mine = { master, worker }
  end)

  after_each(function()
    for _, fd in ipairs(mine) do C.close(fd) end
  end)

  -- Descriptors that can be told apart.
  local function pipes(count)
    local list = ffi.new("int[?]", math.max(count, 1))
    for i = 0, count - 1 do
      local ends = ffi.new "int[2]"
      assert.equal(0, C.pipe(ends))
      list[i] = ends[0]
      C.close(ends[1])
    end
    return list
  end

  local function close_all(list, count)
    for i = 0, count - 1 do C.close(list[i]) end
  end

  local function send(type, count, len, fill, list, list_count)
    message.head.type, message.head.count, message.head.len = type, count, len
    if fill then fill(message.u) end
    return core.channel_send(master, message, list, list_count or 0)
  end

  -- Bytes as they are, head or not, with any number of descriptors.
  local function send_raw(bytes, list, count)
    local iov = ffi.new("struct iovec", ffi.cast("void *", ffi.cast("const char *", bytes)), #bytes)
    local header = ffi.new "struct msghdr"
    header.msg_iov, header.msg_iovlen = iov, 1
    local control
    if (count or 0) > 0 then
      local len = ffi.sizeof "struct cmsghdr" + 4 * count
      control = ffi.new("char[?]", len + 8)
      local cmsg = ffi.cast("struct cmsghdr *", control)
      cmsg.cmsg_len, cmsg.cmsg_level, cmsg.cmsg_type = len, SOL_SOCKET, SCM_RIGHTS
      ffi.copy(control + ffi.sizeof "struct cmsghdr", list, 4 * count)
      header.msg_control, header.msg_controllen = control, len
    end
    local n = C.sendmsg(master, header, 0)
    assert(n == #bytes, "sendmsg failed")
  end

  local function head(type, count, len)
    return ffi.string(ffi.new("struct channel_head", type, count, len), HEAD)
  end

  local function receive()
    ffi.fill(message, ffi.sizeof "struct channel_message", 0xee)
    return core.channel_receive(worker, message, fds, received_count), tonumber(received_count[0])
  end

  it("is a pair that neither blocks nor survives exec", function()
    for _, fd in ipairs { master, worker } do
      assert.equal(FD_CLOEXEC, bit.band(C.fcntl(fd, F_GETFD), FD_CLOEXEC))
      assert.equal(O_NONBLOCK, bit.band(C.fcntl(fd, F_GETFL), O_NONBLOCK))
    end
    assert.equal(0, (receive()))
  end)

  describe("a packet of its shape", function()
    local function arrives(type, count, len, fill)
      assert.equal(0, send(type, count, len, fill))
      local n, descriptors = receive()
      assert.equal(1, n)
      assert.equal(0, descriptors)
      assert.same({ tonumber(type), count, len },
        { message.head.type, message.head.count, message.head.len })
      return message.u
    end

    it("without a payload arrives", function()
      arrives(core.CHANNEL_DRAIN, 0, 0)
      arrives(core.CHANNEL_DOORBELL, 0, 0)
      arrives(core.CHANNEL_FIRST, 0, 0)
    end)

    it("with one number arrives", function()
      assert.equal(2, arrives(core.CHANNEL_SETTINGS, 0, 4, function(u) u.settings.log_level = 2 end).settings.log_level)
      assert.equal(30000,
        arrives(core.CHANNEL_READY, 0, 4, function(u) u.ready.term_timeout_ms = 30000 end).ready.term_timeout_ms)
      assert.equal(3, arrives(core.CHANNEL_LEAVE, 0, 4, function(u) u.leave.reason = 3 end).leave.reason)
    end)

    it("RECALL arrives with none to all of its loans", function()
      for _, count in ipairs { 0, 1, LOANS_MAX } do
        local got = arrives(core.CHANNEL_RECALL, count, 4 * count, function(u)
          for i = 0, count - 1 do u.recalled[i] = i * 3 end
        end)
        for i = 0, count - 1 do assert.equal(i * 3, got.recalled[i]) end
      end
    end)

    it("DELIVER arrives with any bytes, up to the most that fit", function()
      arrives(core.CHANNEL_DELIVER, 0, 0)
      local text = ("x\0\255"):rep(100)
      assert.equal(text, ffi.string(arrives(core.CHANNEL_DELIVER, 0, #text, function(u)
        ffi.copy(u.bytes, text, #text)
      end).bytes, #text))
      arrives(core.CHANNEL_DELIVER, 0, BYTES_MAX)
    end)

    it("BROADCAST arrives with its name inside its bytes", function()
      local got = arrives(core.CHANNEL_BROADCAST, 0, 8 + 7, function(u)
        u.broadcast.pid, u.broadcast.name_len = 4711, 3
        ffi.copy(u.broadcast.bytes, "webtext", 7)
      end)
      assert.equal("webtext", ffi.string(got.broadcast.bytes, 7))
      arrives(core.CHANNEL_BROADCAST, 0, 8, function(u) u.broadcast.name_len = 0 end)
      arrives(core.CHANNEL_BROADCAST, 0, BYTES_MAX, function(u) u.broadcast.name_len = BYTES_MAX - 8 end)
    end)

    it("LOANS arrives with its descriptors, in order, closed on exec", function()
      for _, count in ipairs { 1, 2, LOANS_MAX } do
        local before = fd_count()
        local list = pipes(count)
        assert.equal(0, send(core.CHANNEL_LOANS, count, LOAN * count, function(u)
          for i = 0, count - 1 do u.loans[i] = { i, 1, 8080, 0 } end
        end, list, count))
        local n, descriptors = receive()
        assert.equal(1, n)
        assert.equal(count, descriptors)
        for i = 0, count - 1 do
          assert.equal(inode(list[i]), inode(fds[i]))
          assert.are_not.equal(list[i], fds[i])
          assert.equal(FD_CLOEXEC, bit.band(C.fcntl(fds[i], F_GETFD), FD_CLOEXEC))
          assert.equal(i, message.u.loans[i].loan)
        end
        close_all(fds, descriptors)
        close_all(list, count)
        assert.equal(before, fd_count())
      end
    end)
  end)

  describe("a packet that is refused", function()
    local function refused(bytes, count)
      local before = fd_count()
      local list = pipes(count or 0)
      send_raw(bytes, list, count)
      local n, descriptors = receive()
      close_all(list, count or 0)
      assert.equal(EPROTO, n)
      assert.equal(0, descriptors)
      assert.equal(before, fd_count())
    end

    it("has no whole head", function()
      for len = 1, HEAD - 1 do refused(head(core.CHANNEL_DRAIN, 0, 0):sub(1, len)) end
    end)

    it("says another length than it has", function()
      refused(head(core.CHANNEL_DELIVER, 0, 5) .. "four")
      refused(head(core.CHANNEL_DELIVER, 0, 3) .. "four")
      refused(head(core.CHANNEL_DELIVER, 0, 2 ^ 32 - 1) .. "four")
      refused(head(core.CHANNEL_DRAIN, 0, 0) .. "x")
    end)

    it("has a type that there is none of", function()
      for _, type in ipairs { 0, 12, 255, 65535 } do refused(head(type, 0, 0)) end
    end)

    it("has a payload that its type has not", function()
      for _, type in ipairs { core.CHANNEL_DRAIN, core.CHANNEL_DOORBELL, core.CHANNEL_FIRST } do
        refused(head(type, 0, 4) .. "four")
      end
      for _, type in ipairs { core.CHANNEL_SETTINGS, core.CHANNEL_READY, core.CHANNEL_LEAVE } do
        refused(head(type, 0, 0))
        refused(head(type, 0, 3) .. "abc")
        refused(head(type, 0, 8) .. "12345678")
      end
      refused(head(core.CHANNEL_RECALL, 2, 4) .. "four")
      refused(head(core.CHANNEL_RECALL, LOANS_MAX + 1, 4 * (LOANS_MAX + 1)) .. ("four"):rep(LOANS_MAX + 1))
      refused(head(core.CHANNEL_LOANS, 0, 0))
      refused(head(core.CHANNEL_LOANS, 1, LOAN - 1) .. ("x"):rep(LOAN - 1))
      refused(head(core.CHANNEL_LOANS, LOANS_MAX + 1, LOAN * (LOANS_MAX + 1)) .. ("x"):rep(LOAN * (LOANS_MAX + 1)))
    end)

    it("is a BROADCAST whose name is longer than its bytes", function()
      local function number(value) return ffi.string(ffi.new("uint32_t[1]", value), 4) end
      refused(head(core.CHANNEL_BROADCAST, 0, 7) .. ("\0"):rep(7))
      refused(head(core.CHANNEL_BROADCAST, 0, 8) .. number(0) .. number(1))
      refused(head(core.CHANNEL_BROADCAST, 0, 10) .. number(0) .. number(2 ^ 32 - 1) .. "ab")
    end)

    it("is a QUARANTINE whose line is longer than its bytes", function()
      local function numbers(kept) return ffi.string(ffi.new("uint32_t[3]", 1000, 9, kept), 12) end
      refused(head(core.CHANNEL_QUARANTINE, 0, 11) .. numbers(0):sub(1, 11))
      refused(head(core.CHANNEL_QUARANTINE, 0, 12) .. numbers(1))
      refused(head(core.CHANNEL_QUARANTINE, 0, 14) .. numbers(2 ^ 32 - 1) .. "ab")
    end)

    it("is longer than any packet", function()
      refused(head(core.CHANNEL_DELIVER, 0, BYTES_MAX + 1) .. ("x"):rep(BYTES_MAX + 1))
      refused(head(core.CHANNEL_DELIVER, 0, BYTES_MAX) .. ("x"):rep(BYTES_MAX + 1))
    end)

    it("carries descriptors that it must not", function()
      refused(head(core.CHANNEL_DRAIN, 0, 0), 1)
      refused(head(core.CHANNEL_DELIVER, 0, 4) .. "four", 3)
      refused(head(core.CHANNEL_LOANS, 1, LOAN) .. ("x"):rep(LOAN), 2)
      refused(head(core.CHANNEL_RECALL, 1, 4) .. "four", LOANS_MAX)
      refused(head(core.CHANNEL_ANSWER, 0, 4) .. "four", 2)
      refused(head(core.CHANNEL_ASK, 0, 4) .. "four", 1)
    end)

    it("carries more descriptors than any packet may", function()
      refused(head(core.CHANNEL_DRAIN, 0, 0), 200)
      refused("x", 200)
    end)

    it("is empty but for descriptors: they are closed", function()
      local before = fd_count()
      local list = pipes(3)
      send_raw("", list, 3)
      local n = receive()
      close_all(list, 3)
      assert.equal(EPROTO, n)
      assert.equal(before, fd_count())
    end)
  end)

  it("refuses or accepts a thousand random packets as the shapes say, and keeps no descriptor", function()
    local LOGS, ANSWER, ASK = tonumber(core.CHANNEL_LOGS), tonumber(core.CHANNEL_ANSWER), tonumber(core.CHANNEL_ASK)
    local EVALUATE = tonumber(core.CHANNEL_EVALUATE)
    local ASK_BYTES = tonumber(ffi.sizeof(message.u.ask))
    local fixed = { [1] = nil, [3] = 0, [5] = 4, [6] = 4, [7] = 0, [8] = 0, [9] = 4 }
    local function has_shape(type, count, payload, descriptors)
      local len = #payload
      if type == 1 then return count >= 1 and count <= LOANS_MAX and descriptors <= count and len == LOAN * count end
      if type == LOGS then return descriptors <= 2 and len == 4 end
      if type == ANSWER then return descriptors <= 1 and len == ASK_BYTES end
      if descriptors > 0 then return false end
      if type == 2 then return count <= LOANS_MAX and len == 4 * count end
      if type == 4 or type == EVALUATE then return true end
      if type == 11 then
        return len >= 12 and ffi.cast("const uint32_t *", ffi.cast("const char *", payload))[2] <= len - 12
      end
      if type == 10 then
        return len >= 8 and ffi.cast("const uint32_t *", ffi.cast("const char *", payload))[1] <= len - 8
      end
      if type == ASK then return len == ASK_BYTES end
      return fixed[type] ~= nil and fixed[type] == len
    end

    local seed = os.time()
    math.randomseed(seed)
    local before = fd_count()
    local accepted, refused = 0, 0
    for round = 1, 1000 do
      local type = math.random(0, EVALUATE + 2)
      local count = math.random(3) == 1 and math.random(0, 70) or math.random(0, 2)
      local len = ({ 0, 4, 4 * count, LOAN * count, 8, math.random(0, 40) })[math.random(6)]
      local bytes = {}
      for i = 1, len do bytes[i] = string.char(math.random(3) == 1 and math.random(0, 255) or 0) end
      local payload = table.concat(bytes)
      local said = math.random(10) == 1 and math.random(0, 100) or len
      local descriptors = math.random(3) == 1 and math.random(1, math.random(2) == 1 and 3 or 80) or 0
      local list = pipes(descriptors)
      send_raw(head(type, count, said) .. payload, list, descriptors)
      close_all(list, descriptors)

      -- No more than LOANS_MAX can be received: a packet with more is one with that many, or refused.
      local expected = said == len and has_shape(type, count, payload, math.min(descriptors, LOANS_MAX)) and 1 or EPROTO
      local n, got = receive()
      local where = ("seed %d round %d: type %d count %d len %d descriptors %d"):format(seed, round, type, count, len,
        descriptors)
      assert.equal(expected, n, where)
      if n == 1 then
        accepted = accepted + 1
        assert.equal(math.min(descriptors, LOANS_MAX), got, where)
        assert.equal(payload, ffi.string(message.u.bytes, len), where)
        close_all(fds, got)
      else
        refused = refused + 1
      end
    end
    assert.equal(before, fd_count())
    assert.truthy(accepted > 50 and refused > 50, ("%d accepted, %d refused"):format(accepted, refused))
  end)

  describe("short of descriptors", function()
    local limit, kept

    before_each(function()
      kept = ffi.new "struct rlimit"
      C.getrlimit(RLIMIT_NOFILE, kept)
      limit = ffi.new("struct rlimit", kept.rlim_cur, kept.rlim_max)
    end)

    after_each(function()
      C.setrlimit(RLIMIT_NOFILE, kept)
    end)

    -- No more than this many further descriptors.
    local function allow(count)
      local free = {}
      for i = 1, count + 1 do free[i] = C.dup(0) end
      for _, fd in ipairs(free) do C.close(fd) end
      limit.rlim_cur = free[count + 1]
      C.setrlimit(RLIMIT_NOFILE, limit)
    end

    for _, room in ipairs { 0, 1, 2 } do
      it(("by all but %d a packet still arrives, with the first %d"):format(room, room), function()
        local list = pipes(3)
        local inodes = { inode(list[0]), inode(list[1]), inode(list[2]) }
        assert.equal(0, send(core.CHANNEL_LOANS, 3, 3 * LOAN, nil, list, 3))
        assert.equal(0, send(core.CHANNEL_DRAIN, 0, 0))
        allow(room)
        local n, got = receive()
        C.setrlimit(RLIMIT_NOFILE, kept)
        assert.equal(1, n)
        assert.equal(room, got)
        assert.equal(3, message.head.count)
        for i = 0, got - 1 do assert.equal(inodes[i + 1], inode(fds[i])) end
        close_all(fds, got)
        close_all(list, 3)
        assert.equal(1, (receive()))
        assert.equal(tonumber(core.CHANNEL_DRAIN), message.head.type)
      end)
    end
  end)

  describe("the end", function()
    local function close_master()
      C.close(master)
      mine = { worker }
    end

    it("comes after what was sent before it", function()
      send(core.CHANNEL_DRAIN, 0, 0)
      close_master()
      assert.equal(1, (receive()))
      assert.equal(EOF, (receive()))
      assert.equal(EOF, (receive()))
    end)

    it("is the end too when the other side has not read all", function()
      message.head.type, message.head.len = core.CHANNEL_DOORBELL, 0
      assert.equal(0, core.channel_send(worker, message, nil, 0))
      close_master()
      assert.equal(EOF, (receive()))
    end)

    it("makes sending an error, without a signal", function()
      close_master()
      message.head.type, message.head.len = core.CHANNEL_DOORBELL, 0
      assert.equal(EPIPE, core.channel_send(worker, message, nil, 0))
    end)

    it("closes descriptors that nobody has received", function()
      local before = fd_count()
      local list = pipes(2)
      send(core.CHANNEL_LOANS, 2, 2 * LOAN, nil, list, 2)
      local inodes = { inode(list[0]), inode(list[1]) }
      close_all(list, 2)
      C.close(master)
      C.close(worker)
      mine = {}
      assert.equal(before - 2, fd_count())
      for _, name in pairs(proc.fds(uv.os_getpid())) do
        for _, number in ipairs(inodes) do assert.is_nil(name:find("[" .. number .. "]", 1, true)) end
      end
    end)
  end)

  it("says that it is full, and takes packets again when some were read", function()
    local sent = 0
    local err
    repeat
      err = send(core.CHANNEL_DOORBELL, 0, 0)
      if err == 0 then sent = sent + 1 end
    until err ~= 0
    assert.equal(EAGAIN, err)
    for _ = 1, sent do assert.equal(1, (receive())) end
    assert.equal(0, (receive()))
    assert.equal(0, send(core.CHANNEL_DOORBELL, 0, 0))
  end)

  it("gives the reason when there is no channel", function()
    C.close(master)
    mine = { worker }
    message.head.type, message.head.len = core.CHANNEL_DOORBELL, 0
    assert.equal(EBADF, core.channel_send(master, message, nil, 0))
    assert.equal(EBADF, core.channel_receive(master, message, fds, received_count))
  end)
end)
