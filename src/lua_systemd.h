/* MASTER. The staircase between systemd.h and lua/clua/systemd.lua. */
#ifndef CLUA_LUA_SYSTEMD_H
#define CLUA_LUA_SYSTEMD_H

#include <lua.h>

/* notify_open(address): true, or nil, message, code */
int lua_systemd_notify_open(lua_State *L);

/* notify(text): true, or nil, message, code; "EAGAIN" when the manager does not keep up */
int lua_systemd_notify(lua_State *L);

/* take_inherited(fd): the name of the listening socket that was handed over, as listeners are named, or nil, message,
 * code. The descriptor is CLOEXEC then in any case. */
int lua_systemd_take(lua_State *L);

/* keep_inherited(fd, keep): whether it survives an exec */
int lua_systemd_keep(lua_State *L);

/* listen_inherited(pool, fd): name, or nil, message, code. The listener gets a duplicate. */
int lua_systemd_listen(lua_State *L);

#endif
