/* MASTER. The C module `clua.core.master` behind cluster.Master (lua/clua/master.lua). */
#ifndef CLUA_LUA_MASTER_H
#define CLUA_LUA_MASTER_H

#include <lua.h>

/* require "clua.core.master". */
int lua_master_open(lua_State *L);

/* dispatch() is to check everything that it can without touching anything, and to exit. */
void lua_master_test_only(void);

/* The process is about to exit without a proper stop: removes pid file and socket files. */
void lua_master_abandon(void);

/* What the process exits with when its loop has ended. */
int lua_master_exit_status(void);

#endif
