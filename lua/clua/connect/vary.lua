--- Vary: which fields of a request the answer depends on.
-- @module clua.connect.vary

--- Adds a field name to Vary, unless it is there.
-- @param res
-- @tparam string name such as "Origin"
return function(res, name)
  local value = res:getHeader("Vary")
  if type(value) == "table" then value = table.concat(value, ", ") end
  for field in (value or ""):gmatch("[^,%s]+") do
    if field == "*" or field:lower() == name:lower() then return end
  end
  res:setHeader("Vary", value and value ~= "" and value .. ", " .. name or name)
end
