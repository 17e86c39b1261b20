/* MASTER. What the master knows of its pools and workers, as Lua tables. */
#ifndef CLUA_LUA_STATUS_H
#define CLUA_LUA_STATUS_H

#include <lua.h>

/* workers(pool): array of { id, serial, pid, state, stuck, remain, scores, loans, handed, rss, lua_heap (bytes), loop_lag,
 * age (seconds), values }. */
int lua_status_workers(lua_State *L);

/* counters(pool): { accepted, turned_away, lost, stolen, waiting, parked }. */
int lua_status_counters(lua_State *L);

#endif
