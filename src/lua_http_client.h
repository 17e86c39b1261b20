/* BOTH. The staircase to the parser of HTTP responses. */
#ifndef CLUA_LUA_HTTP_CLIENT_H
#define CLUA_LUA_HTTP_CLIENT_H

#include <lua.h>

/* require "clua.core.http_client". */
int lua_http_client_open(lua_State *L);

#endif
