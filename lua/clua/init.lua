--- clua: `local cluster = require "clua"`.
-- @module clua

local cluster = {}

--- Makes the master of a cluster; see clua.master.
function cluster.Master(options)
  return require("clua.master").new(options)
end

--- The worker of this process; see clua.worker.
function cluster.Worker(term_timeout)
  return require("clua.worker").new(term_timeout)
end

--- Short for cluster.Worker():ready(fn).
function cluster.ready(fn)
  return require("clua.worker").new():ready(fn)
end

return cluster
