/* MASTER. What the master knows of its pools and workers, as Lua tables. */
#ifndef CLUA_LUA_STATUS_H
#define CLUA_LUA_STATUS_H

#include <lua.h>

/* workers(pool): array of { id, serial, pid, state, stuck, remain, scores, loans, handed, rss, lua_heap (bytes), loop_lag,
 * age, cpu (seconds), values }. */
int lua_status_workers(lua_State *L);

/* counters(pool): { accepted, turned_away, lost, broken, stolen, waiting, parked, starts, requests, responses, queue_time,
 * request_time, held, held_time, places }; see lua_totals.c for the last ones. */
int lua_status_counters(lua_State *L);

/* itself(): the master: { version, luajit, libuv, fds, max_fds, rss, lua_heap (bytes), loop_lag, cpu (seconds) }. */
int lua_status_itself(lua_State *L);

#endif
