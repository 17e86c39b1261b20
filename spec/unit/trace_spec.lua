-- clua.trace: what an error looks like.

local trace = require "clua.trace"

local uv = require "luv"
local dir

local function load_app(source)
  local path = dir .. "/app.lua"
  local file = assert(io.open(path, "w"))
  file:write(source)
  file:close()
  return loadfile(path), path
end

-- Runs a function of it in a coroutine, which ends with an error: its message and the coroutine.
local function fail(chunk, ...)
  local co = coroutine.create(chunk)
  local ok, message = coroutine.resume(co, ...)
  assert.is_false(ok)
  return message, co
end

describe("clua.trace", function()
  before_each(function() dir = assert(uv.fs_mkdtemp("/tmp/clua-spec-XXXXXX")) end)
  after_each(function()
    uv.fs_unlink(dir .. "/app.lua")
    uv.fs_rmdir(dir)
  end)

  it("tells message, source line and the functions that led there", function()
    local chunk, path = load_app("local function inner(user)\n  return user.name.first\nend\n"
      .. "local x = inner {}\nreturn x\n")
    local text = trace.describe(fail(chunk))
    assert.truthy(text:find("^[^\n]*app.lua:2: attempt to index field 'name'[^\n]*\n +2 |  return user.name.first\n"
      .. "stack traceback:\n"), text)
    local frames = ("\n\t%s:2: in function 'inner'\n\t%s:4: in main chunk"):format(path, path)
    assert.truthy(text:find(frames, 1, true), text)
    assert.falsy(text:find("[C]", 1, true), text)
  end)

  it("leaves out what is clua's own", function()
    local chunk, path = load_app "require('clua.emitter').new():on('x', function() error('boom') end):emit('x')\n"
    local message, co = fail(chunk)
    assert.truthy(debug.traceback(co):find("clua/emitter.lua:", 1, true), "the spec has lost its subject")
    local text = trace.describe(message, co)
    assert.falsy(text:find("clua/emitter.lua", 1, true), text)
    assert.truthy(text:find(path .. ":1: in ", 1, true), text)
  end)

  it("but tells all of a mistake in clua", function()
    local chunk = load_app "require('clua.options').nearest(nil, { a = true })\n"
    local text = trace.describe(fail(chunk))
    assert.truthy(text:find("\n\tclua/options.lua:?%d*: in function"), text)
  end)

  it("shows no line of a file that only the message names", function()
    load_app "secret = 'xyzzy'\n"
    local path = dir .. "/app.lua"
    local text = trace.describe(fail(function() error(path .. ":1: of a client", 0) end))
    assert.falsy(text:find("xyzzy", 1, true), text)
    local page = trace.page { status = 500, reason = "Internal Server Error", message = path .. ":1: of a client",
      frames = {} }
    assert.falsy(page:find("xyzzy", 1, true), page)
  end)

  it("shows the line of a syntax error, of a script and of a module", function()
    local _, path = load_app "local a = 1\nlocal = 2\n"
    local _, message = loadfile(path)
    assert.truthy(trace.syntax(message):find("app.lua:2: .-\n +2 |  local = 2$"), trace.syntax(message))
    local wrapped = ("error loading module 'app' from file '%s':\n\t%s"):format(path, message)
    assert.equal(trace.syntax(message), trace.syntax(wrapped))
  end)

  it("makes a page that shows the lines around, with everything escaped", function()
    local chunk = load_app "local a = '<b>'\nerror('<script>' .. a)\n"
    local message, co = fail(chunk)
    local page = trace.page { status = 500, reason = "Internal Server Error", message = message,
      frames = trace.frames_of(co) }
    assert.truthy(page:find("&lt;script&gt;", 1, true))
    assert.truthy(page:find("    1  local a = &#39;&lt;b&gt;&#39;", 1, true), page)
    assert.truthy(page:find("<b>    2  error(", 1, true), page)
    assert.falsy(page:find("<script>", 1, true))
  end)
end)
