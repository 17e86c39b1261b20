/* MASTER. Events up: every one is a call of one Lua function, with its kind first. */
#include "lua_events.h"

#include <signal.h>
#include <sys/wait.h>

#include "control.h"
#include "lua_blame.h"
#include "lua_host.h"
#include "master.h"
#include "pidfile.h"
#include "pool.h"
#include "slot_life.h"

static int on_event_ref = LUA_NOREF;

static lua_State *begin_event(const char *kind) {
    lua_State *L = host_state();
    luaL_checkstack(L, 12, "master event");
    lua_rawgeti(L, LUA_REGISTRYINDEX, on_event_ref);
    lua_pushstring(L, kind);
    return L;
}

static void push_slot(lua_State *L, const struct slot *slot) {
    lua_pushlightuserdata(L, slot->pool);
    lua_pushinteger(L, (lua_Integer)slot->serial);
}

static void slot_ready(struct slot *slot) {
    push_slot(begin_event("ready"), slot);
    host_run(3, NULL, NULL);
}

/* exit: pool, serial, status or nil, signal or nil, seconds of life, requests, what it was executing, why
 * the master has killed it or nil */
static void slot_gone(struct slot *slot) {
    lua_State *L = begin_event("exit");
    push_slot(L, slot);
    if (WIFEXITED(slot->wait_status)) {
        lua_pushinteger(L, WEXITSTATUS(slot->wait_status));
        lua_pushnil(L);
    } else {
        lua_pushnil(L);
        lua_pushinteger(L, WTERMSIG(slot->wait_status));
    }
    lua_pushnumber(L, (double)(uv_now(slot->channel.loop) - slot->started_at_ms) / 1000.0);
    lua_pushnumber(L, (double)atomic_load_explicit(&slot->segment->figures.scores, memory_order_relaxed));
    lua_blame_push(L, slot);
    lua_pushstring(L, slot->killed_for);
    host_run(9, NULL, NULL);
}

static void slot_leave(struct slot *slot, uint32_t reason) {
    static const char *const names[] = {[LEAVE_TERM] = "term", [LEAVE_MAXC] = "maxc", [LEAVE_MAX_RSS] = "max_rss"};
    if (reason < LEAVE_TERM || reason > LEAVE_MAX_RSS) return;
    lua_State *L = begin_event("leave");
    push_slot(L, slot);
    lua_pushstring(L, names[reason]);
    host_run(4, NULL, NULL);
}

static void slot_broadcast(struct slot *slot, uint32_t pid, const char *name, size_t name_len, const char *bytes,
                           size_t len) {
    lua_State *L = begin_event("broadcast");
    push_slot(L, slot);
    lua_pushnumber(L, pid);
    lua_pushlstring(L, name, name_len);
    lua_pushlstring(L, bytes, len);
    host_run(6, NULL, NULL);
}

static void slot_ask(struct slot *slot, uint32_t what) {
    push_slot(begin_event("ask"), slot);
    lua_pushinteger(host_state(), (lua_Integer)what);
    host_run(4, NULL, NULL);
}

static const struct slot_hooks slot_events = {
    .on_ready = slot_ready,
    .on_gone = slot_gone,
    .on_leave = slot_leave,
    .on_ask = slot_ask,
    .on_broadcast = slot_broadcast,
};

static const struct {
    int number;
    const char *name;
} signal_names[] = {
    {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"},   {SIGQUIT, "SIGQUIT"}, {SIGUSR1, "SIGUSR1"},
    {SIGUSR2, "SIGUSR2"}, {SIGTTIN, "SIGTTIN"}, {SIGTTOU, "SIGTTOU"},
};

static void master_signal(int signum) {
    lua_State *L = begin_event("signal");
    if (signum == MASTER_REOPEN_SIGNAL) lua_pushliteral(L, "reopen");
    for (size_t i = 0; i < sizeof signal_names / sizeof *signal_names; i++)
        if (signal_names[i].number == signum) lua_pushstring(L, signal_names[i].name);
    host_run(2, NULL, NULL);
}

static void master_demand(struct pool *pool) {
    lua_pushlightuserdata(begin_event("demand"), pool);
    host_run(2, NULL, NULL);
}

static void master_idle(struct slot *slot) {
    push_slot(begin_event("idle"), slot);
    host_run(3, NULL, NULL);
}

static void master_finished(void) {
    begin_event("finished");
    host_run(1, NULL, NULL);
    control_remove();
    pidfile_close();
}

static const struct master_hooks master_events = {
    .on_signal = master_signal,
    .on_demand = master_demand,
    .on_idle = master_idle,
    .on_finished = master_finished,
};

int lua_events_open(lua_State *L) {
    on_event_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    slot_set_hooks(&slot_events);
    return master_open(host_loop(), &master_events);
}
