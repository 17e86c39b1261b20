/* BOTH. The staircase to connections of our own: opening them, and accepting on sockets that the script listens on. */
#ifndef CLUA_LUA_NET_H
#define CLUA_LUA_NET_H

#include <lua.h>

/* require "clua.core.net". */
int lua_net_open(lua_State *L);

#endif
