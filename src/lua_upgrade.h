/* MASTER. The state of a master as a Lua table, for an upgrade in place (see upgrade.h and lua/clua/upgrade.lua). */
#ifndef CLUA_LUA_UPGRADE_H
#define CLUA_LUA_UPGRADE_H

#include <lua.h>

/* snapshot(): { version, layout, pidfile_fd, pools = { { name, generation, clients_speak_first, listeners, slots,
 * connections } } }. Times are cut to what is left of them. */
int lua_upgrade_snapshot(lua_State *L);

/* exec(bytes): does not return, or nil, message, code */
int lua_upgrade_exec(lua_State *L);

/* take_state(): bytes of the state that this process was started with, or nil */
int lua_upgrade_take_state(lua_State *L);

/* adopt_listener(pool, fd, path or nil, inherited): name, or nil, message, code */
int lua_upgrade_adopt_listener(lua_State *L);

/* adopt_pool(pool, entry): array of serials in the order of entry.slots, or nil, message, code. Takes over slots and
 * connections; the listeners are the script's to choose. */
int lua_upgrade_adopt_pool(lua_State *L);

/* adopt_pidfile(fd, path) */
int lua_upgrade_adopt_pidfile(lua_State *L);

/* program(): path, state version, segment layout, directory in which it was started */
int lua_upgrade_program(lua_State *L);

/* block(): signals wait in the kernel; unblock(): lets them through again */
int lua_upgrade_block(lua_State *L);
int lua_upgrade_unblock(lua_State *L);

/* adopted(): all is taken over; signals that have come meanwhile are raised */
int lua_upgrade_adopted(lua_State *L);

#endif
