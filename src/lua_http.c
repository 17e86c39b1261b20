/* WORKER. The hooks through which a connection reaches Lua; see lua_http.h.
 *
 * A request that is answered before its handler returns costs two small userdata and one run of a pooled coroutine. Only
 * when the handler goes on later are the boxes put into the registry (pinned), so that the exchange can empty them. */
#include "lua_http.h"

#include <string.h>

#include <lauxlib.h>
#include <uv.h>

#include "http_connection.h"
#include "http_response.h"
#include "log.h"
#include "lua_host.h"

int lua_http_request_meta = LUA_NOREF, lua_http_response_meta = LUA_NOREF, lua_http_emit = LUA_NOREF;

/* ---- boxes ---------------------------------------------------------------------------------------------------- */

static struct http_box *push_box(lua_State *L, struct http_exchange *exchange, const struct lua_http_class *class,
                                 int meta) {
    struct http_box *box = lua_newuserdata(L, sizeof *box);
    *box = (struct http_box){.class = class, .exchange = exchange};
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

/* ---- failures ------------------------------------------------------------------------------------------------- */

/* Pinned, so that what runs meanwhile may wait and yet find them. */
static void push_pair(lua_State *L, const struct http_exchange *exchange) {
    if (exchange && exchange->owner.request) {
        push_pinned(L, exchange->owner.request);
        push_pinned(L, exchange->owner.response);
    } else {
        lua_pushnil(L);
        lua_pushnil(L);
    }
}

/* A listener for errors has failed itself, or has returned: what it has not answered is answered now. */
static void listener_done(void *data, enum task_status status, const char *error) {
    struct http_box *res = data;
    if (status == TASK_FAILED) log_write(CLUA_LOG_ERROR, "the server's error listener has failed: %s", error);
    if (!res) return;
    if (res->exchange) http_exchange_failed(res->exchange);
    unpin(host_state(), res);
}

/* Code of the script that belongs to a request has raised an error; an error when the request is over already concerns
 * nobody but the log. */
static void failed(struct http_exchange *exchange, const char *error) {
    lua_State *L = host_state();
    if (!exchange) {
        log_write(CLUA_LOG_ERROR, "a handler has failed after its request was over: %s", error);
        return;
    }
    const struct lua_http_server *server = exchange->connection->server;
    if (server->error == LUA_NOREF) {
        const struct http_head *head = &exchange->head;
        log_write(CLUA_LOG_ERROR, "cannot answer %.*s: %s", (int)(head->target + head->target_len), head->base, error);
        http_exchange_failed(exchange);
        return;
    }
    struct http_box *res = exchange->owner.response;
    lua_checkstack(L, 8);
    if (res) res->pins++;
    lua_rawgeti(L, LUA_REGISTRYINDEX, server->error);
    lua_pushstring(L, error);
    push_pair(L, exchange);
    enum task_status status = host_run(3, listener_done, res);
    if (status != TASK_SUSPENDED) listener_done(res, status, host_error());
}

/* The task of a handler has ended. res: NULL when its request was over before it began. */
static void handler_done(void *data, enum task_status status, const char *error) {
    struct http_box *res = data;
    if (status == TASK_FAILED) failed(res ? res->exchange : NULL, error);
    if (res) unpin(host_state(), res);
}

/* Calls the listeners of the object at index, if the script has set any. */
static void emit(lua_State *L, const struct http_box *box, int index, const char *event) {
    if (!box->has_fields) return;
    lua_getfenv(L, index);
    lua_getfield(L, -1, "_events");
    bool listens = !lua_isnil(L, -1);
    lua_pop(L, 2);
    if (!listens) return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, lua_http_emit);
    lua_pushvalue(L, index);
    lua_pushstring(L, event);
    if (host_run(2, handler_done, NULL) != TASK_FAILED) return;
    failed(box->exchange && box->exchange->owner.request ? box->exchange : NULL, host_error());
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

static void on_request(struct http_exchange *exchange) {
    lua_State *L = host_state();
    const struct lua_http_server *server = exchange->connection->server;
    lua_checkstack(L, 12);
    int request = lua_gettop(L) + 1, response = request + 1;
    exchange->owner.request = push_box(L, exchange, &lua_http_request_class, lua_http_request_meta);
    struct http_box *res = push_box(L, exchange, &lua_http_response_class, lua_http_response_meta);
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
        pin(L, exchange->owner.request, request);
        pin(L, res, response);
        failed(exchange, host_error());
        unpin(L, exchange->owner.request);
        unpin(L, res);
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

void lua_http_attend(lua_State *L, struct http_box *req) {
    lua_State *M = host_state();
    struct http_box *res = req->exchange ? req->exchange->owner.response : NULL;
    if (res) res->pins++;
    luaL_checkstack(M, 2, "arguments");
    lua_xmove(L, M, 2);
    enum task_status status = host_run(1, handler_done, res);
    if (status != TASK_SUSPENDED) handler_done(res, status, host_error());
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
    if (!req && !exchange->owner.reader && !exchange->owner.writer) return;
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

uint64_t lua_http_bytes(double bytes) {
    return bytes >= 9e15 ? UINT64_MAX : bytes > 0 ? (uint64_t)bytes : 0;
}

/* Asks the server's function, with a request that has no response yet. It must not wait: without an answer the limit
 * stays as it is. */
static uint64_t on_body_limit(struct http_exchange *exchange) {
    lua_State *L = host_state();
    const struct lua_http_server *server = exchange->connection->server;
    uint64_t limit = exchange->body_limit;
    if (server->body_limit == LUA_NOREF) return limit;
    lua_checkstack(L, 8);
    struct http_box *req = push_box(L, exchange, &lua_http_request_class, lua_http_request_meta);
    lua_rawgeti(L, LUA_REGISTRYINDEX, server->body_limit);
    lua_pushvalue(L, -2);
    enum task_status status = host_run1(1, handler_done, NULL);
    if (status == TASK_FINISHED) {
        if (lua_type(L, -1) == LUA_TNUMBER) limit = lua_http_bytes(lua_tonumber(L, -1));
        lua_pop(L, 1);
    } else if (status == TASK_FAILED) {
        log_write(CLUA_LOG_ERROR, "maxBodySize has failed: %s", host_error());
    }
    req->exchange = NULL;
    lua_pop(L, 1);
    return limit;
}

/* The script's function takes the socket out by core.release(req). */
static void on_upgrade(struct http_exchange *exchange) {
    lua_State *L = host_state();
    const struct lua_http_server *server = exchange->connection->server;
    lua_checkstack(L, 8);
    struct http_box *req = push_box(L, exchange, &lua_http_request_class, lua_http_request_meta);
    lua_rawgeti(L, LUA_REGISTRYINDEX, server->upgrade);
    lua_pushvalue(L, -2);
    if (host_run(1, handler_done, NULL) == TASK_FAILED) failed(exchange, host_error());
    req->exchange = NULL;
    if (exchange->response == HTTP_RESPONSE_OPEN && !exchange->connection->error) http_exchange_failed(exchange);
    lua_pop(L, 1);
}

static void on_closed(struct http_connection *connection) {
    struct lua_http_server *server = connection->server;
    if (--server->connections > 0) return;
    luaL_unref(host_state(), LUA_REGISTRYINDEX, server->self);
    server->self = LUA_NOREF;
}

const struct http_hooks lua_http_hooks = {
    .on_request = on_request,
    .on_ended = on_ended,
    .on_readable = on_readable,
    .on_writable = on_writable,
    .on_gone = on_gone,
    .on_body_limit = on_body_limit,
    .on_upgrade = on_upgrade,
    .on_closed = on_closed,
};
