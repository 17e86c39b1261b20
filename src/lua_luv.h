/* BOTH. The module "luv". */
#ifndef CLUA_LUA_LUV_H
#define CLUA_LUA_LUV_H

#include <lua.h>

int lua_luv_open(lua_State *L);

#endif
