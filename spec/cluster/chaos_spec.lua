-- Everything at once, in a random order under mixed load, for some seconds: what design.md promises holds. A longer
-- run is `make torture SECONDS=180 SEED=n`.

local cluster = require "spec.support.cluster"
local torture = require "spec.support.torture"

local SECONDS = tonumber(os.getenv("CLUA_SPEC_TORTURE")) or 10
local SEED = tonumber(os.getenv("CLUA_SPEC_SEED")) or os.time()

describe("a cluster under torture", function()
  after_each(cluster.cleanup)

  it("loses nothing but what workers were executing that were killed", function()
    print("  seed " .. SEED .. " (CLUA_SPEC_SEED)")
    local result = torture.run { seconds = SECONDS, seed = SEED }
    print("  " .. result:summary())
    assert.same({}, result.violations)
    assert.is_true(result.answered > 0)
  end)
end)
