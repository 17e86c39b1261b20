--- Text that goes into HTML.
-- @module clua.connect.html

local html = {}

--- How clua's own pages look: as the system does, light or dark.
html.STYLE = [[
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 3em auto; padding: 0 1em }]]

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

--- Text for an element or a quoted attribute.
-- @param value made a string by tostring(); nil and false: ""
-- @treturn string
function html.escape(value)
  if not value then return "" end
  return (tostring(value):gsub("[&<>\"']", ENTITIES))
end

return html
