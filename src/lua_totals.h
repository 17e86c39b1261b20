/* MASTER. The totals and histograms of a pool as Lua tables: for status, and across an upgrade. */
#ifndef CLUA_LUA_TOTALS_H
#define CLUA_LUA_TOTALS_H

#include <lua.h>

struct pool;

/* Adds to the table at the top of the stack what status shows: requests, responses, queue_time, request_time, held,
 * held_time, places. */
void lua_totals_show(lua_State *L, const struct pool *pool);

/* The same numbers, dead workers' only, as a table that adopt() of the next master reads. */
void lua_totals_push(lua_State *L, const struct pool *pool);

/* From the table at the top of the stack. 0 or UV_ENOMEM. */
int lua_totals_adopt(lua_State *L, struct pool *pool);

#endif
