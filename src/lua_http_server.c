/* WORKER. clua.core.http: the servers of a script, and what http.lua needs beyond the methods of req and res. */
#include <math.h>
#include <string.h>

#include <lauxlib.h>
#include <uv.h>

#include "http_connection.h"
#include "lua_host.h"
#include "lua_http.h"
#include "lua_socket.h"

static const char *const SERVER = "clua.http.server";

/* header(req or res, name in lower case): a field of the request without making all of them; nil when it has none or
 * the exchange is over. method(req or res). */
static const struct http_exchange *either_box(lua_State *L) {
    const struct http_box *box = lua_touserdata(L, 1);
    bool is_response = box && lua_objlen(L, 1) == sizeof *box && box->class == &lua_http_response_class;
    return lua_http_check(L, 1, is_response ? &lua_http_response_class : &lua_http_request_class)->exchange;
}

static int core_header(lua_State *L) {
    const struct http_exchange *exchange = either_box(L);
    size_t len;
    const char *name = luaL_checklstring(L, 2, &len);
    return exchange ? lua_http_push_header(L, &exchange->head, name, len) : 0;
}

/* give_up(res): what its handler does to it after the end is no mistake, and is not logged: it has been answered for it. */
static int core_give_up(lua_State *L) {
    lua_http_check(L, 1, &lua_http_response_class)->given_up = true;
    return 0;
}

/* release(req): the socket and the bytes behind the request, or nil, message, code. */
static int core_release(lua_State *L) {
    struct http_box *req = lua_http_check(L, 1, &lua_http_request_class);
    const char *rest;
    size_t rest_len;
    if (!req->exchange) return lua_http_closed(L);
    struct stream *stream = http_connection_release(req->exchange->connection, &rest, &rest_len);
    if (!stream) return lua_http_closed(L);
    lua_socket_push(L, stream);
    lua_pushlstring(L, rest, rest_len);
    return 2;
}

/* attend(req, fn): runs fn(req) now, in a coroutine of its own, as a part of the request's handler: an error in it is one
 * of the handler. */
static int core_attend(lua_State *L) {
    struct http_box *req = lua_http_check(L, 1, &lua_http_request_class);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    lua_insert(L, 1);
    lua_http_attend(L, req);
    return 0;
}

static double number_field(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    double number = luaL_checknumber(L, -1);
    lua_pop(L, 1);
    return number;
}

static uint32_t count_field(lua_State *L, int index, const char *name) {
    double number = number_field(L, index, name);
    return number >= UINT32_MAX ? UINT32_MAX : (uint32_t)number;
}

static uint32_t ms_field(lua_State *L, int index, const char *name) {
    double ms = ceil(number_field(L, index, name) * 1000);
    return ms >= INT32_MAX ? INT32_MAX : (uint32_t)ms;
}

/* server(options): the options of createServer, all of them, as http.lua has completed them. */
static int core_server(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    struct http_config config = {
        .max_head_bytes = count_field(L, 1, "maxHeaderSize"),
        .max_url_bytes = count_field(L, 1, "maxUrlSize"),
        .max_headers = count_field(L, 1, "maxHeaders"),
        .max_body_bytes = lua_http_bytes(number_field(L, 1, "maxBodySize")),
        .head_timeout_ms = ms_field(L, 1, "headersTimeout"),
        .body_timeout_ms = ms_field(L, 1, "bodyTimeout"),
        .keep_alive_timeout_ms = ms_field(L, 1, "keepAliveTimeout"),
        .write_timeout_ms = ms_field(L, 1, "writeTimeout"),
    };
    struct lua_http_server *server = lua_newuserdata(L, sizeof *server);
    *server = (struct lua_http_server){
        .config = config,
        .request = LUA_NOREF,
        .upgrade = LUA_NOREF,
        .body_limit = LUA_NOREF,
        .error = LUA_NOREF,
        .self = LUA_NOREF,
    };
    luaL_getmetatable(L, SERVER);
    lua_setmetatable(L, -2);
    return 1;
}

/* server:on(which, function or nil): "request", "upgrade", "bodyLimit", "error". */
static int server_on(lua_State *L) {
    static const char *const names[] = {"request", "upgrade", "bodyLimit", "error", NULL};
    struct lua_http_server *server = luaL_checkudata(L, 1, SERVER);
    int which = luaL_checkoption(L, 2, NULL, names);
    if (!lua_isnoneornil(L, 3)) luaL_checktype(L, 3, LUA_TFUNCTION);
    int *const refs[] = {&server->request, &server->upgrade, &server->body_limit, &server->error};
    int *ref = refs[which];
    luaL_unref(L, LUA_REGISTRYINDEX, *ref);
    *ref = LUA_NOREF;
    lua_settop(L, 3);
    if (!lua_isnil(L, 3)) *ref = luaL_ref(L, LUA_REGISTRYINDEX);
    if (which == 1) server->config.upgrades = *ref != LUA_NOREF;
    return 0;
}

/* server:serve(socket): true, or nil, message, code. */
static int server_serve(lua_State *L) {
    struct lua_http_server *server = luaL_checkudata(L, 1, SERVER);
    if (server->request == LUA_NOREF) return luaL_error(L, "the server has no request handler");
    struct stream *stream = lua_socket_take(L, 2);
    if (!stream) return lua_http_closed(L);
    int err = http_connection_open(stream, &server->config, &lua_http_hooks, server);
    if (err < 0) return host_fail(L, err);
    if (server->connections++ == 0) {
        lua_pushvalue(L, 1);
        server->self = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int server_gc(lua_State *L) {
    struct lua_http_server *server = luaL_checkudata(L, 1, SERVER);
    luaL_unref(L, LUA_REGISTRYINDEX, server->request);
    luaL_unref(L, LUA_REGISTRYINDEX, server->upgrade);
    luaL_unref(L, LUA_REGISTRYINDEX, server->body_limit);
    luaL_unref(L, LUA_REGISTRYINDEX, server->error);
    return 0;
}

/* emit(function(object, event)): called for the events of req and res. */
static int core_emit(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    luaL_unref(L, LUA_REGISTRYINDEX, lua_http_emit);
    lua_http_emit = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

int lua_http_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"server", core_server},
        {"emit", core_emit},
        {"release", core_release},
        {"give_up", core_give_up},
        {"header", core_header},
        {"attend", core_attend},
        {"default_header", lua_http_default_header},
        {NULL, NULL},
    };
    static const luaL_Reg server_methods[] = {{"on", server_on}, {"serve", server_serve}, {NULL, NULL}};
    static const luaL_Reg server_meta[] = {{"__gc", server_gc}, {NULL, NULL}};
    lua_http_request_open(L);
    host_metatable(L, SERVER, server_methods, server_meta);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_http_file_open(L);
    lua_http_class(L, &lua_http_request_class);
    lua_setfield(L, -2, "request");
    lua_http_class(L, &lua_http_response_class);
    lua_setfield(L, -2, "response");
    luaL_getmetatable(L, lua_http_request_class.name);
    lua_http_request_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    luaL_getmetatable(L, lua_http_response_class.name);
    lua_http_response_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    return 1;
}
