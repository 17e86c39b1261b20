--- Line editing on the event loop, by the library that the system has: libedit, or GNU readline. Both know the
-- callback interface of readline; they are asked for through LuaJIT's FFI at run time, so that clua depends on neither.
-- libedit comes first, since its licence goes with everything. Without one of them, or a terminal, lines are read as
-- they come.
-- @module clua.repl.editor

local uv = require "luv"

local editor = {}

local LIBRARIES = { "libedit.so.2", "libedit.so", "libreadline.so.8", "libreadline.so.7", "libreadline.so" }
local STDIN, STDOUT = 0, 1
local TAB, LIST = 9, ("!"):byte()

local DECLARATIONS = [[
typedef void clua_line_fn(char *);
typedef char **clua_completion_fn(const char *, int, int);
typedef char *clua_entry_fn(const char *, int);
void rl_callback_handler_install(const char *prompt, clua_line_fn *handler);
void rl_callback_read_char(void);
void rl_callback_handler_remove(void);
int rl_initialize(void);
int rl_forced_update_display(void);
int rl_complete(int ignore, int key);
int rl_complete_internal(int what);
char **rl_completion_matches(const char *text, clua_entry_fn *entry);
void using_history(void);
int add_history(const char *line);
int read_history(const char *path);
int write_history(const char *path);
void stifle_history(int max);
extern clua_completion_fn *rl_attempted_completion_function;
extern int rl_attempted_completion_over;
extern int rl_completion_append_character;
extern const char *rl_completer_word_break_characters;
extern const char *rl_readline_name;
extern char *rl_line_buffer;
void *malloc(size_t size);
void free(void *memory);
]]

local HISTORY_LINES = 1000

local function load_library()
  local ok, ffi = pcall(require, "ffi")
  if not ok then return nil end
  pcall(ffi.cdef, DECLARATIONS)
  for _, name in ipairs(LIBRARIES) do
    local found, library = pcall(ffi.load, name)
    if found and pcall(function() return library.rl_callback_handler_install end) then return library, ffi end
  end
  return nil
end

local Editor = {}
Editor.__index = Editor

local BREAKS = " \t\n\"\\'`@$><=;|&{(+-*/%^~,[#"

-- What the library calls must not be compiled into a trace: it comes back into Lua.
local function set_completion(self)
  local ffi, library = self.ffi, self.library
  local words = {}
  local entry = ffi.cast("clua_entry_fn *", function(_, state)
    local word = words[state + 1]
    if not word then return nil end
    local copy = ffi.cast("char *", ffi.C.malloc(#word + 1)) -- the library frees it
    ffi.copy(copy, word)
    return copy
  end)
  self.completion = ffi.cast("clua_completion_fn *", function(text)
    local prefix = ffi.string(text)
    words = self.words or self.complete(prefix, function(found) self:completed(prefix, found) end)
    library.rl_attempted_completion_over = 1
    library.rl_completion_append_character = 0 -- readline sets it anew each time
    self.wanted = words == nil and prefix or nil
    if not words or #words == 0 then return nil end
    return library.rl_completion_matches(text, entry)
  end)
  self.entry, self.breaks = entry, ffi.new("char[?]", #BREAKS + 1, BREAKS)
  library.rl_attempted_completion_function = self.completion
  library.rl_completer_word_break_characters = self.breaks
end

-- Completes what is typed, and lists the words when there are several. That is what libedit makes of a TAB behind a
-- TAB; readline would list them only.
local function complete_now(self)
  local library = self.library
  if pcall(function() return library.rl_complete_internal end) then
    library.rl_complete_internal(LIST)
  else
    library.rl_complete(0, TAB)
  end
end
jit.off(complete_now)

local function open_terminal(self)
  local ffi, library = self.ffi, self.library
  library.rl_initialize()
  library.using_history()
  library.stifle_history(HISTORY_LINES)
  if self.history then library.read_history(self.history) end
  set_completion(self)
  self.handler = ffi.cast("clua_line_fn *", function(line)
    -- Taken from here and handed on outside of the library's callback, where an error would cross C.
    if line == nil then
      self.ended = true
    else
      self.line = ffi.string(line)
      ffi.C.free(line)
    end
  end)
  self.poll = uv.new_poll(STDIN)
  local function read()
    self.wanted = nil
    library.rl_callback_read_char()
    if self.ended then return self.on_end() end
    local text = self.line
    self.line = nil
    if not text then return end
    if text:find("%S") and text ~= self.last then
      library.add_history(text)
      self.last = text
    end
    self.on_line(text)
  end
  jit.off(read, true)
  self.read = read
  return self
end

--- Shows a prompt and waits for a line: on_line(text) follows, or on_end().
function Editor:prompt(text)
  if not self.library then
    if self.is_terminal then io.stdout:write(text) io.stdout:flush() end
    return
  end
  self.is_asking = true
  self.library.rl_callback_handler_install(text, self.handler)
  self.poll:start("r", function(err)
    if err then return self.on_end() end
    self.read()
  end)
end
jit.off(Editor.prompt)

--- Drops what has been typed, for ctrl-C.
function Editor:clear()
  if not self.library then return end
  self.library.rl_callback_handler_remove()
  io.stdout:write("^C\n")
  io.stdout:flush()
end

--- The words behind a prefix have come: TAB once more, unless another key has been pressed since.
function Editor:completed(prefix, words)
  if not self.is_asking or self.wanted ~= prefix then return end
  self.wanted, self.words = nil, words
  complete_now(self)
  self.words = nil
  self:hide()
  self:show()
end
jit.off(Editor.completed)

--- Takes the line that is being typed off the screen, for other output, which must end with a newline; show() puts it
-- back.
function Editor:hide()
  if not self.library or not self.is_asking then return end
  io.stdout:write("\r\27[K")
end

--- Puts it back.
function Editor:show()
  io.stdout:flush()
  if self.library and self.is_asking then self.library.rl_forced_update_display() end
end
jit.off(Editor.show)

--- Leaves the terminal to what runs now.
function Editor:rest()
  if not self.library then return end
  self.is_asking = false
  self.poll:stop()
  self.library.rl_callback_handler_remove()
end

--- Leaves the terminal as it was, and keeps the history.
function Editor:close()
  if self.library then
    self.library.rl_callback_handler_remove()
    if self.history then self.library.write_history(self.history) end
    if not self.poll:is_closing() then self.poll:close() end
  elseif not self.pipe:is_closing() then
    self.pipe:close()
  end
end

-- Lines as they come, from a pipe, a file, or a terminal without a library.
local function open_plain(self)
  local rest = ""
  local kind = uv.guess_handle(STDIN)
  local function take(bytes)
    rest = rest .. (bytes or "")
    for line in rest:gmatch("([^\n]*)\n") do self.on_line(line) end
    rest = rest:match("[^\n]*$")
    if bytes then return end
    if rest ~= "" then self.on_line(rest) end
    self.on_end()
  end
  if kind == "file" then
    self.pipe = uv.new_timer()
    self.pipe:start(0, 0, function()
      take(io.stdin:read("*a"))
      take(nil)
    end)
    return self
  end
  self.pipe = kind == "tty" and uv.new_tty(STDIN, true) or uv.new_pipe(false)
  if kind ~= "tty" then self.pipe:open(STDIN) end
  self.pipe:read_start(function(_, bytes) take(bytes) end)
  return self
end

--- @tparam table options `on_line` function(text), `on_end` function(), `complete` function(prefix, reply) -> words, or
--   nil when reply(words) follows, not at once; `history` path of a file, or nil
function editor.open(options)
  local self = setmetatable(options, Editor)
  self.is_terminal = uv.guess_handle(STDIN) == "tty" and uv.guess_handle(STDOUT) == "tty"
  if self.is_terminal then self.library, self.ffi = load_library() end
  if self.library then return open_terminal(self) end
  return open_plain(self)
end

return editor
