/* WORKER. The staircase between http_*.c and lua/clua/http.lua. */
#ifndef CLUA_LUA_HTTP_H
#define CLUA_LUA_HTTP_H

#include <stdbool.h>

#include <lua.h>

#include "http_connection.h"

/* require "clua.core.http". */
int lua_http_open(lua_State *L);

/* What a script holds as req and res: a box around the exchange, emptied when the exchange ends. Fields that the script
 * sets live in a table of its own (the userdata's environment), made when the first is set. */
struct http_box {
    const struct lua_http_class *class; /* which of the two; also tells a box from another userdata */
    struct http_exchange *exchange;     /* NULL: over */
    unsigned pins;                      /* reasons to keep it although no script may hold it */
    bool has_fields, finished, gone, given_up;
};

/* ---- shared by the lua_http_*.c only ---- */

struct lua_http_server {
    struct http_config config;
    int request, upgrade, body_limit, error; /* Lua functions */
    int self;                                /* keeps it alive while connections need it */
    unsigned connections;
};

extern const struct http_hooks lua_http_hooks; /* their server is a struct lua_http_server */

/* References: the metatables of req and res, and the function that calls listeners. */
extern int lua_http_request_meta, lua_http_response_meta, lua_http_emit;

/* Runs the function below one argument on top of L as a part of the request's handler; pops them. */
void lua_http_attend(lua_State *L, struct http_box *req);

uint64_t lua_http_bytes(double bytes);

/* The box at index, or an argument error. Its exchange may be NULL. */
struct http_box *lua_http_check(lua_State *L, int index, const struct lua_http_class *class);

/* Pushes nil, message, "ECLOSED" and returns 3. */
int lua_http_closed(lua_State *L);

/* Pushes nil, message, code for what http_body_take() and http_response_*() return; raises for wrong use. */
int lua_http_fail(lua_State *L, const char *function, int err, const char *why);

/* Registers the metatable of a class. The table of methods, which http.lua adds to, is left on the stack. fields:
 * names of what is made when asked for, ended by NULL; get pushes the value of the n-th, from 0. */
struct lua_http_class {
    const char *name;
    const char *const *fields;
    int (*get)(lua_State *L, struct http_box *box, int field);
    lua_CFunction newindex;
    const struct luaL_Reg *methods;
};
void lua_http_class(lua_State *L, const struct lua_http_class *class);

/* Sets a field of the script's own: stack as in __newindex. */
int lua_http_set_field(lua_State *L, struct http_box *box);

/* Adds what lua/clua/http/file.lua calls to the table on top of the stack. */
void lua_http_file_open(lua_State *L);

/* default_header(res, name, value): res:setHeader, unless the field is set already. */
int lua_http_default_header(lua_State *L);

/* Parks the running coroutine as the exchange's reader or writer; `return` what it returns. */
int lua_http_wait(lua_State *L, void **waiter, int *ref);

void lua_http_request_open(lua_State *L);

extern const struct lua_http_class lua_http_request_class, lua_http_response_class;

/* Pushes what a waiting reader gets: the number of values, or 0 when it must go on waiting. */
int lua_http_push_body(lua_State *L, struct http_exchange *exchange);

/* Pushes the value of a request's field, all of that name joined, and returns 1; 0 when there is none. */
int lua_http_push_header(lua_State *L, const struct http_head *head, const char *lower, size_t len);

#endif
