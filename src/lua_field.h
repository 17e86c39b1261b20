/* BOTH. Fields of the table on top of the stack, and of one at an index: for what is handed to Lua or comes back from it. */
#ifndef CLUA_LUA_FIELD_H
#define CLUA_LUA_FIELD_H

#include <stdbool.h>

#include <lua.h>

static inline void set_number(lua_State *L, const char *name, double value) {
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

static inline void set_boolean(lua_State *L, const char *name, bool value) {
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

static inline void set_string(lua_State *L, const char *name, const char *value) {
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

static inline double number_at(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    double value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value;
}

static inline bool boolean_at(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

#endif
