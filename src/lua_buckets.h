/* WORKER. require "clua.core.buckets": the token buckets that the workers of a registration share. */
#ifndef CLUA_LUA_BUCKETS_H
#define CLUA_LUA_BUCKETS_H

#include <lua.h>

int lua_buckets_open(lua_State *L);

#endif
