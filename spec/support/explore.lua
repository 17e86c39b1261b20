-- Breadth-first search through all states of a small model, with the shortest way to the first bad one.
--
-- A model has: initial() -> state (an array of small integers); successors(state, emit), which calls emit(name, state,
-- violation) for every step that is possible; check(state) and check_end(state) -> violation or nil, for every state
-- and for those without successor.

local function copy(state)
  local new = {}
  for i = 1, #state do new[i] = state[i] end
  return new
end

local function key_of(state)
  return string.char(unpack(state))
end

local function way_to(parents, key)
  local names = {}
  while parents[key] do
    table.insert(names, 1, parents[key].name)
    key = parents[key].from
  end
  return names
end

--- Explores a model. Returns { states, steps, ends, violation, way }; violation is nil when there is none.
local function explore(model)
  local first = model.initial()
  local queue, keys, head = { first }, { key_of(first) }, 1
  local seen, parents = { [keys[1]] = true }, {}
  local result = { states = 1, steps = 0, ends = 0 }

  local from, count
  local function emit(name, state, violation)
    count = count + 1
    result.steps = result.steps + 1
    local key = key_of(state)
    if not seen[key] or violation then
      seen[key] = true
      result.states = result.states + 1
      parents[key] = { from = from, name = name }
      queue[#queue + 1], keys[#keys + 1] = state, key
      violation = violation or model.check(state)
      if violation and not result.violation then
        result.violation, result.way = violation, way_to(parents, key)
      end
    end
  end

  while head <= #queue and not result.violation do
    local state = queue[head]
    from, count = keys[head], 0
    queue[head], keys[head] = false, false
    head = head + 1
    model.successors(state, emit)
    if count == 0 then
      result.ends = result.ends + 1
      local violation = model.check_end(state)
      if violation and not result.violation then
        result.violation, result.way = violation, way_to(parents, from)
      end
    end
  end
  return result
end

return { explore = explore, copy = copy }
