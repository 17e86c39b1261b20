--- Content types by file name extension.
-- The types that a web server meets, in their current registered form (IANA; text/javascript after RFC 9239). Add your
-- own: `mime.types.gcode = "text/x-gcode"`.
-- @module clua.mime

local memo = require "clua.memo"

local mime = {}

--- What a file of unknown kind is: bytes. A browser then offers to save it and runs nothing.
mime.default = "application/octet-stream"

--- Extension, in lower case and without the dot, to type without parameters.
mime.types = {
  -- text
  css = "text/css", csv = "text/csv", htm = "text/html", html = "text/html", ics = "text/calendar",
  js = "text/javascript", log = "text/plain", lua = "text/x-lua", md = "text/markdown", mjs = "text/javascript",
  text = "text/plain", txt = "text/plain", vcf = "text/vcard", vtt = "text/vtt",
  -- structured data; an XML or JSON file names its encoding itself
  atom = "application/atom+xml", geojson = "application/geo+json", json = "application/json",
  jsonld = "application/ld+json", map = "application/json", rss = "application/rss+xml",
  wasm = "application/wasm", webmanifest = "application/manifest+json", xhtml = "application/xhtml+xml",
  xml = "application/xml", yaml = "application/yaml", yml = "application/yaml",
  -- images
  apng = "image/apng", avif = "image/avif", bmp = "image/bmp", gif = "image/gif", ico = "image/vnd.microsoft.icon",
  jpeg = "image/jpeg", jpg = "image/jpeg", jxl = "image/jxl", png = "image/png", svg = "image/svg+xml",
  tif = "image/tiff", tiff = "image/tiff", webp = "image/webp",
  -- fonts
  otf = "font/otf", ttf = "font/ttf", woff = "font/woff", woff2 = "font/woff2",
  -- sound and film
  aac = "audio/aac", flac = "audio/flac", m4a = "audio/mp4", mid = "audio/midi", mp3 = "audio/mpeg",
  mp4 = "video/mp4", mpeg = "video/mpeg", oga = "audio/ogg", ogg = "audio/ogg", ogv = "video/ogg",
  opus = "audio/ogg", wav = "audio/wav", weba = "audio/webm", webm = "video/webm",
  -- documents
  doc = "application/msword",
  docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
  epub = "application/epub+zip", odt = "application/vnd.oasis.opendocument.text", pdf = "application/pdf",
  ppt = "application/vnd.ms-powerpoint",
  pptx = "application/vnd.openxmlformats-officedocument.presentationml.presentation", rtf = "application/rtf",
  xls = "application/vnd.ms-excel", xlsx = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
  -- archives
  ["7z"] = "application/x-7z-compressed", bz2 = "application/x-bzip2", gz = "application/gzip",
  jar = "application/java-archive", tar = "application/x-tar", tgz = "application/gzip", xz = "application/x-xz",
  zip = "application/zip", zst = "application/zstd",
}

local complete = setmetatable({}, { __index = function(all, found)
  local is_bare_text = found:find("^text/") and not found:find(";", 1, true)
  all[found] = is_bare_text and found .. "; charset=utf-8" or found
  return all[found]
end })

-- In lower case; "" for none.
local extension_of = memo(function(path)
  return (path:match("%.([^./]+)$") or ""):lower()
end)

--- The Content-Type of a file.
-- @tparam string path a path, a file name or ".extension"; only what follows the last dot of the last segment counts
-- @treturn string the type, with `; charset=utf-8` for text; mime.default when the extension is unknown
function mime.type(path)
  if type(path) ~= "string" then error("mime.type: a path is expected, got " .. type(path), 2) end
  return complete[mime.types[extension_of(path)] or mime.default]
end

return mime
