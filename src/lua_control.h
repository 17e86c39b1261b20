/* MASTER, and the commands that look for one. The staircase between control.h and lua/clua/control/. */
#ifndef CLUA_LUA_CONTROL_H
#define CLUA_LUA_CONTROL_H

#include <lua.h>

/* The module clua.core.control */
int lua_control_open(lua_State *L);

#endif
