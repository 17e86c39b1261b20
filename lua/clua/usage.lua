--- Errors that are the user's to mend: one line, without a traceback, and an exit status.
--
-- They are tables with `message`, `code` and `exit_status`; tostring() gives the line. Uncaught, the process prints it
-- and exits with the status: 100 for wrong use, 111 when the system refused.
-- @module clua.usage

local usage = {}

local Error = { __tostring = function(self) return self.message end }
Error.__index = Error

--- Raises an error of wrong use, with the file and line of the caller at `level` (1: who called the function that calls
-- fail).
-- @tparam number level
-- @tparam string format as string.format, followed by its values
function usage.fail(level, format, ...)
  local message = select("#", ...) > 0 and format:format(...) or format
  local info = debug.getinfo(level + 2, "Sl")
  if info and info.currentline > 0 then message = info.short_src .. ":" .. info.currentline .. ": " .. message end
  error(setmetatable({ message = message, code = "EINVAL", exit_status = 100 }, Error), 0)
end

--- Raises an error of a start that cannot be: message as it is.
-- @tparam string message
-- @tparam[opt="EINVAL"] string code
-- @tparam[opt=100] number exit_status
function usage.refuse(message, code, exit_status)
  error(setmetatable({ message = message, code = code or "EINVAL", exit_status = exit_status or 100 }, Error), 0)
end

return usage
