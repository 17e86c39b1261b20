--- What others are to hear of a step of a supervisor. They hear of it when its state is whole, since what they hear may
-- make them reload, scale or stop.
-- @module clua.supervisor.outbox

local outbox = {}

--- fn(...) is called at the end of this step.
function outbox.tell(self, fn, ...)
  local count, arguments = select("#", ...), { ... }
  self.outbox[#self.outbox + 1] = function() fn(unpack(arguments, 1, count)) end
end

--- The state is whole again: what there is to tell is told.
function outbox.end_step(self)
  while #self.outbox > 0 do table.remove(self.outbox, 1)() end
end

return outbox
