/* MASTER. See lua_log.h. */
#include "lua_log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>

#include "capture.h"
#include "http_access_format.h"
#include "log.h"
#include "log_file.h"
#include "log_ring.h"
#include "log_sink.h"
#include "lua_host.h"
#include "pool.h"
#include "slot_life.h"
#include "systemd.h"

static int on_lines_ref = LUA_NOREF;

static int done(lua_State *L, int err) {
    if (err < 0) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

int lua_log_open(lua_State *L) {
    static const char *const names[] = {"auto", "time", "priority", NULL};
    int which = luaL_checkoption(L, 1, "auto", names);
    log_set_priorities(which == 2 || (which == 0 && systemd_is_journal(STDERR_FILENO)));
    return done(L, log_sink_open(host_loop()));
}

int lua_log_hold(lua_State *L) {
    if (lua_toboolean(L, 1)) {
        log_sink_hold();
    } else {
        log_sink_release();
    }
    return 0;
}

int lua_log_check(lua_State *L) {
    return done(L, log_file_check(luaL_checkstring(L, 1)));
}

int lua_log_error_log(lua_State *L) {
    return done(L, log_sink_redirect(luaL_checkstring(L, 1)));
}

/* The file of before is open until the new one is. */
int lua_log_access_log(lua_State *L) {
    luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
    struct pool *pool = lua_touserdata(L, 1);
    const char *format = luaL_checkstring(L, 3);
    int fd, err = log_file_open(luaL_checkstring(L, 2), &fd);
    if (err < 0) return host_fail(L, err);
    char *copy = strdup(format);
    if (!copy) {
        close(fd);
        return host_fail(L, UV_ENOMEM);
    }
    if (pool->access_fd >= 0) close(pool->access_fd);
    free(pool->access_format);
    pool->access_fd = fd;
    pool->access_format = copy;
    pool->access_json = lua_toboolean(L, 4);
    return done(L, 0);
}

int lua_log_access_check(lua_State *L) {
    struct http_access_format format;
    char why[128];
    int err = http_access_compile(&format, luaL_checkstring(L, 1), lua_toboolean(L, 2), why, sizeof why);
    if (err == 0) return done(L, 0);
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

int lua_log_access_variables(lua_State *L) {
    const char *name;
    lua_newtable(L);
    for (int i = 0; (name = http_access_variable_name((unsigned)i)); i++) {
        lua_pushstring(L, name);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

int lua_log_hand(lua_State *L) {
    (void)L;
    slot_logs_changed();
    return 0;
}

int lua_log_level(lua_State *L) {
    enum log_level level;
    lua_settop(L, 1);
    lua_pushstring(L, log_level_name(log_level_get()));
    if (lua_isnil(L, 1)) return 1;
    if (log_level_parse(luaL_checkstring(L, 1), &level) < 0)
        return luaL_argerror(L, 1, "level must be debug, info, warn or error");
    log_set_level(level);
    slot_settings_changed();
    return 1;
}

/* ---- followers ------------------------------------------------------------------------------------------------ */

static void on_lines(void) {
    lua_rawgeti(host_state(), LUA_REGISTRYINDEX, on_lines_ref);
    host_run(0, NULL, NULL);
}

int lua_log_follow(lua_State *L) {
    if (!lua_isnoneornil(L, 1)) luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    log_sink_on_lines(lua_isnil(L, 1) ? NULL : on_lines);
    luaL_unref(L, LUA_REGISTRYINDEX, on_lines_ref);
    on_lines_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

int lua_log_read(lua_State *L) {
    static char room[LOG_RING_BYTES];
    uint64_t begin = log_ring_begin();
    lua_Number wanted = luaL_optnumber(L, 1, (lua_Number)begin);
    uint64_t at = wanted >= 0 && wanted < (lua_Number)log_ring_end() ? (uint64_t)wanted : log_ring_end();
    lua_pushlstring(L, room, log_ring_copy(at, room));
    lua_pushnumber(L, (lua_Number)log_ring_end());
    lua_pushboolean(L, at < begin);
    return 3;
}

/* ---- upgrade -------------------------------------------------------------------------------------------------- */

int lua_log_restore(lua_State *L) {
    size_t len;
    const char *lines = luaL_checklstring(L, 1, &len);
    lua_Number position = luaL_checknumber(L, 2);
    if (position >= (lua_Number)len) log_ring_restore(lines, len, (uint64_t)position);
    return 0;
}

int lua_log_pending(lua_State *L) {
    size_t len;
    const char *bytes = log_sink_pending(&len);
    lua_pushlstring(L, bytes, len);
    return 1;
}

int lua_log_pend(lua_State *L) {
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    log_sink_pend(bytes, len);
    return 0;
}

int lua_log_captures(lua_State *L) {
    int i = 0;
    lua_newtable(L);
    for (struct capture *capture = NULL; (capture = capture_after(capture));) {
        lua_createtable(L, 0, 5);
        lua_pushinteger(L, capture->fd);
        lua_setfield(L, -2, "fd");
        lua_pushinteger(L, capture->pid);
        lua_setfield(L, -2, "pid");
        lua_pushinteger(L, capture->level);
        lua_setfield(L, -2, "level");
        lua_pushstring(L, capture->role);
        lua_setfield(L, -2, "role");
        lua_pushlstring(L, capture->line ? capture->line : "", capture->len);
        lua_setfield(L, -2, "rest");
        lua_rawseti(L, -2, ++i);
    }
    return 1;
}

/* The table at the top of the stack. */
static int adopt(lua_State *L) {
    size_t len;
    int at = lua_gettop(L);
    lua_getfield(L, at, "fd");
    lua_getfield(L, at, "pid");
    lua_getfield(L, at, "level");
    lua_getfield(L, at, "role");
    lua_getfield(L, at, "rest");
    int fd = (int)lua_tointeger(L, at + 1), pid = (int)lua_tointeger(L, at + 2);
    const char *rest = luaL_checklstring(L, at + 5, &len);
    struct slot *slot = slot_of_pid(pid);
    struct capture *capture = NULL, **owner = slot ? &slot->capture : &capture;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    int err = capture_open(host_loop(), fd, luaL_checkstring(L, at + 4), pid, owner);
    if (err == 0) {
        capture_continue(*owner, rest, len, (int)lua_tointeger(L, at + 3));
        if (!slot) (*owner)->owner = NULL;
    }
    lua_settop(L, at);
    return err;
}

int lua_log_adopt_captures(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    int count = (int)lua_objlen(L, 1), failure = 0;
    luaL_checkstack(L, 8, "captures");
    /* From the last to the first: each is put in front of the list. */
    for (int i = count; i >= 1; i--) {
        lua_rawgeti(L, 1, i);
        int err = adopt(L);
        lua_pop(L, 1);
        if (err < 0) failure = err;
    }
    return done(L, failure);
}
