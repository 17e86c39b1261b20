/* WORKER. The staircase between buckets.h and lua/clua/connect/rateLimit.lua. */
#include "lua_buckets.h"

#include <lauxlib.h>
#include <uv.h>

#include "shared.h"

/* take(name, capacity, cost [, now]): whether it was allowed, and how long until the bucket is full again; all in
 * seconds. */
static int core_take(lua_State *L) {
    static const double YEAR_S = 366 * 24 * 3600.0;
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    double capacity = luaL_checknumber(L, 2), cost = luaL_checknumber(L, 3), now = luaL_optnumber(L, 4, -1);
    luaL_argcheck(L, capacity > 0 && capacity <= YEAR_S, 2, "seconds, at most a year");
    luaL_argcheck(L, cost >= 0 && cost <= YEAR_S, 3, "seconds, at most a year");
    struct shared *shared = shared_of_process();
    if (!shared) return luaL_error(L, "take: out of memory");
    uint64_t now_ns = now >= 0 ? (uint64_t)(now * 1e9) : uv_hrtime();
    struct bucket_result result = buckets_take(&shared->buckets, name, len, now_ns, (uint64_t)(capacity * 1e9 + 0.5),
                                               (uint64_t)(cost * 1e9 + 0.5));
    lua_pushboolean(L, result.allowed);
    lua_pushnumber(L, (double)result.missing_ns / 1e9);
    return 2;
}

int lua_buckets_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"take", core_take},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
