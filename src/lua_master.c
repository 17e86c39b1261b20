/* MASTER. The staircase between master.h, slot.h, pool.h and the policy in lua/clua/: primitives go down, events come up
 * through one Lua function. Pools are named by light userdata, slots by their serial number. */
#include "lua_master.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "answer.h"
#include "control.h"
#include "cpus.h"
#include "listener.h"
#include "loan.h"
#include "lobby.h"
#include "log.h"
#include "lua_blame.h"
#include "lua_host.h"
#include "lua_log.h"
#include "lua_status.h"
#include "lua_systemd.h"
#include "lua_upgrade.h"
#include "master.h"
#include "pidfile.h"
#include "pool.h"
#include "privilege.h"
#include "slot.h"

static int on_event_ref = LUA_NOREF;
static int exit_status;
static bool testing;

void lua_master_test_only(void) {
    testing = true;
}

int lua_master_exit_status(void) {
    return exit_status;
}

void lua_master_abandon(void) {
    for (struct pool *pool = pool_first(); pool; pool = pool->next)
        while (pool->listeners) listener_close(pool->listeners);
    control_remove();
    pidfile_close();
}

/* ---- events up ------------------------------------------------------------------------------------------------ */

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

static int refuse(lua_State *L, const char *why, int err) {
    lua_pushnil(L);
    lua_pushstring(L, why);
    lua_pushstring(L, uv_err_name(err));
    return 3;
}

/* ---- primitives down ------------------------------------------------------------------------------------------ */

static struct pool *check_pool(lua_State *L, int index) {
    luaL_checktype(L, index, LUA_TLIGHTUSERDATA);
    return lua_touserdata(L, index);
}

/* setup(on_event): this process becomes a master */
static int core_setup(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    on_event_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    slot_set_hooks(&slot_events);
    int err = master_open(host_loop(), &master_events);
    if (err < 0) return host_fail(L, err);
    log_role("master");
    lua_pushboolean(L, 1);
    return 1;
}

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

static bool field_boolean(lua_State *L, const char *name) {
    lua_getfield(L, 1, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

static lua_Number field_number(lua_State *L, const char *name) {
    lua_getfield(L, 1, name);
    lua_Number value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value;
}

/* Seconds to milliseconds, at least one when the script asked for any. */
static uint32_t field_ms(lua_State *L, const char *name) {
    lua_Number seconds = field_number(L, name);
    if (seconds <= 0) return 0;
    return seconds < 0.001 ? 1 : seconds > 4000000 ? 4000000000U : (uint32_t)(seconds * 1000);
}

/* pool(options): a pool; the options were checked and completed by clua.master */
static int core_pool(lua_State *L) {
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
        .linger_ms = field_ms(L, "linger"),
        .queue_timeout_ms = field_ms(L, "queue_timeout"),
        .idle_timeout_ms = field_ms(L, "idle_timeout"),
        .queue_max = (uint32_t)field_number(L, "queue_max"),
        .maxc = (uint32_t)field_number(L, "maxc"),
        .max_rss_bytes = (uint64_t)field_number(L, "max_rss"),
        .argc = (uint32_t)field_number(L, "argc"),
        .defer_accept = field_boolean(L, "defer_accept"),
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

/* listen(pool, host or nil, port, path or nil, mode or nil): name and port, or nil, message, code */
static int core_listen(lua_State *L) {
    struct pool *pool = check_pool(L, 1);
    struct listen_spec spec = {
        .host = luaL_optstring(L, 2, ""),
        .port = (uint16_t)luaL_optinteger(L, 3, 0),
        .path = luaL_optstring(L, 4, NULL),
        .mode = (int)luaL_optinteger(L, 5, -1),
    };
    char why[512];
    struct listener *listener;
    int err = listener_open(host_loop(), pool, &spec, &listener, why, sizeof why);
    if (err < 0) {
        lua_pushnil(L);
        lua_pushstring(L, why);
        lua_pushstring(L, uv_err_name(err));
        return 3;
    }
    lua_pushstring(L, listener->name);
    lua_pushinteger(L, listener->port);
    return 2;
}

static int core_accept(lua_State *L) {
    int err = master_accept(check_pool(L, 1));
    if (err < 0) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

/* close(pool, name): no new connections on the listener of that name, or on any */
static int core_close(lua_State *L) {
    struct pool *pool = check_pool(L, 1);
    const char *name = luaL_optstring(L, 2, NULL);
    struct listener *next;
    for (struct listener *listener = pool->listeners; listener; listener = next) {
        next = listener->next;
        if (!name || strcmp(listener->name, name) == 0) listener_close(listener);
    }
    return 0;
}

/* on_demand(pool, whether): "demand" and "idle" are to be told */
static int core_on_demand(lua_State *L) {
    check_pool(L, 1)->on_demand = lua_toboolean(L, 2);
    return 0;
}

/* turn_away(pool): no worker will ever come: ends what is parked, answers what waits */
static int core_turn_away(lua_State *L) {
    struct pool *pool = check_pool(L, 1);
    lobby_turn_away_waiting(pool);
    lobby_end_parked(pool);
    return 0;
}

/* lend(): lends what waits now, not at the end of the turn */
static int core_lend(lua_State *L) {
    (void)L;
    for (struct pool *pool = pool_first(); pool; pool = pool->next) pool_dispatch(pool);
    return 0;
}

/* running(): the start has succeeded; from now on an error of the dispatch script is logged and the cluster lives on */
static int core_running(lua_State *L) {
    (void)L;
    host_set_uncaught(NULL);
    return 0;
}

/* check_user(user, group): true, or nil, message, code; "" is neither */
static int core_check_user(lua_State *L) {
    char why[256];
    int err = privilege_check(luaL_checkstring(L, 1), luaL_checkstring(L, 2), why, sizeof why);
    if (err == 0) {
        lua_pushboolean(L, 1);
        return 1;
    }
    return refuse(L, why, err);
}

/* start(pool, worker_id): serial and pid, or nil, message, code */
static int core_start(lua_State *L) {
    struct pool *pool = check_pool(L, 1);
    struct slot *slot;
    int err = slot_start(host_loop(), pool, (uint32_t)luaL_checkinteger(L, 2), &slot);
    if (err < 0) return host_fail(L, err);
    lua_pushinteger(L, (lua_Integer)slot->serial);
    lua_pushinteger(L, slot->pid);
    return 2;
}

static int step(lua_State *L, enum slot_event event) {
    struct slot *slot = slot_of_serial((uint32_t)luaL_checkinteger(L, 1));
    if (slot) slot_step(slot, event);
    lua_pushboolean(L, slot != NULL);
    return 1;
}

/* retire(serial): finish and exit; false when there is no such slot any more */
static int core_retire(lua_State *L) {
    return step(L, SLOT_EVENT_RETIRE);
}

static int core_kill(lua_State *L) {
    return step(L, SLOT_EVENT_KILL);
}

/* deliver(serial, bytes[, evaluate]): a message, or code to be run; true, or nil, message, code */
static int core_deliver(lua_State *L) {
    static struct channel_message message;
    size_t len;
    struct slot *slot = slot_of_serial((uint32_t)luaL_checkinteger(L, 1));
    const char *bytes = luaL_checklstring(L, 2, &len);
    if (!slot) return host_fail(L, UV_ESRCH);
    if (len > sizeof message.u.bytes) return host_fail(L, UV_E2BIG);
    uint16_t type = lua_toboolean(L, 3) ? CHANNEL_EVALUATE : CHANNEL_DELIVER;
    message.head = (struct channel_head){.type = type, .len = (uint32_t)len};
    memcpy(message.u.bytes, bytes, len);
    int err = slot_send(slot, &message);
    if (err < 0) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

/* answer(serial, what, bytes): true, or nil, message, code */
static int core_answer(lua_State *L) {
    size_t len;
    struct slot *slot = slot_of_serial((uint32_t)luaL_checkinteger(L, 1));
    uint32_t what = (uint32_t)luaL_checkinteger(L, 2);
    const char *bytes = luaL_checklstring(L, 3, &len);
    if (!slot || slot->channel_fd < 0) return host_fail(L, UV_ESRCH);
    int err = answer_send(slot->channel_fd, what, bytes, len);
    if (err < 0) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

/* pidfile(path): true, or nil, message, code */
static int core_pidfile(lua_State *L) {
    char why[512];
    int err = pidfile_open(luaL_checkstring(L, 1), why, sizeof why);
    if (err == 0) {
        lua_pushboolean(L, 1);
        return 1;
    }
    return refuse(L, why, err);
}

static int core_publish_pid(lua_State *L) {
    int err = pidfile_publish();
    if (err < 0) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

/* finish(status, at_once): the workers are gone; the loop ends when the last client has taken its answer, or now */
static int core_finish(lua_State *L) {
    exit_status = (int)luaL_checkinteger(L, 1);
    master_finish(lua_toboolean(L, 2));
    return 0;
}

/* testing(): whether the script is only to be tested (clua -t) */
static int core_testing(lua_State *L) {
    lua_pushboolean(L, testing);
    return 1;
}

/* cpus(): how many this process may use */
static int core_cpus(lua_State *L) {
    lua_pushinteger(L, cpus_usable());
    return 1;
}

/* signal_name(number): "SIGKILL", or "signal 64" */
static int core_signal_name(lua_State *L) {
    int number = (int)luaL_checkinteger(L, 1);
    const char *name = sigabbrev_np(number);
    if (name) {
        lua_pushfstring(L, "SIG%s", name);
    } else {
        lua_pushfstring(L, "signal %d", number);
    }
    return 1;
}

int lua_master_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"setup", core_setup},
        {"pool", core_pool},
        {"listen", core_listen},
        {"accept", core_accept},
        {"close", core_close},
        {"start", core_start},
        {"retire", core_retire},
        {"kill", core_kill},
        {"deliver", core_deliver},
        {"answer", core_answer},
        {"quarantine", lua_blame_quarantine},
        {"workers", lua_status_workers},
        {"counters", lua_status_counters},
        {"itself", lua_status_itself},
        {"pidfile", core_pidfile},
        {"publish_pid", core_publish_pid},
        {"finish", core_finish},
        {"lend", core_lend},
        {"on_demand", core_on_demand},
        {"turn_away", core_turn_away},
        {"check_user", core_check_user},
        {"cpus", core_cpus},
        {"running", core_running},
        {"signal_name", core_signal_name},
        {"snapshot", lua_upgrade_snapshot},
        {"exec", lua_upgrade_exec},
        {"take_state", lua_upgrade_take_state},
        {"adopt_listener", lua_upgrade_adopt_listener},
        {"adopt_pool", lua_upgrade_adopt_pool},
        {"adopt_pidfile", lua_upgrade_adopt_pidfile},
        {"program", lua_upgrade_program},
        {"block", lua_upgrade_block},
        {"unblock", lua_upgrade_unblock},
        {"notify_open", lua_systemd_notify_open},
        {"notify", lua_systemd_notify},
        {"take_inherited", lua_systemd_take},
        {"keep_inherited", lua_systemd_keep},
        {"listen_inherited", lua_systemd_listen},
        {"log_open", lua_log_open},
        {"log_check", lua_log_check},
        {"log_pending", lua_log_pending},
        {"log_pend", lua_log_pend},
        {"log_hold", lua_log_hold},
        {"error_log", lua_log_error_log},
        {"access_log", lua_log_access_log},
        {"access_check", lua_log_access_check},
        {"access_variables", lua_log_access_variables},
        {"hand_logs", lua_log_hand},
        {"log_level", lua_log_level},
        {"log_follow", lua_log_follow},
        {"log_read", lua_log_read},
        {"captures", lua_log_captures},
        {"adopt_captures", lua_log_adopt_captures},
        {"testing", core_testing},
        {NULL, NULL},
    };
    lua_pushlightuserdata(L, &choosers_key);
    lua_newtable(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
