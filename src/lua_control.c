/* MASTER, and the commands that look for one. See lua_control.h. */
#include "lua_control.h"

#include <unistd.h>

#include <lauxlib.h>

#include "control.h"
#include "lua_host.h"

static int done(lua_State *L, int err) {
    if (err < 0) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

/* open(path): descriptor, or nil, message, code */
static int core_open(lua_State *L) {
    char why[512];
    int fd = control_open(luaL_checkstring(L, 1), why, sizeof why);
    if (fd >= 0) {
        lua_pushinteger(L, fd);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, why);
    lua_pushstring(L, uv_err_name(fd));
    return 3;
}

/* adopt(fd, path, link or "") */
static int core_adopt(lua_State *L) {
    control_adopt((int)luaL_checkinteger(L, 1), luaL_checkstring(L, 2), luaL_checkstring(L, 3));
    return 0;
}

/* link(path): true, or nil, message, code */
static int core_link(lua_State *L) {
    return done(L, control_link(luaL_checkstring(L, 1)));
}

static int core_remove(lua_State *L) {
    (void)L;
    control_remove();
    return 0;
}

/* peer(fd): uid, pid, and whether it may give orders here: it is root or who runs this process; nil, message, code */
static int core_peer(lua_State *L) {
    uid_t uid;
    pid_t pid;
    int err = control_peer((int)luaL_checkinteger(L, 1), &uid, &pid);
    if (err < 0) return host_fail(L, err);
    lua_pushnumber(L, uid);
    lua_pushinteger(L, pid);
    lua_pushboolean(L, uid == 0 || uid == geteuid());
    return 3;
}

/* sweep(path): whether somebody listens; if nobody does, the file is removed. nil, message, code when that is unknown */
static int core_sweep(lua_State *L) {
    int live = control_sweep(luaL_checkstring(L, 1));
    if (live < 0) return host_fail(L, live);
    lua_pushboolean(L, live);
    return 1;
}

static int core_uid(lua_State *L) {
    lua_pushnumber(L, geteuid());
    return 1;
}

int lua_control_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"open", core_open}, {"adopt", core_adopt}, {"link", core_link}, {"remove", core_remove},
        {"peer", core_peer}, {"sweep", core_sweep}, {"uid", core_uid},   {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
