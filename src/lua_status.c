/* MASTER. See lua_status.h. All figures of a worker are its own word. */
#include "lua_status.h"

#include <string.h>

#include <lauxlib.h>

#include "lua_field.h"
#include "lua_host.h"
#include "lua_totals.h"
#include "master.h"
#include "pool.h"
#include "process.h"
#include "slot.h"

/* Values that the worker published; read twice if it wrote meanwhile, then shown as they are. */
static void push_values(lua_State *L, const struct segment *segment) {
    struct segment_value values[SEGMENT_VALUES];
    for (int attempt = 0; attempt < 2; attempt++) {
        uint32_t version = atomic_load(&segment->values_version);
        memcpy(values, segment->values, sizeof values);
        if ((version & 1) == 0 && atomic_load(&segment->values_version) == version) break;
    }
    lua_newtable(L);
    for (int i = 0; i < SEGMENT_VALUES && values[i].key[0]; i++) {
        lua_pushlstring(L, values[i].key, strnlen(values[i].key, sizeof values[i].key));
        lua_pushlstring(L, values[i].value, strnlen(values[i].value, sizeof values[i].value));
        lua_rawset(L, -3);
    }
}

/* workers(pool): array of what is known of each worker */
int lua_status_workers(lua_State *L) {
    luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
    struct pool *pool = lua_touserdata(L, 1);
    int i = 0;
    lua_newtable(L);
    for (struct slot *slot = pool->slots; slot; slot = slot->next) {
        const struct figures *figures = &slot->segment->figures;
        if (slot->state == SLOT_GONE) continue;
        lua_createtable(L, 0, 16);
        set_number(L, "id", slot->worker_id);
        set_number(L, "serial", slot->serial);
        set_number(L, "pid", slot->pid);
        set_number(L, "remain", atomic_load_explicit(&figures->remain, memory_order_relaxed));
        set_number(L, "scores", (double)atomic_load_explicit(&figures->scores, memory_order_relaxed));
        set_number(L, "loans", slot->outstanding);
        set_number(L, "handed", (double)slot->handed);
        set_number(L, "rss", (double)atomic_load_explicit(&figures->rss_bytes, memory_order_relaxed));
        set_number(L, "lua_heap", (double)atomic_load_explicit(&figures->lua_heap_bytes, memory_order_relaxed));
        set_number(L, "loop_lag", atomic_load_explicit(&figures->loop_lag_us, memory_order_relaxed) / 1e6);
        set_number(L, "cpu", (double)atomic_load_explicit(&figures->cpu_us, memory_order_relaxed) / 1e6);
        set_number(L, "age", (double)(uv_now(host_loop()) - slot->started_at_ms) / 1000.0);
        lua_pushboolean(L, slot->stuck);
        lua_setfield(L, -2, "stuck");
        lua_pushstring(L, slot_state_name(slot->state));
        lua_setfield(L, -2, "state");
        push_values(L, slot->segment);
        lua_setfield(L, -2, "values");
        lua_rawseti(L, -2, ++i);
    }
    return 1;
}

/* counters(pool) */
int lua_status_counters(lua_State *L) {
    luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
    struct pool *pool = lua_touserdata(L, 1);
    lua_createtable(L, 0, 16);
    set_number(L, "accepted", (double)pool->accepted);
    set_number(L, "turned_away", (double)pool->turned_away);
    set_number(L, "lost", (double)pool->lost);
    set_number(L, "broken", (double)pool->broken);
    set_number(L, "stolen", (double)pool->stolen);
    set_number(L, "waiting", pool->waiting_count);
    set_number(L, "parked", pool->parked_count);
    set_number(L, "starts", pool->generation);
    lua_totals_show(L, pool);
    return 1;
}

int lua_status_itself(lua_State *L) {
    lua_createtable(L, 0, 12);
    set_number(L, "fds", process_fd_count());
    set_number(L, "max_fds", process_fd_limit());
    set_string(L, "version", CLUA_VERSION);
    set_string(L, "luajit", host_version());
    set_string(L, "libuv", uv_version_string());
    set_number(L, "rss", (double)process_rss_bytes());
    set_number(L, "lua_heap", lua_gc(L, LUA_GCCOUNT, 0) * 1024.0 + lua_gc(L, LUA_GCCOUNTB, 0));
    set_number(L, "loop_lag", master_loop_lag_ms() / 1e3);
    set_number(L, "cpu", (double)process_cpu_us() / 1e6);
    return 1;
}
