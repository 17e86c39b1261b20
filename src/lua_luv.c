/* BOTH. luv on clua's own loop: its callbacks are tasks, and its walk knows only its own handles. */
#include "lua_luv.h"

#include <luv/luv.h>

#include <luv/lhandle.h>

#include "borrow.h"
#include "lua_host.h"

/* luv's callbacks run as tasks too, so that they may wait. The few that return something to C cannot. */
static int luv_callback(lua_State *L, int nargs, int nresults, int flags) {
    (void)flags;
    borrow_busy(uv_now(host_loop()));
    if (nresults == 0 && L == host_state()) return host_run(nargs, NULL, NULL) == TASK_FAILED ? -LUA_ERRRUN : 0;
    int below = lua_gettop(L) - nargs - 1;
    int status = host_call(L, nargs, nresults);
    if (status != 0) return -status;
    return nresults == LUA_MULTRET ? lua_gettop(L) - below : nresults;
}

/* uv_walk visits clua's own handles too, which luv's walk would take for its own (it aborts): these have no `data`. */
static void collect_handle(uv_handle_t *handle, void *table) {
    const luv_handle_t *known = handle->data;
    lua_State *L = table;
    if (!known) return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, known->ref);
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
}

/* handles(): array of the handles that luv has made */
static int luv_handles(lua_State *L) {
    lua_newtable(L);
    uv_walk(host_loop(), collect_handle, L);
    return 1;
}

/* The table at the top of the stack gets a walk(fn) that knows only luv's own handles. */
static void replace_walk(lua_State *L) {
    static const char source[] = "local handles = ...\n"
                                 "return function(fn) for _, handle in ipairs(handles()) do fn(handle) end end\n";
    if (luaL_loadbuffer(L, source, sizeof source - 1, "=clua.walk") != 0) lua_error(L);
    lua_pushcfunction(L, luv_handles);
    if (host_call(L, 1, 1) != 0) luaL_error(L, "%s", host_error());
    lua_setfield(L, -2, "walk");
}

int lua_luv_open(lua_State *L) {
    lua_State *M = host_state(); /* luv keeps the state that opens it, and must not keep a coroutine */
    luv_set_loop(M, host_loop());
    luv_set_callback(M, luv_callback);
    luaopen_luv(M);
    replace_walk(M);
    if (M != L) lua_xmove(M, L, 1);
    return 1;
}
