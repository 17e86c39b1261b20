/* WORKER. The C module `clua.core.worker` behind cluster.Worker (lua/clua/worker.lua). */
#ifndef CLUA_LUA_WORKER_H
#define CLUA_LUA_WORKER_H

#include <lua.h>

/* require "clua.core.worker". */
int lua_worker_open(lua_State *L);

#endif
