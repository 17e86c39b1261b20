--- Names of files that somebody else has chosen, made harmless.
-- @module clua.connect.filename

local utf8 = require "clua.connect.utf8"

local filename = {}

local MAX_BYTES = 200 -- of 255 that file systems take: room for a prefix
local RESERVED = { con = true, prn = true, aux = true, nul = true } -- on Windows, with any extension

-- Characters that turn the direction of text: "gnp.exe" may look like "exe.png".
local BIDI = { "\226\128[\142\143\170-\174]", "\226\129[\166-\169]" }

-- Cut between characters, the extension kept.
local function shorten(name)
  if #name <= MAX_BYTES then return name end
  local extension = name:match("%.[%w]+$") or ""
  if #extension > 16 then extension = "" end
  local stem = name:sub(1, MAX_BYTES - #extension)
  while not utf8.is_valid(stem) do stem = stem:sub(1, -2) end
  return stem .. extension
end

--- The last part of a path as it came from a client, fit to be a name in a directory: valid UTF-8, no separators, no
-- control or direction characters, nothing that is hidden or reserved, not too long.
-- @tparam string text
-- @treturn string "unnamed" when nothing is left
function filename.sanitize(text)
  local name = utf8.repair(text):gsub("^.*[/\\]", "")
  for _, pattern in ipairs(BIDI) do name = name:gsub(pattern, "") end
  name = name:gsub("[%c\127]", ""):gsub('[:*?"<>|]', "_")
  name = shorten(name:gsub("^[%s.]+", "")):match("^.*[^%s.]") or ""
  local stem = name:match("^[^.]*"):lower()
  if RESERVED[stem] or stem:find("^com%d$") or stem:find("^lpt%d$") then name = "_" .. name end
  return name == "" and "unnamed" or name
end

return filename
