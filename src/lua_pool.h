/* MASTER. Makes pools of what lua/clua/ says of a registration. */
#ifndef CLUA_LUA_POOL_H
#define CLUA_LUA_POOL_H

#include <lua.h>

/* Before the first pool. Leaves nothing on the stack. */
void lua_pool_open(lua_State *L);

/* pool(options): a pool, as light userdata; the options were checked and completed by clua.master */
int lua_pool_new(lua_State *L);

#endif
