/* BOTH. Where Lua code comes from: files, strings, the modules inside the binary; and what a script finds when it begins.
 * Nothing is run here. */
#ifndef CLUA_LUA_SCRIPT_H
#define CLUA_LUA_SCRIPT_H

#include <stdbool.h>

#include <lua.h>

/* Loads a file (a leading #! line is skipped), leaves the chunk on host_state() with __filename and __dirname set in
 * its environment; false with the message in host_error() and nothing pushed. */
bool script_load_file(const char *path);

/* The same for source text; name is shown in messages. */
bool script_load_string(const char *source, const char *name);

/* Sets the global `arg` as the luajit command does: script at 0, its arguments from 1, what stands before it below. */
void script_set_arg(char **argv, int argc, int script);

/* Adds the directory of a script to the front of package.path and package.cpath. */
void script_add_path(const char *script);

/* Lets require() find the modules inside the binary, before any file: none shadows a module of clua. */
void script_add_loader(void);

#endif
