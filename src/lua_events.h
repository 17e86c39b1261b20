/* MASTER. What slots and the master's turn have to tell, told to lua/clua/master/events.lua. */
#ifndef CLUA_LUA_EVENTS_H
#define CLUA_LUA_EVENTS_H

#include <lua.h>

/* This process becomes a master; the function on top of the stack, which is popped, is told its events. 0 or UV_E*. */
int lua_events_open(lua_State *L);

#endif
