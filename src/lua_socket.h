/* WORKER. The socket object of Lua scripts: a box around a struct stream (see lua/clua/socket.lua for its methods). */
#ifndef CLUA_LUA_SOCKET_H
#define CLUA_LUA_SOCKET_H

#include <lua.h>

#include "stream.h"

/* require "clua.core.socket". */
int lua_socket_open(lua_State *L);

/* Pushes a new socket that owns the stream. May raise an error of memory only. */
void lua_socket_push(lua_State *L, struct stream *stream);

/* Puts a stream into the socket (a table) at index, which has none; what it had is gone. */
void lua_socket_adopt(lua_State *L, int index, struct stream *stream);

/* Takes the stream out of the socket at index: the box is then empty and its methods return nil, message, "ECLOSED".
 * NULL when the box is empty already; raises an argument error when the value is no socket. The caller calls
 * stream_own() at once. */
struct stream *lua_socket_take(lua_State *L, int index);

#endif
