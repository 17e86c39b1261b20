/* BOTH. Where Lua code comes from, see lua_script.h. */
#include "lua_script.h"

#include <string.h>

#include "embedded.h"
#include "lua_host.h"

/* A package loader: the chunk of an embedded module, or a text that says there is none. */
static int embedded_loader(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    for (size_t i = 0; i < embedded_module_count; i++) {
        const struct embedded_module *module = &embedded_modules[i];
        if (strcmp(module->name, name) != 0) continue;
        if (luaL_loadbuffer(L, (const char *)module->bytecode, module->len, name) != 0) return lua_error(L);
        return 1;
    }
    lua_pushfstring(L, "\n\tno module '%s' in clua itself", name);
    return 1;
}

/* Second, behind package.preload. */
void script_add_loader(void) {
    lua_State *L = host_state();
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaders");
    for (int i = (int)lua_objlen(L, -1); i >= 2; i--) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushcfunction(L, embedded_loader);
    lua_rawseti(L, -2, 2);
    lua_pop(L, 2);
}

/* Length of the directory part, without the slash; 0 when there is none. */
static size_t directory_len(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

static void push_directory(lua_State *L, const char *path) {
    size_t len = directory_len(path);
    if (len > 0) {
        lua_pushlstring(L, path, len);
    } else {
        lua_pushstring(L, path[0] == '/' ? "/" : ".");
    }
}

bool script_load_file(const char *path) {
    lua_State *L = host_state();
    if (luaL_loadfile(L, path) != 0) {
        host_keep_error(lua_tostring(L, -1));
        lua_pop(L, 1);
        return false;
    }
    lua_pushstring(L, path);
    lua_setglobal(L, "__filename");
    push_directory(L, path);
    lua_setglobal(L, "__dirname");
    return true;
}

bool script_load_string(const char *source, const char *name) {
    if (luaL_loadbuffer(host_state(), source, strlen(source), name) == 0) return true;
    host_keep_error(lua_tostring(host_state(), -1));
    lua_pop(host_state(), 1);
    return false;
}

void script_set_arg(char **argv, int argc, int script) {
    lua_State *L = host_state();
    lua_newtable(L);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - script);
    }
    lua_setglobal(L, "arg");
}

static void prepend(lua_State *L, const char *field, const char *directory, const char *templates) {
    lua_getfield(L, -1, field);
    luaL_gsub(L, templates, "@", directory);
    lua_pushfstring(L, "%s;%s", lua_tostring(L, -1), lua_tostring(L, -2));
    lua_setfield(L, -4, field);
    lua_pop(L, 2);
}

void script_add_path(const char *script) {
    lua_State *L = host_state();
    push_directory(L, script);
    const char *directory = lua_tostring(L, -1);
    lua_getglobal(L, "package");
    prepend(L, "path", directory, "@/?.lua;@/?/init.lua");
    prepend(L, "cpath", directory, "@/?.so");
    lua_pop(L, 2);
}
