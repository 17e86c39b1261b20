/* WORKER. Servers, and the hooks through which a connection reaches Lua; see lua_http.h.
 *
 * A request that is answered before its handler returns costs two small userdata and one run of a pooled coroutine. Only
 * when the handler goes on later are the boxes put into the registry (pinned), so that the exchange can empty them. */
#include "lua_http.h"

#include <math.h>
#include <string.h>

#include <lauxlib.h>
#include <uv.h>

#include "http_connection.h"
#include "http_response.h"
#include "log.h"
#include "lua_host.h"
#include "lua_socket.h"
#include "worker.h"

static const char *const SERVER = "clua.http.server";

struct server {
    struct http_config config;
    int request, upgrade, body_limit; /* Lua functions */
    int self;                         /* keeps it alive while connections need it */
    unsigned connections;
};

static int request_meta = LUA_NOREF, response_meta = LUA_NOREF, emit_function = LUA_NOREF;

/* ---- boxes ---------------------------------------------------------------------------------------------------- */

static struct http_box *push_box(lua_State *L, struct http_exchange *exchange, const void *kind, int meta) {
    struct http_box *box = lua_newuserdata(L, sizeof *box);
    *box = (struct http_box){.kind = kind, .exchange = exchange};
    lua_rawgeti(L, LUA_REGISTRYINDEX, meta);
    lua_setmetatable(L, -2);
    return box;
}

static void push_pinned(lua_State *L, struct http_box *box) {
    lua_pushlightuserdata(L, box);
    lua_rawget(L, LUA_REGISTRYINDEX);
}

/* The box is the value at index. */
static void pin(lua_State *L, struct http_box *box, int index) {
    if (box->pins++ > 0) return;
    lua_pushlightuserdata(L, box);
    lua_pushvalue(L, index);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

static void unpin(lua_State *L, struct http_box *box) {
    if (--box->pins > 0) return;
    lua_pushlightuserdata(L, box);
    lua_pushnil(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

/* Calls the listeners of the object at index, if the script has set any. */
static void emit(lua_State *L, const struct http_box *box, int index, const char *event) {
    if (!box->has_fields) return;
    lua_getfenv(L, index);
    lua_getfield(L, -1, "_events");
    bool listens = !lua_isnil(L, -1);
    lua_pop(L, 2);
    if (!listens) return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, emit_function);
    lua_pushvalue(L, index);
    lua_pushstring(L, event);
    host_run(2, NULL, NULL);
}

/* Over for the script: the boxes at these indices are emptied. */
static void empty_boxes(lua_State *L, struct http_exchange *exchange, int request, int response, bool complete) {
    struct http_box *req = exchange->owner.request, *res = exchange->owner.response;
    exchange->owner.request = NULL;
    exchange->owner.response = NULL;
    if (complete) {
        emit(L, res, response, "finish");
    } else {
        if (!req->gone) emit(L, req, request, "close");
        emit(L, res, response, "close");
    }
    res->finished = exchange->response == HTTP_RESPONSE_ENDED && exchange->refusal == 0;
    req->exchange = NULL;
    res->exchange = NULL;
}

/* ---- the handler ---------------------------------------------------------------------------------------------- */

static void handler_failed(struct http_exchange *exchange, const char *error) {
    const struct http_head *head = &exchange->head;
    log_write(CLUA_LOG_ERROR, "cannot answer %.*s: %s", (int)(head->target + head->target_len), head->base, error);
    http_exchange_failed(exchange);
}

/* The task of a handler that had been suspended has ended. */
static void handler_done(void *data, enum task_status status, const char *error) {
    struct http_box *res = data;
    if (status == TASK_FAILED) {
        if (res->exchange) {
            handler_failed(res->exchange, error);
        } else {
            host_uncaught(error);
        }
    }
    unpin(host_state(), res);
}

static void on_request(struct http_exchange *exchange) {
    lua_State *L = host_state();
    const struct server *server = exchange->connection->server;
    lua_checkstack(L, 12);
    int request = lua_gettop(L) + 1, response = request + 1;
    exchange->owner.request = push_box(L, exchange, &lua_http_request_kind, request_meta);
    struct http_box *res = push_box(L, exchange, &lua_http_response_kind, response_meta);
    exchange->owner.response = res;
    lua_rawgeti(L, LUA_REGISTRYINDEX, server->request);
    lua_pushvalue(L, request);
    lua_pushvalue(L, response);
    switch (host_run(2, handler_done, res)) {
    case TASK_FINISHED:
        break;
    case TASK_SUSPENDED:
        pin(L, res, response);
        break;
    case TASK_FAILED:
        handler_failed(exchange, host_error());
        break;
    }
    if (exchange->response == HTTP_RESPONSE_ENDED && !exchange->owner.reader && !exchange->owner.writer) {
        empty_boxes(L, exchange, request, response, true);
    } else {
        pin(L, exchange->owner.request, request);
        pin(L, res, response);
    }
    lua_settop(L, request - 1);
}

/* ---- waking --------------------------------------------------------------------------------------------------- */

/* Resumes the waiter with the nargs values on top of L. */
static void wake(lua_State *L, void **waiter, int *ref, int nargs) {
    lua_State *co = *waiter;
    int held = *ref;
    *waiter = NULL;
    host_resume(L, co, nargs);
    luaL_unref(L, LUA_REGISTRYINDEX, held);
}

static void on_readable(struct http_exchange *exchange) {
    lua_State *L = host_state();
    if (!exchange->owner.reader) return;
    lua_checkstack(L, 8);
    int pushed = lua_http_push_body(L, exchange);
    if (pushed > 0) wake(L, &exchange->owner.reader, &exchange->owner.reader_ref, pushed);
}

static void on_writable(struct http_exchange *exchange) {
    lua_State *L = host_state();
    struct http_box *res = exchange->owner.response;
    lua_checkstack(L, 8);
    if (exchange->owner.writer) {
        int pushed = 1;
        if (exchange->connection->error || exchange->refusal) {
            pushed = lua_http_closed(L);
        } else {
            lua_pushboolean(L, 1);
        }
        wake(L, &exchange->owner.writer, &exchange->owner.writer_ref, pushed);
    } else if (res && res->pins > 0 && exchange->response != HTTP_RESPONSE_ENDED && !exchange->connection->error) {
        push_pinned(L, res);
        emit(L, res, lua_gettop(L), "drain");
        lua_pop(L, 1);
    }
}

static void on_gone(struct http_exchange *exchange) {
    lua_State *L = host_state();
    struct http_box *req = exchange->owner.request;
    if (!req || req->gone) return;
    req->gone = true;
    lua_checkstack(L, 8);
    push_pinned(L, req);
    emit(L, req, lua_gettop(L), "close");
    lua_pop(L, 1);
}

static void on_ended(struct http_exchange *exchange, bool complete) {
    lua_State *L = host_state();
    struct http_box *req = exchange->owner.request, *res = exchange->owner.response;
    lua_checkstack(L, 12);
    if (exchange->owner.reader) wake(L, &exchange->owner.reader, &exchange->owner.reader_ref, lua_http_closed(L));
    if (exchange->owner.writer) wake(L, &exchange->owner.writer, &exchange->owner.writer_ref, lua_http_closed(L));
    if (!req) return;
    push_pinned(L, req);
    push_pinned(L, res);
    int response = lua_gettop(L);
    empty_boxes(L, exchange, response - 1, response, complete);
    unpin(L, req);
    unpin(L, res);
    lua_settop(L, response - 2);
}

/* ---- limits and upgrades -------------------------------------------------------------------------------------- */

static uint64_t to_bytes(double bytes) {
    return bytes >= 9e15 ? UINT64_MAX : bytes > 0 ? (uint64_t)bytes : 0;
}

/* Asks the server's function, with a request that has no response yet. */
static uint64_t on_body_limit(struct http_exchange *exchange) {
    lua_State *L = host_state();
    const struct server *server = exchange->connection->server;
    uint64_t limit = exchange->body_limit;
    if (server->body_limit == LUA_NOREF) return limit;
    lua_checkstack(L, 8);
    struct http_box *req = push_box(L, exchange, &lua_http_request_kind, request_meta);
    lua_rawgeti(L, LUA_REGISTRYINDEX, server->body_limit);
    lua_pushvalue(L, -2);
    if (host_run1(1, NULL, NULL) == TASK_FINISHED) {
        if (lua_type(L, -1) == LUA_TNUMBER) limit = to_bytes(lua_tonumber(L, -1));
        lua_pop(L, 1);
    }
    req->exchange = NULL;
    lua_pop(L, 1);
    return limit;
}

/* The script's function takes the socket out by core.release(req). */
static void on_upgrade(struct http_exchange *exchange) {
    lua_State *L = host_state();
    const struct server *server = exchange->connection->server;
    lua_checkstack(L, 8);
    struct http_box *req = push_box(L, exchange, &lua_http_request_kind, request_meta);
    lua_rawgeti(L, LUA_REGISTRYINDEX, server->upgrade);
    lua_pushvalue(L, -2);
    host_run(1, NULL, NULL);
    req->exchange = NULL;
    if (exchange->response == HTTP_RESPONSE_OPEN && !exchange->connection->error) http_exchange_failed(exchange);
    lua_pop(L, 1);
}

/* header(req or res, name in lower case): a field of the request without making all of them; nil when it has none or
 * the exchange is over. method(req or res). */
static const struct http_exchange *either_box(lua_State *L) {
    const struct http_box *box = lua_touserdata(L, 1);
    bool is_response = box && lua_objlen(L, 1) == sizeof *box && box->kind == &lua_http_response_kind;
    return lua_http_check(L, 1, is_response ? &lua_http_response_kind : &lua_http_request_kind)->exchange;
}

static int core_header(lua_State *L) {
    const struct http_exchange *exchange = either_box(L);
    size_t len;
    const char *name = luaL_checklstring(L, 2, &len);
    return exchange ? lua_http_push_header(L, &exchange->head, name, len) : 0;
}

static int core_method(lua_State *L) {
    const struct http_exchange *exchange = either_box(L);
    if (!exchange) return 0;
    lua_pushlstring(L, exchange->head.base, exchange->head.target - 1);
    return 1;
}

/* release(req): the socket and the bytes behind the request, or nil, message, code. */
static int core_release(lua_State *L) {
    struct http_box *req = lua_http_check(L, 1, &lua_http_request_kind);
    const char *rest;
    size_t rest_len;
    if (!req->exchange) return lua_http_closed(L);
    struct stream *stream = http_connection_release(req->exchange->connection, &rest, &rest_len);
    if (!stream) return lua_http_closed(L);
    lua_socket_push(L, stream);
    lua_pushlstring(L, rest, rest_len);
    return 2;
}

static void on_closed(struct http_connection *connection) {
    struct server *server = connection->server;
    if (--server->connections > 0) return;
    luaL_unref(host_state(), LUA_REGISTRYINDEX, server->self);
    server->self = LUA_NOREF;
}

static const struct http_hooks hooks = {
    .on_request = on_request,
    .on_ended = on_ended,
    .on_readable = on_readable,
    .on_writable = on_writable,
    .on_gone = on_gone,
    .on_body_limit = on_body_limit,
    .on_upgrade = on_upgrade,
    .on_closed = on_closed,
};

/* ---- clua.core.http ------------------------------------------------------------------------------------------- */

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
        .max_body_bytes = to_bytes(number_field(L, 1, "maxBodySize")),
        .head_timeout_ms = ms_field(L, 1, "headersTimeout"),
        .body_timeout_ms = ms_field(L, 1, "bodyTimeout"),
        .keep_alive_timeout_ms = ms_field(L, 1, "keepAliveTimeout"),
        .write_timeout_ms = ms_field(L, 1, "writeTimeout"),
    };
    struct server *server = lua_newuserdata(L, sizeof *server);
    *server = (struct server){
        .config = config,
        .request = LUA_NOREF,
        .upgrade = LUA_NOREF,
        .body_limit = LUA_NOREF,
        .self = LUA_NOREF,
    };
    luaL_getmetatable(L, SERVER);
    lua_setmetatable(L, -2);
    return 1;
}

/* server:on(which, function or nil): "request", "upgrade", "bodyLimit". */
static int server_on(lua_State *L) {
    static const char *const names[] = {"request", "upgrade", "bodyLimit", NULL};
    struct server *server = luaL_checkudata(L, 1, SERVER);
    int which = luaL_checkoption(L, 2, NULL, names);
    if (!lua_isnoneornil(L, 3)) luaL_checktype(L, 3, LUA_TFUNCTION);
    int *ref = which == 0 ? &server->request : which == 1 ? &server->upgrade : &server->body_limit;
    luaL_unref(L, LUA_REGISTRYINDEX, *ref);
    *ref = LUA_NOREF;
    lua_settop(L, 3);
    if (!lua_isnil(L, 3)) *ref = luaL_ref(L, LUA_REGISTRYINDEX);
    if (which == 1) server->config.upgrades = *ref != LUA_NOREF;
    return 0;
}

/* server:serve(socket): true, or nil, message, code. */
static int server_serve(lua_State *L) {
    struct server *server = luaL_checkudata(L, 1, SERVER);
    if (server->request == LUA_NOREF) return luaL_error(L, "the server has no request handler");
    struct stream *stream = lua_socket_take(L, 2);
    if (!stream) return lua_http_closed(L);
    int err = http_connection_open(stream, &server->config, &hooks, server);
    if (err < 0) return host_fail(L, err);
    if (server->connections++ == 0) {
        lua_pushvalue(L, 1);
        server->self = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int server_gc(lua_State *L) {
    struct server *server = luaL_checkudata(L, 1, SERVER);
    luaL_unref(L, LUA_REGISTRYINDEX, server->request);
    luaL_unref(L, LUA_REGISTRYINDEX, server->upgrade);
    luaL_unref(L, LUA_REGISTRYINDEX, server->body_limit);
    return 0;
}

/* emit(function(object, event)): called for the events of req and res. */
static int core_emit(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    luaL_unref(L, LUA_REGISTRYINDEX, emit_function);
    emit_function = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

int lua_http_open(lua_State *L) {
    static const luaL_Reg functions[] = {{"server", core_server}, {"emit", core_emit},     {"release", core_release},
                                         {"header", core_header}, {"method", core_method}, {NULL, NULL}};
    static const luaL_Reg server_methods[] = {{"on", server_on}, {"serve", server_serve}, {NULL, NULL}};
    static const luaL_Reg server_meta[] = {{"__gc", server_gc}, {NULL, NULL}};
    lua_http_request_open(L);
    host_metatable(L, SERVER, server_methods, server_meta);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_http_class(L, &lua_http_request_class);
    lua_setfield(L, -2, "request");
    lua_http_class(L, &lua_http_response_class);
    lua_setfield(L, -2, "response");
    luaL_getmetatable(L, lua_http_request_class.name);
    request_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    luaL_getmetatable(L, lua_http_response_class.name);
    response_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    return 1;
}
