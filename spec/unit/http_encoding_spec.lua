local encoding = require "clua.http.encoding"

describe("http encoding", function()
  local function names(header)
    local list = {}
    for i, coding in ipairs(encoding.acceptable(header)) do list[i] = coding.name end
    return table.concat(list, " ")
  end

  it("orders the codings by weight, then by our preference", function()
    assert.equal("br gzip", names "gzip, deflate, br")
    assert.equal("gzip br", names "gzip;q=1.0, br;q=0.9")
    assert.equal("br zstd gzip", names "*")
    assert.equal("gzip br zstd", names "gzip, *;q=0.1")
  end)

  it("leaves out what the client refuses or does not name", function()
    assert.equal("", names(nil))
    assert.equal("", names "")
    assert.equal("", names "identity")
    assert.equal("gzip", names "br;q=0, gzip")
    assert.equal("zstd gzip", names "br; q=0.000, *")
    assert.equal("gzip", names "GZIP")
    assert.equal("gzip", names "x-gzip")
  end)
end)
