/* MASTER. See lua_upgrade.h. The table is the only place where the two generations of a master must agree: what is added
 * to it raises UPGRADE_STATE_VERSION, and a binary that does not know the version refuses the upgrade beforehand. */
#include "lua_upgrade.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "listener.h"
#include "loan.h"
#include "lobby.h"
#include "lua_field.h"
#include "lua_host.h"
#include "lua_totals.h"
#include "pidfile.h"
#include "pool.h"
#include "slot_life.h"
#include "upgrade.h"

static uint64_t now_ms(void) {
    return uv_now(host_loop());
}

/* ---- snapshot ------------------------------------------------------------------------------------------------- */

static void push_listeners(lua_State *L, const struct pool *pool) {
    int i = 0;
    lua_newtable(L);
    for (const struct listener *listener = pool->listeners; listener; listener = listener->next) {
        lua_createtable(L, 0, 4);
        set_number(L, "fd", listener->fd);
        lua_pushstring(L, listener->name);
        lua_setfield(L, -2, "name");
        if (listener->path) {
            lua_pushstring(L, listener->path);
            lua_setfield(L, -2, "path");
        }
        lua_rawseti(L, -2, ++i);
    }
}

static void push_taken(lua_State *L, const struct slot *slot) {
    int i = 0;
    lua_newtable(L);
    for (uint32_t loan = 0; (loan = loan_next_taken(slot, loan)) < SEGMENT_LOANS; loan++) {
        lua_pushinteger(L, (lua_Integer)loan);
        lua_rawseti(L, -2, ++i);
    }
}

static void push_slots(lua_State *L, const struct pool *pool) {
    int i = 0;
    lua_newtable(L);
    for (const struct slot *slot = pool->slots; slot; slot = slot->next) {
        if (slot->state == SLOT_GONE) continue;
        lua_createtable(L, 0, 16);
        set_number(L, "serial", slot->serial);
        set_number(L, "id", slot->worker_id);
        set_number(L, "pid", slot->pid);
        set_number(L, "state", slot->state);
        set_number(L, "channel_fd", slot->channel_fd);
        set_number(L, "segment_fd", slot->segment_fd);
        set_number(L, "ring_tail", slot->ring_tail);
        set_number(L, "sent", slot->sent);
        set_number(L, "handed", (double)slot->handed);
        set_number(L, "place", slot->place);
        set_number(L, "term_timeout_ms", slot->term_timeout_ms);
        set_number(L, "age_ms", (double)(now_ms() - slot->started_at_ms));
        set_number(L, "deadline_ms",
                   slot->deadline_ms > now_ms() ? (double)(slot->deadline_ms - now_ms()) : slot->deadline_ms != 0);
        set_boolean(L, "was_ready", slot->ready_at_ms != 0);
        set_boolean(L, "drain_unsent", slot->drain_unsent);
        set_boolean(L, "has_unowned", slot->has_unowned);
        push_taken(L, slot);
        lua_setfield(L, -2, "taken");
        lua_rawseti(L, -2, ++i);
    }
}

/* Nine numbers a connection, one after the other: there may be many thousand. */
enum {
    FIELD_FD,
    FIELD_PLACE,
    FIELD_PORT,
    FIELD_LENT,
    FIELD_SERIAL,
    FIELD_LOAN,
    FIELD_LEFT_MS,
    FIELD_UNOWNED,
    FIELD_WRITTEN,
    FIELDS
};

static void push_connections(lua_State *L, const struct pool *pool) {
    int i = 0;
    lua_newtable(L);
    for (struct connection *connection = NULL; (connection = connection_after(connection));) {
        if (connection->pool != pool) continue;
        bool lent = connection->place == CONNECTION_LENT;
        uint64_t deadline = wheel_is_set(&connection->deadline) ? connection->deadline.deadline_ms : 0;
        const double fields[FIELDS] = {
            [FIELD_FD] = connection->fd,
            [FIELD_PLACE] = connection->place,
            [FIELD_PORT] = connection->port,
            [FIELD_LENT] = connection->lent,
            [FIELD_SERIAL] = lent ? connection->slot->serial : 0,
            [FIELD_LOAN] = lent ? connection->loan : 0,
            [FIELD_LEFT_MS] = deadline > now_ms() ? (double)(deadline - now_ms()) : deadline != 0,
            [FIELD_UNOWNED] = connection->unowned,
            [FIELD_WRITTEN] = connection->written,
        };
        for (int field = 0; field < FIELDS; field++) {
            lua_pushnumber(L, fields[field]);
            lua_rawseti(L, -2, ++i);
        }
    }
}

int lua_upgrade_snapshot(lua_State *L) {
    int i = 0;
    lua_newtable(L);
    set_number(L, "version", UPGRADE_STATE_VERSION);
    set_number(L, "layout", SEGMENT_LAYOUT);
    set_number(L, "pidfile_fd", pidfile_fd());
    lua_newtable(L);
    for (const struct pool *pool = pool_first(); pool; pool = pool->next) {
        lua_createtable(L, 0, 12);
        lua_pushstring(L, pool->options.name);
        lua_setfield(L, -2, "name");
        set_number(L, "generation", pool->generation);
        set_number(L, "shared_fd", pool->shared_fd);
        set_boolean(L, "clients_speak_first", pool->clients_speak_first);
        set_number(L, "accepted", (double)pool->accepted);
        set_number(L, "turned_away", (double)pool->turned_away);
        set_number(L, "lost", (double)pool->lost);
        set_number(L, "broken", (double)pool->broken);
        set_number(L, "stolen", (double)pool->stolen);
        lua_totals_push(L, pool);
        lua_setfield(L, -2, "totals");
        push_listeners(L, pool);
        lua_setfield(L, -2, "listeners");
        push_slots(L, pool);
        lua_setfield(L, -2, "slots");
        push_connections(L, pool);
        lua_setfield(L, -2, "connections");
        lua_rawseti(L, -2, ++i);
    }
    lua_setfield(L, -2, "pools");
    return 1;
}

int lua_upgrade_exec(lua_State *L) {
    size_t len;
    const char *state = luaL_checklstring(L, 1, &len);
    return host_fail(L, upgrade_exec(state, len));
}

/* ---- adopting ------------------------------------------------------------------------------------------------- */

int lua_upgrade_take_state(lua_State *L) {
    char *state;
    size_t len;
    if (upgrade_take_state(&state, &len) < 0) return 0;
    lua_pushlstring(L, state, len);
    free(state);
    return 1;
}

int lua_upgrade_adopt_listener(lua_State *L) {
    luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
    int fd = (int)luaL_checkinteger(L, 2);
    struct listener *listener;
    int err = listener_adopt(host_loop(), lua_touserdata(L, 1), fd, luaL_optstring(L, 3, NULL), &listener);
    if (err < 0) return host_fail(L, err);
    listener->inherited = lua_toboolean(L, 4);
    lua_pushstring(L, listener->name);
    return 1;
}

/* The slot at the top of the stack; its serial is pushed. */
static int adopt_slot(lua_State *L, struct pool *pool, struct slot **out) {
    int at = lua_gettop(L);
    double deadline = number_at(L, at, "deadline_ms");
    struct slot known = {
        .worker_id = (uint32_t)number_at(L, at, "id"),
        .pid = (pid_t)number_at(L, at, "pid"),
        .state = (enum slot_state)number_at(L, at, "state"),
        .channel_fd = (int)number_at(L, at, "channel_fd"),
        .segment_fd = (int)number_at(L, at, "segment_fd"),
        .ring_tail = (uint32_t)number_at(L, at, "ring_tail"),
        .sent = (uint32_t)number_at(L, at, "sent"),
        .handed = (uint64_t)number_at(L, at, "handed"),
        .place = (uint32_t)number_at(L, at, "place"),
        .term_timeout_ms = (uint32_t)number_at(L, at, "term_timeout_ms"),
        .started_at_ms = now_ms() - (uint64_t)number_at(L, at, "age_ms"),
        .ready_at_ms = boolean_at(L, at, "was_ready") ? now_ms() : 0,
        .deadline_ms = deadline > 0 ? now_ms() + (uint64_t)deadline : 0,
        .sent_at_ms = now_ms(),
        .idle_since_ms = now_ms(),
        .drain_unsent = boolean_at(L, at, "drain_unsent"),
        .has_unowned = boolean_at(L, at, "has_unowned"),
    };
    int err = slot_adopt(host_loop(), pool, &known, out);
    if (err < 0) return err;
    if (known.drain_unsent) slot_want_write(*out);
    lua_getfield(L, at, "taken");
    int count = (int)lua_objlen(L, -1);
    for (int i = 1; i <= count && err == 0; i++) {
        lua_rawgeti(L, -1, i);
        err = loan_adopt(*out, (uint32_t)lua_tonumber(L, -1), NULL);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return err;
}

static struct slot *slot_known_as(struct slot **slots, const double *serials, int count, double serial) {
    for (int i = 0; i < count; i++)
        if (serials[i] == serial) return slots[i];
    return NULL;
}

static void place_connection(struct connection *connection, const double *fields, struct slot *slot) {
    struct pool *pool = connection->pool;
    switch ((enum connection_place)fields[FIELD_PLACE]) {
    case CONNECTION_LENT:
        connection->unowned = fields[FIELD_UNOWNED] != 0;
        if (slot && loan_adopt(slot, (uint32_t)fields[FIELD_LOAN], connection) == 0) return;
        break;
    case CONNECTION_PARKED:
        lobby_park(connection, (uint32_t)fields[FIELD_LEFT_MS]);
        return;
    case CONNECTION_FAREWELL:
        lobby_farewell(connection, "", 0);
        return;
    case CONNECTION_WAITING:
    case CONNECTION_NEW:
        lobby_wait(connection, CONNECTION_LAST);
        return;
    }
    lobby_farewell(connection, pool->options.lost, pool->options.lost_len);
}

/* The array of numbers at the top of the stack. */
static int adopt_connections(lua_State *L, struct pool *pool, struct slot **slots, const double *serials,
                             int slot_count) {
    int count = (int)lua_objlen(L, -1) / FIELDS;
    for (int i = 0; i < count; i++) {
        double fields[FIELDS];
        for (int field = 0; field < FIELDS; field++) {
            lua_rawgeti(L, -1, i * FIELDS + field + 1);
            fields[field] = lua_tonumber(L, -1);
            lua_pop(L, 1);
        }
        int fd = (int)fields[FIELD_FD];
        struct connection *connection = connection_new(pool, fd, (uint16_t)fields[FIELD_PORT]);
        if (!connection) return UV_ENOMEM;
        if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
        connection->lent = (uint32_t)fields[FIELD_LENT];
        connection->written = (uint32_t)fields[FIELD_WRITTEN];
        place_connection(connection, fields, slot_known_as(slots, serials, slot_count, fields[FIELD_SERIAL]));
    }
    return 0;
}

int lua_upgrade_adopt_pool(lua_State *L) {
    enum { SLOTS_MAX = 4096 };
    static struct slot *slots[SLOTS_MAX];
    static double serials[SLOTS_MAX];
    luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
    luaL_checktype(L, 2, LUA_TTABLE);
    struct pool *pool = lua_touserdata(L, 1);
    pool->generation = (uint32_t)number_at(L, 2, "generation");
    pool->shared_fd = (int)number_at(L, 2, "shared_fd");
    if (pool->shared_fd >= 0) fcntl(pool->shared_fd, F_SETFD, FD_CLOEXEC);
    pool->clients_speak_first = boolean_at(L, 2, "clients_speak_first");
    pool->accepted = (uint64_t)number_at(L, 2, "accepted");
    pool->turned_away = (uint64_t)number_at(L, 2, "turned_away");
    pool->lost = (uint64_t)number_at(L, 2, "lost");
    pool->broken = (uint64_t)number_at(L, 2, "broken");
    pool->stolen = (uint64_t)number_at(L, 2, "stolen");
    lua_getfield(L, 2, "totals");
    int err = lua_totals_adopt(L, pool);
    if (err == 0) err = pool_share(pool);
    lua_pop(L, 1);
    lua_newtable(L);
    lua_getfield(L, 2, "slots");
    int count = (int)lua_objlen(L, -1);
    if (count > SLOTS_MAX) err = UV_E2BIG;
    /* From the last to the first: each is put in front of the list. */
    for (int i = count; i >= 1 && err == 0; i--) {
        lua_rawgeti(L, -1, i);
        serials[i - 1] = number_at(L, lua_gettop(L), "serial");
        err = adopt_slot(L, pool, &slots[i - 1]);
        lua_pop(L, 1);
        if (err < 0) break;
        lua_pushinteger(L, (lua_Integer)slots[i - 1]->serial);
        lua_rawseti(L, -3, i);
    }
    lua_pop(L, 1);
    lua_getfield(L, 2, "connections");
    if (err == 0) err = adopt_connections(L, pool, slots, serials, count);
    lua_pop(L, 1);
    for (int i = 0; i < count && err == 0; i++) loan_adopted(slots[i]);
    return err < 0 ? host_fail(L, err) : 1;
}

int lua_upgrade_adopt_pidfile(lua_State *L) {
    pidfile_adopt((int)luaL_checkinteger(L, 1), luaL_checkstring(L, 2));
    return 0;
}

int lua_upgrade_program(lua_State *L) {
    lua_pushstring(L, upgrade_program());
    lua_pushinteger(L, UPGRADE_STATE_VERSION);
    lua_pushinteger(L, SEGMENT_LAYOUT);
    lua_pushstring(L, upgrade_directory());
    return 4;
}

int lua_upgrade_block(lua_State *L) {
    (void)L;
    upgrade_block_signals();
    return 0;
}

int lua_upgrade_unblock(lua_State *L) {
    (void)L;
    upgrade_unblock_signals();
    return 0;
}

int lua_upgrade_adopted(lua_State *L) {
    (void)L;
    upgrade_adopted();
    return 0;
}
