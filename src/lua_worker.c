/* WORKER. The staircase between worker*.h and lua/clua/worker.lua: hands loans, messages and the end to one Lua function
 * each. Also loaded in processes that are no worker, where is_worker() says so. */
#include "lua_worker.h"

#include <string.h>

#include "borrow.h"
#include "lua_host.h"
#include "lua_socket.h"
#include "stream.h"
#include "worker.h"
#include "worker_figures.h"
#include "worker_send.h"
#include "worker_state.h"

/* The Lua functions, as registry references. */
static int on_loan_ref = LUA_NOREF, on_event_ref = LUA_NOREF;

static void worker_loan(struct stream *stream) {
    lua_State *L = host_state();
    luaL_checkstack(L, 8, "loan");
    lua_rawgeti(L, LUA_REGISTRYINDEX, on_loan_ref);
    lua_socket_push(L, stream);
    lua_pushinteger(L, stream->port);
    host_run(2, NULL, NULL);
}

static void run_event(const char *kind, const char *bytes, size_t len) {
    lua_State *L = host_state();
    if (on_event_ref == LUA_NOREF) return;
    luaL_checkstack(L, 4, "worker event");
    lua_rawgeti(L, LUA_REGISTRYINDEX, on_event_ref);
    lua_pushstring(L, kind);
    lua_pushlstring(L, bytes, len);
    host_run(2, NULL, NULL);
}

static void worker_message(const char *bytes, size_t len) {
    run_event("message", bytes, len);
}

static void worker_evaluate(const char *bytes, size_t len) {
    run_event("evaluate", bytes, len);
}

/* on_event("answer", bytes, what); bytes "": it could not be taken */
static void worker_answer(uint32_t what, const char *bytes, size_t len) {
    lua_State *L = host_state();
    if (on_event_ref == LUA_NOREF) return;
    luaL_checkstack(L, 5, "answer");
    lua_rawgeti(L, LUA_REGISTRYINDEX, on_event_ref);
    lua_pushliteral(L, "answer");
    lua_pushlstring(L, bytes ? bytes : "", len);
    lua_pushinteger(L, (lua_Integer)what);
    host_run(3, NULL, NULL);
}

static void worker_drain(void) {
    run_event("drain", "", 0);
}

static void worker_exit(void) {
    run_event("exit", "", 0);
}

static size_t heap_bytes(void) {
    lua_State *L = host_state();
    return (size_t)lua_gc(L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB, 0);
}

static const struct worker_hooks hooks = {
    .on_loan = worker_loan,
    .on_message = worker_message,
    .on_evaluate = worker_evaluate,
    .on_answer = worker_answer,
    .on_drain = worker_drain,
    .on_exit = worker_exit,
    .heap_bytes = heap_bytes,
};

/* setup(on_event): on_event(kind, bytes) for "message", "evaluate", "answer", "drain", "exit" */
static int core_setup(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_unref(L, LUA_REGISTRYINDEX, on_event_ref);
    lua_settop(L, 1);
    on_event_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    worker_set_hooks(&hooks);
    return 0;
}

/* ready(on_loan, term_timeout_ms) */
static int core_ready(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_Number timeout = luaL_checknumber(L, 2);
    luaL_argcheck(L, timeout >= 0 && timeout <= UINT32_MAX, 2, "milliseconds out of range");
    luaL_unref(L, LUA_REGISTRYINDEX, on_loan_ref);
    lua_pushvalue(L, 1);
    on_loan_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    worker_ready(&hooks, (uint32_t)timeout);
    return 0;
}

/* boot(): table of what the master said, nil in a process that is no worker */
static int core_boot(lua_State *L) {
    const struct boot *boot = worker_boot();
    if (!boot) return 0;
    lua_newtable(L);
    lua_pushinteger(L, (lua_Integer)boot->worker_id);
    lua_setfield(L, -2, "id");
    lua_pushinteger(L, (lua_Integer)boot->generation);
    lua_setfield(L, -2, "generation");
    lua_pushstring(L, boot->name);
    lua_setfield(L, -2, "name");
    lua_pushnumber(L, boot->term_timeout_ms / 1000.0);
    lua_setfield(L, -2, "term_timeout");
    return 1;
}

static int core_transact(lua_State *L) {
    (void)L;
    worker_request_begin();
    return 0;
}

static int core_release(lua_State *L) {
    if (!lua_isnoneornil(L, 1)) {
        lua_Number remain = luaL_checknumber(L, 1);
        luaL_argcheck(L, remain >= 0 && remain <= INT32_MAX, 1, "remain must not be negative");
        worker_set_remain((int32_t)remain + 1); /* the request that ends is counted once more below */
    }
    worker_request_end();
    return 0;
}

/* figures(): remain, scores */
static int core_figures(lua_State *L) {
    struct figures *figures = borrow_figures();
    lua_pushinteger(L, atomic_load_explicit(&figures->remain, memory_order_relaxed));
    lua_pushnumber(L, (lua_Number)atomic_load_explicit(&figures->scores, memory_order_relaxed));
    return 2;
}

static int core_monset(lua_State *L) {
    size_t key_len;
    const char *key = luaL_checklstring(L, 1, &key_len);
    luaL_argcheck(L, key_len > 0 && key_len < SEGMENT_KEY_BYTES, 1, "key must have 1 to 31 bytes");
    int err = worker_set_value(key, luaL_checkstring(L, 2));
    if (err < 0) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

/* broadcast(name, bytes, pid): true, or nil, message, code */
static int core_broadcast(lua_State *L) {
    size_t len;
    const char *name = luaL_checkstring(L, 1);
    const char *bytes = luaL_checklstring(L, 2, &len);
    lua_Integer pid = luaL_optinteger(L, 3, 0);
    int err = worker_broadcast(name, bytes, len, (uint32_t)pid);
    if (err < 0) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

/* ask(what): true, or nil, message, code */
static int core_ask(lua_State *L) {
    int err = worker_ask((uint32_t)luaL_checkinteger(L, 1));
    if (err < 0) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

static int core_leave(lua_State *L) {
    (void)L;
    worker_leave();
    return 0;
}

int lua_worker_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"setup", core_setup},
        {"ready", core_ready},
        {"boot", core_boot},
        {"transact", core_transact},
        {"release", core_release},
        {"figures", core_figures},
        {"monset", core_monset},
        {"broadcast", core_broadcast},
        {"ask", core_ask},
        {"leave", core_leave},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
