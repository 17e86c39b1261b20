-- Lines of the log, the ring of the last ones, and the files they go to.

local core = require "spec.support.core"
local ffi = require "ffi"
local uv = require "luv"

local ENOENT, ENOSPC, EAGAIN, EISDIR, ENXIO = -2, -28, -11, -21, -6
local BYTES = tonumber(core.LOG_RING_BYTES)

describe("the priority in front of a line", function()
  local function parse(line) return tonumber(core.log_priority_parse(line, #line)) end

  it("is that of sd-daemon", function()
    local want = { [0] = "ERROR", "ERROR", "ERROR", "ERROR", "WARN", "INFO", "INFO", "DEBUG" }
    for number = 0, 7 do
      assert.equal(tonumber(core["CLUA_LOG_" .. want[number]]), parse(("<%d>text"):format(number)))
    end
    assert.equal(tonumber(core.CLUA_LOG_INFO), parse "<6>")
  end)

  it("is nothing else", function()
    for _, line in ipairs { "", "<", "<6", "<8>x", "<->x", " <6>x", "6>x", "<66>x" } do
      assert.equal(tonumber(core.CLUA_LOG_OUT), parse(line), line)
    end
  end)
end)

describe("a level", function()
  it("has a name, but for that of output, which nobody can choose", function()
    local level = ffi.new "enum log_level[1]"
    for _, name in ipairs { "debug", "info", "warn", "error" } do
      assert.equal(0, core.log_level_parse(name, level))
      assert.equal(name, ffi.string(core.log_level_name(level[0])))
    end
    assert.is_true(core.log_level_parse("out", level) < 0)
    assert.is_true(core.log_level_parse("", level) < 0)
  end)
end)

describe("the ring of the last lines", function()
  local room = ffi.new("char[?]", BYTES)

  local function copy(at) return ffi.string(room, core.log_ring_copy(at or 0, room)) end
  local function add(text) core.log_ring_add(text, #text) end

  it("keeps whole lines, the newest, in order, whatever their length", function()
    local all, number = {}, 0
    local seed = 1
    for _ = 1, 20000 do
      seed = (seed * 16807) % 2147483647
      number = number + 1
      local line = number .. (" "):rep(seed % (seed % 100 == 0 and 9000 or 60)) .. "\n"
      all[#all + 1] = line
      add(line)
      if number % 1000 == 0 then
        local text = copy()
        assert.is_true(number == 1000 or #text > BYTES - 9100, #text)
        assert.is_true(#text <= BYTES, #text)
        local whole = table.concat(all)
        assert.is_true(whole:sub(-#text) == text)
        assert.is_true(#text == #whole or whole:sub(-#text - 1, -#text - 1) == "\n")
        assert.equal(#text, tonumber(core.log_ring_end() - core.log_ring_begin()))
        all = { whole:sub(-2 * BYTES) }
      end
    end
  end)

  it("is read on from where one has stopped", function()
    add("before\n")
    local at = core.log_ring_end()
    assert.equal("", copy(at))
    add("one\ntwo\n")
    add("three\n")
    assert.equal("one\ntwo\nthree\n", copy(at))
    assert.equal(0, tonumber(core.log_ring_copy(core.log_ring_end() + 5, room)))
  end)

  it("goes on where another has stopped, with whole lines of it", function()
    local lines = "one\ntwo\n"
    core.log_ring_restore(lines, #lines, 1e6)
    assert.same({ lines, 1e6 }, { copy(), tonumber(core.log_ring_end()) })
    add("three\n")
    assert.same({ "two\nthree\n", 1e6 + 6 }, { copy(1e6 - 4), tonumber(core.log_ring_end()) })
    core.log_ring_restore("", 0, 7)
    assert.same({ "", 7, 7 }, { copy(), tonumber(core.log_ring_end()), tonumber(core.log_ring_begin()) })
    -- One that kept more.
    local much = ("x"):rep(BYTES - 8) .. "\nlast one\n"
    core.log_ring_restore(much, #much, #much)
    assert.same({ "last one\n", #much }, { copy(), tonumber(core.log_ring_end()) })
  end)

  it("takes the end of what is longer than itself", function()
    local lines = {}
    for i = 1, 30000 do lines[i] = "line " .. i .. "\n" end
    add(table.concat(lines))
    local text = copy()
    assert.is_true(table.concat(lines):sub(-#text) == text)
    assert.truthy(text:find("^line %d+\n"))
    assert.is_true(#text > BYTES - 20)
    add(("x"):rep(BYTES + 1) .. "\n")
    assert.equal("", copy())
    add("after\n")
    assert.equal("after\n", copy())
  end)
end)

describe("a log file", function()
  local dir, done = nil, ffi.new "size_t[1]"

  before_each(function() dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX")) end)

  after_each(function()
    for _, name in ipairs { "log", "fifo", "gone" } do uv.fs_unlink(dir .. "/" .. name) end
    uv.fs_rmdir(dir)
  end)

  local function open(path)
    local fd = ffi.new "int[1]"
    local err = core.log_file_open(path, fd)
    return err, err == 0 and fd[0] or nil
  end

  local function write(fd, text)
    local err = core.log_file_write(fd, text, #text, done)
    return err, tonumber(done[0])
  end

  it("is made, appended to, and closed in children", function()
    local path = dir .. "/log"
    assert.equal(0, core.log_file_check(path))
    assert.is_nil(uv.fs_stat(path))
    local err, fd = open(path)
    assert.equal(0, err)
    assert.equal(tonumber("640", 8), bit.band(uv.fs_stat(path).mode, tonumber("137", 8)) == 0 and tonumber("640", 8))
    assert.same({ 0, 4 }, { write(fd, "one\n") })
    local _, other = open(path)
    write(other, "two\n")
    write(fd, "three\n")
    assert.equal(1, ffi.C.fcntl(fd, 1))
    for _, each in ipairs { fd, other } do ffi.C.close(each) end
    assert.equal("one\ntwo\nthree\n", io.open(path):read("*a"))
    assert.equal(0, core.log_file_check(path))
  end)

  it("that cannot be opened says why, to who only asks as well", function()
    for path, want in pairs { [dir .. "/none/log"] = ENOENT, [dir] = EISDIR } do
      assert.equal(want, (open(path)))
      assert.equal(want, core.log_file_check(path))
    end
    assert.equal(0, os.execute("mkfifo " .. dir .. "/fifo"))
    assert.equal(ENXIO, (open(dir .. "/fifo"))) -- nobody reads it: no reason to wait
  end)

  it("that is full says so", function()
    local _, fd = open("/dev/full")
    assert.same({ ENOSPC, 0 }, { write(fd, "x\n") })
    ffi.C.close(fd)
  end)

  it("that is a pipe takes what it can at once and never waits, whoever has opened it", function()
    local pipe = assert(uv.pipe()) -- both ends would wait
    local text = ("x"):rep(1000000)
    local err, count = write(pipe.write, text)
    assert.equal(EAGAIN, err)
    assert.is_true(count >= 4096 and count < #text, count)
    local read = #uv.fs_read(pipe.read, 100000)
    while read < count do read = read + #uv.fs_read(pipe.read, 100000) end
    assert.same({ 0, 100 }, { write(pipe.write, text:sub(1, 100)) })
    uv.fs_close(pipe.read)
    uv.fs_close(pipe.write)
  end)
end)
