--- Which request lines have killed so many workers that they are to be refused: a pure function of the deaths so far
-- and the clock. Lines are a client's bytes, and which of them a worker was executing is the worker's word.
-- @module clua.quarantine

local Quarantine = {}
Quarantine.__index = Quarantine

local DEATHS, WINDOW = 3, 60 -- so many deaths within so many seconds
local SUSPECTS_MAX = 1000 -- lines remembered

--- @tparam number duration seconds for which a line is refused; 0: never
function Quarantine.new(duration)
  return setmetatable({ duration = duration, deaths = {}, refused = {} }, Quarantine)
end

local function same(entry, line, len)
  return entry.line == line and entry.len == len
end

local function kept(list, keep)
  local rest = {}
  for _, entry in ipairs(list) do
    if keep(entry) then rest[#rest + 1] = entry end
  end
  return rest
end

--- Whom a death is to be laid to: the request whose code ran, or the only one there was. When several were in execution
-- and none of them ran (a kill from outside, say), nobody knows.
-- @tparam table executing array of { line, len, running }
-- @treturn table|nil one of them
function Quarantine.culprit(executing)
  if executing[1] and (executing[1].running or #executing == 1) then return executing[1] end
  return nil
end

--- Counts a death.
-- @tparam number now seconds of a clock that never goes back
-- @tparam table executing as for culprit()
-- @treturn table|nil { line, len, till } when this line is to be refused from now on
function Quarantine:died(now, executing)
  local culprit = self.duration > 0 and Quarantine.culprit(executing)
  if not culprit then return nil end
  self.deaths = kept(self.deaths, function(death) return now - death.at < WINDOW end)
  if #self.deaths == SUSPECTS_MAX then table.remove(self.deaths, 1) end
  self.deaths[#self.deaths + 1] = { line = culprit.line, len = culprit.len, at = now }
  local count = 0
  for _, death in ipairs(self.deaths) do
    if same(death, culprit.line, culprit.len) then count = count + 1 end
  end
  if count < DEATHS then return nil end
  self.deaths = kept(self.deaths, function(death) return not same(death, culprit.line, culprit.len) end)
  local entry = { line = culprit.line, len = culprit.len, till = now + self.duration }
  self.refused = kept(self:active(now), function(other) return not same(other, entry.line, entry.len) end)
  self.refused[#self.refused + 1] = entry
  return entry
end

--- What is refused now: array of { line, len, till }.
function Quarantine:active(now)
  return kept(self.refused, function(entry) return now < entry.till end)
end

--- Bytes of a line as a log may show them: one line, printable, nothing that could be taken for its end.
-- @tparam string line the beginning of the line
-- @tparam[opt] number len length of all of it
function Quarantine.show(line, len)
  local text = line:gsub('[%c"\\\128-\255]', function(byte) return ("\\x%02x"):format(byte:byte()) end)
  return ('"%s%s"'):format(text, len and len > #line and "..." or "")
end

return Quarantine
