-- Not a part of clua. Writes the requests of the specs as the fuzzer reads them (see http_fuzz.c), each at once and in
-- pieces: seeds.lua FOLDER
package.path = "./?.lua;" .. package.path
local folder = assert(arg[1], "usage: seeds.lua FOLDER")
local written = 0

local function write(control, bytes)
  written = written + 1
  local file = assert(io.open(("%s/%05d"):format(folder, written), "wb"))
  file:write(string.char(#control), control, bytes)
  file:close()
end

-- Again and again, since what is repeated is not parsed again (http_section.h).
local function add(bytes)
  write("", bytes)
  write("\3\20\90\200\7", bytes)
  write("", bytes:rep(4))
end

for _, case in ipairs(require "spec.core.http_requests") do add(case.bytes) end
for _, name in ipairs { "gunicorn", "llhttp", "portswigger" } do
  for _, row in ipairs(require("spec.core.corpora." .. name)) do add(row[2]) end
end
print(written .. " seeds")
