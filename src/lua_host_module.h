/* BOTH. The module clua.core.host: coroutines that wait, and the log. */
#ifndef CLUA_LUA_HOST_MODULE_H
#define CLUA_LUA_HOST_MODULE_H

#include <lua.h>

int lua_host_module_open(lua_State *L);

#endif
