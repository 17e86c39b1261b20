local replies = require "clua.replies"

describe("clua.replies", function()
  local function parse(reply)
    local head, body = reply:match("^(.-)\r\n\r\n(.*)$")
    local fields, status = {}, nil
    for line in (head .. "\r\n"):gmatch("(.-)\r\n") do
      local name, value = line:match("^([%w-]+): (.*)$")
      if name then
        assert.is_nil(fields[name:lower()], name .. " stands twice")
        fields[name:lower()] = value
      else
        assert.is_nil(status, "a line that is no field: " .. line)
        status = line
      end
    end
    return status, fields, body
  end

  for name, line in pairs { gone = "HTTP/1.1 503 Service Unavailable", lost = "HTTP/1.1 502 Bad Gateway" } do
    it(name .. " is one whole response that ends its connection", function()
      local status, fields, body = parse(replies[name])
      assert.equal(line, status)
      assert.equal(tostring(#body), fields["content-length"])
      assert.equal("close", fields.connection)
      assert.equal("text/plain; charset=utf-8", fields["content-type"])
      assert.truthy(body:find("%.\n$"))
      assert.is_nil(replies[name]:gsub("\r\n", ""):find("\r"))
    end)
  end

  it("gone says when to come again; lost is not kept", function()
    local _, gone = parse(replies.gone)
    local _, lost = parse(replies.lost)
    assert.equal("1", gone["retry-after"])
    assert.equal("no-store", lost["cache-control"])
  end)
end)
