/* MASTER. What a worker was executing, for the policy; and the lines that workers are told to refuse. */
#ifndef CLUA_LUA_BLAME_H
#define CLUA_LUA_BLAME_H

#include <lua.h>

#include "slot.h"

/* Pushes an array of { line, len, running }: the requests in execution by the worker's word, the one whose code ran
 * first. `line` is the beginning of the line, untrusted bytes; `len` the length of all of it. */
void lua_blame_push(lua_State *L, const struct slot *slot);

/* quarantine(serial, line, len, seconds): true, or nil, message, code */
int lua_blame_quarantine(lua_State *L);

#endif
