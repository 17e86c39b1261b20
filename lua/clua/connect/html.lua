--- Text that goes into HTML.
-- @module clua.connect.html

local html = {}

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

--- Text for an element or a quoted attribute.
-- @param value made a string by tostring(); nil and false: ""
-- @treturn string
function html.escape(value)
  if not value then return "" end
  return (tostring(value):gsub("[&<>\"']", ENTITIES))
end

return html
