-- Counts the instructions of a request: clua under valgrind's callgrind, a client of this process, two runs of
-- different length, of which the difference is taken, so that start and end are not in it. What the kernel does is not
-- counted.
local uv = require "luv"
local process = dofile(__dirname .. "/process.lua")

local callgrind = {}

local CLUA = os.getenv "CLUA" or "build/clua"
local DIR = "build/bench/callgrind"
local READY_S, DONE_S, END_S = 120, 300, 120
-- Requests of the two runs. Both leave LuaJIT the time to compile what it will; between them a cycle of its collector
-- more or less does not matter.
local FEW, MANY = 800, 4000
local BATCH = 16

local GET = "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n"
local END_OF_ANSWER = "hello world\n"
local HEADERS = "User-Agent: bench\r\nAccept: */*\r\n"

-- A head that differs from all others of the run.
local function another(number)
  return GET:format("/", HEADERS .. ("Cookie: number=%d\r\n"):format(number))
end

--- name, request (or a function of its number), how many in one write, a connection for each
callgrind.cases = {
  { name = "keep-alive", bytes = GET:format("/", HEADERS) },
  { name = "no two heads alike", bytes = another },
  { name = "pipelined x16", bytes = GET:format("/", HEADERS):rep(BATCH), batch = BATCH },
  { name = "connection per request", bytes = GET:format("/", "User-Agent: bench\r\nConnection: close\r\n"),
    close = true },
  { name = "file", bytes = GET:format("/file", HEADERS) }, -- of END_OF_ANSWER
}

local function wait(predicate, seconds, what)
  local till, timer = uv.hrtime() + seconds * 1e9, uv.new_timer()
  timer:start(10, 10, function() end)
  while not predicate() do
    if uv.hrtime() > till then error("callgrind: waited in vain for " .. what, 0) end
    uv.run "once"
  end
  timer:close()
end

-- ---- the client ---------------------------------------------------------------------------------------------------

-- One connection: sends case.bytes `times` times, each after the answers to the one before, and closes.
local function converse(port, case, times, done)
  local tcp, sent, answers, pending = uv.new_tcp(), 0, 0, ""
  local function send()
    sent = sent + 1
    tcp:write(type(case.bytes) == "function" and case.bytes(sent) or case.bytes)
  end
  tcp:connect("127.0.0.1", port, function(err)
    assert(not err, err)
    tcp:nodelay(true)
    tcp:read_start(function(_, bytes)
      if bytes then
        pending = pending .. bytes
        local last = 0
        for behind in pending:gmatch(END_OF_ANSWER .. "()") do
          last, answers = behind - 1, answers + 1
        end
        pending = pending:sub(last + 1)
        if answers < sent * (case.batch or 1) then return end
        if sent < times then return send() end
        if case.close then return end -- the server closes
      end
      if tcp:is_closing() then return end
      tcp:close(function() done(answers) end)
    end)
    send()
  end)
end

local function drive(port, case, requests)
  local finished, connections, answers = false, case.close and requests or 1, 0
  local function next_one(count)
    answers = answers + (count or 0)
    if connections == 0 then
      finished = true
      return
    end
    connections = connections - 1
    converse(port, case, case.close and 1 or requests / (case.batch or 1), next_one)
  end
  next_one()
  wait(function() return finished end, DONE_S, case.name)
  if answers ~= requests then error(("callgrind: %d answers to %d requests"):format(answers, requests), 0) end
end

-- ---- the server ---------------------------------------------------------------------------------------------------

local function free_port()
  local tcp = uv.new_tcp()
  assert(tcp:bind("127.0.0.1", 0))
  local port = tcp:getsockname().port
  tcp:close()
  return port
end

-- Runs the server under callgrind for so many requests; the paths of what was written, one for each process.
local function run(case, requests)
  os.execute(("rm -rf '%s' && mkdir -p '%s'"):format(DIR, DIR))
  local port, exited = free_port(), nil
  local log = assert(uv.fs_open(DIR .. "/log", "w+", 420))
  local env = uv.os_environ()
  env.BENCH_FILE = uv.cwd() .. "/" .. DIR .. "/file.txt"
  process.write(env.BENCH_FILE, END_OF_ANSWER)
  env.CLUA_EXE = uv.fs_realpath(CLUA) -- /proc/self/exe is valgrind
  local list = {}
  for name, value in pairs(env) do list[#list + 1] = name .. "=" .. value end
  local handle = assert(uv.spawn("valgrind", {
    args = { "--tool=callgrind", "--trace-children=yes", "--quiet", "--callgrind-out-file=" .. DIR .. "/out.%p", CLUA,
      __dirname .. "/servers/callgrind_dispatch.lua", tostring(port) },
    env = list, stdio = { nil, log, log },
  }, function(status) exited = status end))
  local ok, message = pcall(function()
    wait(function()
      if exited then error("callgrind: the server did not start: see " .. DIR .. "/log", 0) end
      return (uv.fs_read(log, 1e5, 0) or ""):find("all workers ready", 1, true)
    end, READY_S, "the server: see " .. DIR .. "/log")
    drive(port, case, requests)
    handle:kill "sigterm"
    wait(function() return exited end, END_S, "the server to end")
  end)
  if not exited then handle:kill "sigkill" end
  uv.fs_close(log)
  if not ok then error(message, 0) end
  local paths = {}
  for name in process.files(DIR) do
    if name:find "^out%." then paths[#paths + 1] = DIR .. "/" .. name end
  end
  if #paths ~= 2 then error(("callgrind: %d processes have written, 2 expected"):format(#paths), 0) end
  return paths
end

-- ---- its output (format: the Callgrind manual, "Callgrind Format Specification") ------------------------------------

-- Names are given once with a number, "(3) name", and then by the number alone.
local function reader(names)
  return function(text)
    local number, name = text:match "^%((%d+)%) ?(.*)"
    if not number then return text end
    if name ~= "" then names[number] = name end
    return names[number]
  end
end

--- Adds the own instructions of every function to `sums`: key -> { object, file, name, instructions }. What has been
-- inlined into a function counts for the file that it stands in.
local function add(sums, path, sign)
  local object_of, file_of, name_of = reader {}, reader {}, reader {}
  local object, file, name, entry
  local skip
  local function enter(inlined_from)
    local id = ("%s|%s|%s"):format(object, inlined_from, name)
    entry = sums[id] or { object = object, file = inlined_from, name = name, instructions = 0 }
    sums[id] = entry
  end
  for line in io.lines(path) do
    local key, value = line:match "^(%l+)=(.*)"
    if key == "ob" then
      object = object_of(value)
    elseif key == "cob" then
      object_of(value)
    elseif key == "fl" then
      file = file_of(value)
    elseif key == "fi" or key == "fe" then
      enter(file_of(value))
    elseif key == "cfi" or key == "cfl" then
      file_of(value)
    elseif key == "fn" then
      name = name_of(value)
      enter(file)
    elseif key == "cfn" then
      name_of(value)
    elseif key == "calls" then
      skip = true -- the next line is what the called function and all below it have cost
    elseif entry then
      local cost = line:match "^[%d+*-]+ (%d+)"
      if cost then
        if not skip then entry.instructions = entry.instructions + sign * tonumber(cost) end
        skip = false
      end
    end
  end
end

--- Whose code a function is: "clua" (our C), "llhttp", "LuaJIT" (interpreter, library and compiler), "compiled Lua"
-- (machine code that LuaJIT has made), "libuv", "libc", or the name of another object.
function callgrind.owner(entry)
  local object, file = entry.object or "???", entry.file or "???"
  if object:find "/clua$" then
    if file:find "llhttp" then return "llhttp" end
    return file == "???" and "LuaJIT" or "clua" -- Debian's archive of LuaJIT has no debug information
  end
  if object == "???" then return "compiled Lua" end
  local name = object:match "([^/]+)$"
  return name:match "^(libuv)" or name:match "^(libc)%." or name
end

--- Instructions of one request in all processes of the cluster, by function.
-- @treturn table id -> { object, file, name, instructions }
function callgrind.measure(case, few, many)
  few, many = few or FEW, many or MANY
  local sums = {}
  for _, path in ipairs(run(case, few)) do add(sums, path, -1) end
  for _, path in ipairs(run(case, many)) do add(sums, path, 1) end
  for _, entry in pairs(sums) do entry.instructions = entry.instructions / (many - few) end
  return sums
end

--- The sum for each owner, and that of all.
function callgrind.by_owner(sums)
  local owners, all = {}, 0
  for _, entry in pairs(sums) do
    local owner = callgrind.owner(entry)
    owners[owner] = (owners[owner] or 0) + entry.instructions
    all = all + entry.instructions
  end
  return owners, all
end

return callgrind
