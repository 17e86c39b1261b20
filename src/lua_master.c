/* MASTER. The staircase between master.h, slot.h, pool.h and the policy in lua/clua/: primitives go down here, events come
 * up in lua_events.c. Pools are named by light userdata, slots by their serial number. */
#include "lua_master.h"

#include <signal.h>
#include <string.h>

#include "answer.h"
#include "control.h"
#include "cpus.h"
#include "listener.h"
#include "lobby.h"
#include "log.h"
#include "lua_blame.h"
#include "lua_events.h"
#include "lua_host.h"
#include "lua_log.h"
#include "lua_pool.h"
#include "lua_status.h"
#include "lua_systemd.h"
#include "lua_upgrade.h"
#include "master.h"
#include "pidfile.h"
#include "pool.h"
#include "pool_dispatch.h"
#include "privilege.h"
#include "slot_life.h"

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

/* ---- primitives down ------------------------------------------------------------------------------------------ */

static struct pool *check_pool(lua_State *L, int index) {
    luaL_checktype(L, index, LUA_TLIGHTUSERDATA);
    return lua_touserdata(L, index);
}

/* nil, why, code: host_fail() with more to say than the code. */
static int refuse(lua_State *L, const char *why, int err) {
    lua_pushnil(L);
    lua_pushstring(L, why);
    lua_pushstring(L, uv_err_name(err));
    return 3;
}

/* setup(on_event): this process becomes a master */
static int core_setup(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    int err = lua_events_open(L);
    if (err < 0) return host_fail(L, err);
    log_role("master");
    lua_pushboolean(L, 1);
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
    if (err < 0) return refuse(L, why, err);
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

/* settle(pool): whether clients are there that close() would reset; see listener_settle() */
static int core_settle(lua_State *L) {
    bool any = false;
    for (struct listener *listener = check_pool(L, 1)->listeners; listener; listener = listener->next)
        any = listener_settle(listener) || any;
    lua_pushboolean(L, any);
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
        {"pool", lua_pool_new},
        {"listen", core_listen},
        {"accept", core_accept},
        {"settle", core_settle},
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
        {"adopted", lua_upgrade_adopted},
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
        {"log_restore", lua_log_restore},
        {"captures", lua_log_captures},
        {"adopt_captures", lua_log_adopt_captures},
        {"testing", core_testing},
        {NULL, NULL},
    };
    lua_pool_open(L);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
