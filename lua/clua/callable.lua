--- Can it be called? A function can, and so can a table whose metatable has __call, such as an app of clua.connect.
-- @module clua.callable

--- @param value
-- @treturn boolean
return function(value)
  if type(value) == "function" then return true end
  local meta = type(value) == "table" and getmetatable(value)
  return type(meta) == "table" and meta.__call ~= nil
end
