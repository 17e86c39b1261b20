-- `make guard`: the instructions of a request must stay within 3 % of the committed figures; `make guard-update` writes
-- them down anew.
--
-- Counted is what callgrind.lua counts, but for libc and libuv, whose code is another one on another processor or
-- release. The rest is the same on every run with the same compiler, LuaJIT and llhttp. With others the figures say
-- nothing, and nothing is judged: then it is for somebody with those of scripts/bench/instructions.lua to look.
local callgrind = dofile(__dirname .. "/callgrind.lua")

local PATH = __dirname .. "/instructions.lua"
local TOLERANCE = 0.03
local ATTEMPTS = 3
local COUNTED = { "clua", "llhttp", "LuaJIT", "compiled Lua" }

local function output_of(command)
  local pipe = assert(io.popen(command .. " 2>/dev/null"))
  local text = pipe:read "*a"
  pipe:close()
  return (text:gsub("%s+$", ""))
end

local function made_with()
  return ("gcc %s, luajit %s, llhttp %s, %s"):format(output_of "gcc -dumpfullversion",
    output_of "pkg-config --modversion luajit",
    output_of "sha256sum /usr/share/llhttp/llhttp.c | cut -c1-12", output_of "uname -m")
end

local function count(case)
  local owners, all = callgrind.by_owner(callgrind.measure(case))
  local counted = 0
  for _, owner in ipairs(COUNTED) do counted = counted + (owners[owner] or 0) end
  return counted, all
end

local function update(tools)
  local lines = {
    "-- Instructions of a request in all processes of the cluster. Written by `make guard-update` and nothing else.",
    "return {", ("  made_with = %q,"):format(tools),
  }
  for _, case in ipairs(callgrind.cases) do
    local counted = count(case)
    print(("%-24s %8.0f instructions"):format(case.name, counted))
    lines[#lines + 1] = ("  [%q] = %.0f,"):format(case.name, counted)
  end
  lines[#lines + 1] = "}"
  local file = assert(io.open(PATH, "w"))
  file:write(table.concat(lines, "\n"), "\n")
  file:close()
  print("written: " .. PATH)
end

-- Again when it is too much: a count can be disturbed, but it is never too small by chance.
local function least(case, limit)
  local fewest
  for _ = 1, ATTEMPTS do
    local counted = count(case)
    fewest = math.min(fewest or counted, counted)
    if fewest <= limit then break end
  end
  return fewest
end

local function judge(committed, tools)
  if committed.made_with ~= tools then
    print(("not judged: the figures are for %s; this is %s"):format(committed.made_with, tools))
    return true
  end
  local fine = true
  for _, case in ipairs(callgrind.cases) do
    local figure = committed[case.name]
    local counted = least(case, figure * (1 + TOLERANCE))
    local change = counted / figure - 1
    local verdict = "as it was"
    if change > TOLERANCE then
      verdict, fine = "MORE: `make profile` tells where; `make guard-update` if it is worth it", false
    elseif change < -TOLERANCE then
      verdict = "less: `make guard-update` holds on to it"
    end
    print(("%-24s %8.0f instructions, committed %8.0f: %+.1f %%, %s"):format(case.name, counted, figure, change * 100,
      verdict))
  end
  return fine
end

local tools = made_with()
if arg[1] == "--update" then
  update(tools)
elseif not judge(dofile(PATH), tools) then
  os.exit(1)
end
