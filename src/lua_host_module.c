/* BOTH. The module clua.core.host: what clua's own Lua code asks of its host. */
#include "lua_host_module.h"

#include "log.h"
#include "lua_host.h"

static const char *const task_status_names[] = {
    [TASK_FINISHED] = "finished",
    [TASK_SUSPENDED] = "suspended",
    [TASK_FAILED] = "failed",
};

/* resume(co, ...): "finished", "suspended" or "failed"; an error goes to whoever owns the coroutine. */
static int host_lua_resume(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTHREAD);
    lua_State *co = lua_tothread(L, 1);
    lua_pushstring(L, task_status_names[host_resume(L, co, lua_gettop(L) - 1)]);
    return 1;
}

/* spawn(fn, ...): runs fn in a coroutine of its own until it waits or returns; the same three answers. */
static int host_lua_spawn(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    int count = lua_gettop(L);
    luaL_checkstack(host_state(), count + 1, "arguments");
    lua_xmove(L, host_state(), count);
    lua_pushstring(L, task_status_names[host_run(count - 1, NULL, NULL)]);
    return 1;
}

/* log(level, text) */
static int host_lua_log(lua_State *L) {
    enum log_level level;
    if (log_level_parse(luaL_checkstring(L, 1), &level) < 0)
        return luaL_argerror(L, 1, "level must be debug, info, warn or error");
    log_write(level, "%s", luaL_checkstring(L, 2));
    return 0;
}

static int host_lua_log_level(lua_State *L) {
    enum log_level level;
    if (log_level_parse(luaL_checkstring(L, 1), &level) < 0)
        return luaL_argerror(L, 1, "level must be debug, info, warn or error");
    log_set_level(level);
    return 0;
}

/* interruptible(on): whether SIGINT interrupts the Lua code that is running. */
static int host_lua_interruptible(lua_State *L) {
    int status = host_interruptible(lua_toboolean(L, 1));
    if (status < 0) return host_fail(L, status);
    lua_pushboolean(L, 1);
    return 1;
}

int lua_host_module_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"resume", host_lua_resume},
        {"spawn", host_lua_spawn},
        {"log", host_lua_log},
        {"log_level", host_lua_log_level},
        {"interruptible", host_lua_interruptible},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
