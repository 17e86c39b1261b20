/* MASTER. See lua_systemd.h. */
#include "lua_systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "listener.h"
#include "lua_host.h"
#include "systemd.h"

int lua_systemd_notify_open(lua_State *L) {
    int err = systemd_notify_open(luaL_checkstring(L, 1));
    if (err < 0) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

int lua_systemd_notify(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    int err = systemd_notify(text, len);
    if (err < 0) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

int lua_systemd_take(lua_State *L) {
    int fd = (int)luaL_checkinteger(L, 1);
    char name[LISTENER_NAME_LEN];
    int err = systemd_take(fd);
    if (err == 0) err = listener_name_of(fd, name, sizeof name, NULL);
    if (err < 0) return host_fail(L, err);
    lua_pushstring(L, name);
    return 1;
}

int lua_systemd_keep(lua_State *L) {
    systemd_keep((int)luaL_checkinteger(L, 1), lua_toboolean(L, 2));
    return 0;
}

int lua_systemd_listen(lua_State *L) {
    luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
    int inherited = (int)luaL_checkinteger(L, 2);
    struct listener *listener;
    int fd = fcntl(inherited, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return host_fail(L, uv_translate_sys_error(errno));
    int err = listener_adopt(host_loop(), lua_touserdata(L, 1), fd, NULL, &listener);
    if (err < 0) {
        close(fd);
        return host_fail(L, err);
    }
    listener->inherited = true;
    lua_pushstring(L, listener->name);
    return 1;
}
