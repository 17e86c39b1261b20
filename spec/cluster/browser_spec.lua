-- Live reload as its user has it: a page in a real browser, and an editor that saves.

local browser = require "spec.support.browser"
local cluster = require "spec.support.cluster"
local uv = require "luv"

-- The page's own mark: it is gone when the page has been loaded again.
local MARK = "document.body.dataset.mark"

local function app(text)
  return ([[
return function(req, res)
  res:setHeader("Content-Type", "text/html")
  res:finish("<p>%s</p>")
end
]]):format(text)
end

local function serve(files, ...)
  local c = cluster.start { files = files, shell = ('exec "$0" serve %s'):format(table.concat({ ... }, " ")) }
  c:wait_log "all workers ready"
  return c
end

local function save(c, name, text)
  cluster.write(c.dir .. "/" .. name .. ".new~", text)
  assert(uv.fs_rename(c.dir .. "/" .. name .. ".new~", c.dir .. "/" .. name))
end

local it_in_a_browser = browser.exists() and it or pending -- chromium is installed

describe("live reload in a browser", function()
  after_each(function()
    browser.cleanup()
    cluster.cleanup()
  end)

  it_in_a_browser("shows what was saved; not when it is broken, but when it is mended", function()
    local c = serve({ ["app.lua"] = app "one" }, "app.lua", "-p", "127.0.0.1:0", "-w", "2", "--livereload")
    local page = browser.start():go("http://" .. c:address() .. "/")
    page:wait_text "^one$"
    save(c, "app.lua", app "two")
    page:wait_text "^two$"
    page:evaluate(MARK .. " = 'still here'")
    save(c, "app.lua", "return function(req, res")
    c:wait_log "app.lua changed, but does not compile"
    assert.equal("two", page:text())
    assert.equal("still here", page:evaluate(MARK))
    save(c, "app.lua", app "mended")
    page:wait_text "^mended$"
    c:stop()
  end)

  it_in_a_browser("shows an error of a handler as a page, which goes by itself when it is mended", function()
    local c = serve({ ["app.lua"] = "return function(req, res)\n  error 'not like this'\nend\n" }, "app.lua", "-p",
      "127.0.0.1:0", "-w", "1", "--livereload")
    local page = browser.start():go("http://" .. c:address() .. "/")
    page:wait_text "^500 Internal Server Error\n.*app.lua:2: not like this\n.*    2    error 'not like this'"
    save(c, "app.lua", app "mended")
    page:wait_text "^mended$"
    c:stop()
  end)

  it_in_a_browser("goes on over the death of a worker, a reload, an upgrade, and with another master", function()
    local c = serve({ ["app.lua"] = app "one" }, "app.lua", "-p", "127.0.0.1:0", "-w", "1", "--livereload")
    local address = c:address()
    local page = browser.start():go("http://" .. address .. "/")
    page:wait_text "^one$"
    page:evaluate(MARK .. " = 'still here'")
    assert(uv.kill(c:workers()[1].pid, "sigkill"))
    c:wait_log("worker 1 of %S+ ready, pid", nil, 2)
    c:signal "sigusr1"
    c:wait_log "reload of %S+ done"
    c:signal "sigusr2"
    c:wait_log "upgraded, generation 1"
    assert.equal("still here", page:evaluate(MARK)) -- the same code: nothing new to be seen
    c:stop()
    c = serve({ ["app.lua"] = app "two" }, "app.lua", "-p", address, "-w", "1", "--livereload")
    page:wait_text "^two$"
    save(c, "app.lua", app "three")
    page:wait_text "^three$"
    c:stop()
  end)

  it_in_a_browser("has listings and what is not there, too", function()
    local c = serve({ ["a <b>.txt"] = ("x"):rep(2000) }, ".", "-p", "127.0.0.1:0", "-w", "1", "--livereload",
      "--listing")
    local page = browser.start():go("http://" .. c:address() .. "/")
    page:wait_text "a <b>.txt\t2.0 KiB\t"
    save(c, "c.txt", "new")
    page:wait_text "c.txt\t3 bytes\t"
    page:go("http://" .. c:address() .. "/later.html")
    page:wait_text "^404 Not Found"
    save(c, "later.html", "<p>here</p>")
    page:wait_text "^here"
    c:stop()
  end)
end)
