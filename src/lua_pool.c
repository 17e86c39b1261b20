/* MASTER. See lua_pool.h. */
#include "lua_pool.h"

#include <stdlib.h>
#include <string.h>

#include "loan.h"
#include "log.h"
#include "lua_field.h"
#include "lua_host.h"
#include "pool.h"
#include "slot.h"

/* ---- a Lua function in place of the balance ------------------------------------------------------------------- */

static char choosers_key; /* registry: table pool -> function(candidates) */

static int choose_in_lua(struct pool *pool, struct slot **slots, int count) {
    lua_State *L = host_state();
    luaL_checkstack(L, 8, "balance");
    lua_pushlightuserdata(L, &choosers_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_pushlightuserdata(L, pool);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    lua_createtable(L, count, 0);
    for (int i = 0; i < count; i++) {
        lua_createtable(L, 0, 5);
        lua_pushinteger(L, (lua_Integer)slots[i]->worker_id);
        lua_setfield(L, -2, "id");
        lua_pushinteger(L, slots[i]->pid);
        lua_setfield(L, -2, "pid");
        lua_pushinteger(L, (lua_Integer)loan_load(slots[i]));
        lua_setfield(L, -2, "remain");
        lua_pushnumber(L, (double)slots[i]->handed);
        lua_setfield(L, -2, "scores");
        lua_pushboolean(L, !loan_has_taken_all(slots[i]));
        lua_setfield(L, -2, "behind");
        lua_rawseti(L, -2, i + 1);
    }
    enum task_status status = host_run1(1, NULL, NULL);
    if (status != TASK_FINISHED) {
        if (status == TASK_SUSPENDED)
            log_write(CLUA_LOG_ERROR, "balance function of %s waits: ignored", pool->options.name);
        return -1;
    }
    int chosen = (int)lua_tointeger(L, -1) - 1;
    lua_pop(L, 1);
    return chosen;
}

/* ---- options -------------------------------------------------------------------------------------------------- */

static char *field_string(lua_State *L, const char *name, size_t *len) {
    size_t length = 0;
    lua_getfield(L, 1, name);
    const char *text = lua_tolstring(L, -1, &length);
    char *copy = text ? malloc(length + 1) : NULL;
    if (copy) memcpy(copy, text, length + 1);
    if (len) *len = copy ? length : 0;
    lua_pop(L, 1);
    return copy;
}

/* Seconds to milliseconds, at least one when the script asked for any. */
static uint32_t field_ms(lua_State *L, const char *name) {
    double seconds = number_at(L, 1, name);
    if (seconds <= 0) return 0;
    return seconds < 0.001 ? 1 : seconds > 4000000 ? 4000000000U : (uint32_t)(seconds * 1000);
}

static bool field_is(lua_State *L, const char *name, const char *text) {
    lua_getfield(L, 1, name);
    bool equal = lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), text) == 0;
    lua_pop(L, 1);
    return equal;
}

int lua_pool_new(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t args_len;
    struct pool_options options = {
        .name = field_string(L, "name", NULL),
        .script = field_string(L, "script", NULL),
        .user = field_string(L, "user", NULL),
        .group = field_string(L, "group", NULL),
        .ready_timeout_ms = field_ms(L, "ready_timeout"),
        .term_timeout_ms = field_ms(L, "term_timeout"),
        .hang_timeout_ms = field_ms(L, "hang_timeout"),
        .steal_after_ms = field_ms(L, "steal_after"),
        .slow_after_ms = field_ms(L, "slow_after"),
        .linger_ms = field_ms(L, "linger"),
        .queue_timeout_ms = field_ms(L, "queue_timeout"),
        .idle_timeout_ms = field_ms(L, "idle_timeout"),
        .queue_max = (uint32_t)number_at(L, 1, "queue_max"),
        .maxc = (uint32_t)number_at(L, 1, "maxc"),
        .max_rss_bytes = (uint64_t)number_at(L, 1, "max_rss"),
        .argc = (uint32_t)number_at(L, 1, "argc"),
        .inherits_output = field_is(L, "output", "inherit"),
        .defer_accept = boolean_at(L, 1, "defer_accept"),
        .sched_batch = boolean_at(L, 1, "sched_batch"),
    };
    options.gone = field_string(L, "gone", &options.gone_len);
    options.lost = field_string(L, "lost", &options.lost_len);
    options.args = field_string(L, "args", &args_len);
    options.args_len = (uint32_t)args_len;
    bool complete = options.name && options.script && options.gone && options.lost && args_len <= SEGMENT_ARGS_BYTES;
    struct pool *pool = complete ? pool_new(&options) : NULL;
    if (!pool) {
        pool_options_free(&options);
        return luaL_error(L, complete ? "out of memory" : "pool: incomplete options");
    }
    lua_getfield(L, 1, "balance");
    if (lua_isfunction(L, -1)) {
        lua_pushlightuserdata(L, &choosers_key);
        lua_rawget(L, LUA_REGISTRYINDEX);
        lua_pushlightuserdata(L, pool);
        lua_pushvalue(L, -3);
        lua_rawset(L, -3);
        pool->choose = choose_in_lua;
    }
    lua_pushlightuserdata(L, pool);
    return 1;
}

void lua_pool_open(lua_State *L) {
    lua_pushlightuserdata(L, &choosers_key);
    lua_newtable(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
}
