/* WORKER. res: status, header fields and body of an answer. */
#include <string.h>

#include <lauxlib.h>
#include <uv.h>

#include "http_connection.h"
#include "http_reason.h"
#include "http_response.h"
#include "log.h"
#include "lua_host.h"
#include "lua_http.h"

enum field { STATUS_CODE, STATUS_MESSAGE, HEADERS_SENT, FINISHED, BYTES_WRITTEN };

static const char *const field_names[] = {
    [STATUS_CODE] = "statusCode", [STATUS_MESSAGE] = "statusMessage", [HEADERS_SENT] = "headersSent",
    [FINISHED] = "finished",      [BYTES_WRITTEN] = "bytesWritten",   NULL,
};

static int get(lua_State *L, struct http_box *box, int field) {
    const struct http_exchange *exchange = box->exchange;
    switch ((enum field)field) {
    case STATUS_CODE:
        lua_pushinteger(L, exchange->status);
        break;
    case STATUS_MESSAGE:
        if (exchange->reason.len > 0) {
            lua_pushlstring(L, exchange->reason.data, exchange->reason.len);
        } else {
            lua_pushstring(L, http_reason(exchange->status));
        }
        break;
    case HEADERS_SENT:
        lua_pushboolean(L, exchange->response != HTTP_RESPONSE_OPEN);
        break;
    case FINISHED:
        lua_pushboolean(L, exchange->response == HTTP_RESPONSE_ENDED);
        break;
    case BYTES_WRITTEN:
        lua_pushnumber(L, (double)exchange->written);
        break;
    }
    return 1;
}

/* Writing after the end is the script's mistake, unless it was not the script that ended the answer, or somebody has
 * said that the handler may go on. */
static int over(lua_State *L, const struct http_box *box, const char *function) {
    bool by_script = box->given_up ? false : box->exchange ? box->exchange->refusal == 0 : box->finished;
    if (by_script) {
        luaL_traceback(L, L, "", 1);
        log_write(CLUA_LOG_ERROR, "res:%s was called after the response had ended%s", function, lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    return lua_http_closed(L);
}

static struct http_box *check(lua_State *L) {
    return lua_http_check(L, 1, &lua_http_response_class);
}

static bool is_over(const struct http_box *box) {
    return !box->exchange || box->exchange->response == HTTP_RESPONSE_ENDED;
}

/* ---- head ----------------------------------------------------------------------------------------------------- */

static void check_err(lua_State *L, const char *function, int err, const char *why) {
    if (err < 0) lua_http_fail(L, function, err, why);
}

static void set_value(lua_State *L, struct http_exchange *exchange, const char *function, int name, int value,
                      bool replace) {
    size_t name_len, value_len;
    const char *why = NULL, *name_bytes, *value_bytes;
    if (lua_type(L, name) != LUA_TSTRING) luaL_error(L, "%s: header name must be a string", function);
    name_bytes = lua_tolstring(L, name, &name_len);
    if (lua_type(L, value) != LUA_TSTRING && lua_type(L, value) != LUA_TNUMBER)
        luaL_error(L, "%s: value of header '%s' must be a string, got %s", function, name_bytes,
                   luaL_typename(L, value));
    lua_pushvalue(L, value); /* a number would be changed in the caller's table */
    value_bytes = lua_tolstring(L, -1, &value_len);
    int err = http_response_set_header(exchange, name_bytes, name_len, value_bytes, value_len, replace, &why);
    lua_pop(L, 1);
    check_err(L, function, err, why);
}

/* A value, or an array of values, each of which becomes a line. */
static void set_values(lua_State *L, struct http_exchange *exchange, const char *function, int name, int value) {
    if (!lua_istable(L, value)) {
        set_value(L, exchange, function, name, value, true);
        return;
    }
    size_t name_len;
    const char *why = NULL, *name_bytes = luaL_checklstring(L, name, &name_len);
    int err = http_response_remove_header(exchange, name_bytes, name_len, &why);
    check_err(L, function, err, why);
    for (int i = 1; i <= (int)lua_objlen(L, value); i++) {
        lua_rawgeti(L, value, i);
        set_value(L, exchange, function, name, lua_gettop(L), false);
        lua_pop(L, 1);
    }
}

/* res:setHeader(name, value): value may be an array. Returns res. */
static int response_set_header(lua_State *L) {
    struct http_box *box = check(L);
    luaL_checkany(L, 3);
    if (is_over(box)) return over(L, box, "setHeader");
    set_values(L, box->exchange, "setHeader", 2, 3);
    lua_settop(L, 1);
    return 1;
}

int lua_http_default_header(lua_State *L) {
    struct http_box *box = check(L);
    size_t name_len, value_len;
    const char *name = luaL_checklstring(L, 2, &name_len), *value;
    if (is_over(box)) return over(L, box, "setHeader");
    if (!http_response_get_header(box->exchange, name, name_len, 0, &value, &value_len))
        set_values(L, box->exchange, "setHeader", 2, 3);
    return 0;
}

/* res:getHeader(name): a string, an array when several lines were set, or nil. */
static int response_get_header(lua_State *L) {
    struct http_box *box = check(L);
    size_t name_len, value_len, next_len;
    const char *name = luaL_checklstring(L, 2, &name_len), *value, *next;
    if (!box->exchange || !http_response_get_header(box->exchange, name, name_len, 0, &value, &value_len)) return 0;
    lua_pushlstring(L, value, value_len);
    if (!http_response_get_header(box->exchange, name, name_len, 1, &next, &next_len)) return 1;
    lua_createtable(L, 2, 0);
    for (unsigned n = 0; http_response_get_header(box->exchange, name, name_len, n, &next, &next_len); n++) {
        lua_pushlstring(L, next, next_len);
        lua_rawseti(L, -2, (int)n + 1);
    }
    return 1;
}

/* res:removeHeader(name). Returns res. */
static int response_remove_header(lua_State *L) {
    struct http_box *box = check(L);
    size_t name_len;
    const char *name = luaL_checklstring(L, 2, &name_len), *why = NULL;
    if (is_over(box)) return over(L, box, "removeHeader");
    int err = http_response_remove_header(box->exchange, name, name_len, &why);
    check_err(L, "removeHeader", err, why);
    lua_settop(L, 1);
    return 1;
}

/* res:addTrailer(name, value). Returns res. */
static int response_add_trailer(lua_State *L) {
    struct http_box *box = check(L);
    size_t name_len, value_len;
    const char *name = luaL_checklstring(L, 2, &name_len), *value = luaL_checklstring(L, 3, &value_len), *why = NULL;
    if (is_over(box)) return over(L, box, "addTrailer");
    int err = http_response_add_trailer(box->exchange, name, name_len, value, value_len, &why);
    check_err(L, "addTrailer", err, why);
    lua_settop(L, 1);
    return 1;
}

/* Header fields from a table at index: name = value, or an array of {name, value}. */
static void set_headers(lua_State *L, struct http_exchange *exchange, int index) {
    const char *why = NULL;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        int value = lua_gettop(L), name = value - 1;
        if (lua_type(L, name) == LUA_TNUMBER && lua_istable(L, value)) {
            lua_rawgeti(L, value, 1);
            lua_rawgeti(L, value, 2);
            size_t len = 0;
            const char *bytes = lua_tolstring(L, -2, &len);
            bool several = bytes && (strcasecmp(bytes, "set-cookie") == 0);
            int err = bytes && !several ? http_response_remove_header(exchange, bytes, len, &why) : 0;
            check_err(L, "writeHead", err, why);
            set_value(L, exchange, "writeHead", lua_gettop(L) - 1, lua_gettop(L), false);
            lua_pop(L, 2);
        } else {
            set_values(L, exchange, "writeHead", name, value);
        }
        lua_pop(L, 1);
    }
}

/* res:writeHead(status [, reason] [, headers]): goes out with the first bytes of the body. Returns res. */
static int response_write_head(lua_State *L) {
    struct http_box *box = check(L);
    lua_Integer status = luaL_checkinteger(L, 2);
    size_t reason_len = 0;
    const char *reason = NULL, *why = NULL;
    int headers = 3;
    if (lua_type(L, 3) == LUA_TSTRING) {
        reason = lua_tolstring(L, 3, &reason_len);
        headers = 4;
    }
    if (!lua_isnoneornil(L, headers)) luaL_checktype(L, headers, LUA_TTABLE);
    if (is_over(box)) return over(L, box, "writeHead");
    int err = http_response_set_status(box->exchange, status, reason, reason_len, &why);
    check_err(L, "writeHead", err, why);
    if (lua_istable(L, headers)) set_headers(L, box->exchange, headers);
    lua_settop(L, 1);
    return 1;
}

static int newindex(lua_State *L) {
    struct http_box *box = check(L);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "", *why = NULL;
    struct http_exchange *exchange = box->exchange;
    bool code = strcmp(name, "statusCode") == 0;
    if (!code && strcmp(name, "statusMessage") != 0) return lua_http_set_field(L, box);
    if (is_over(box)) {
        over(L, box, name);
        return 0;
    }
    int err;
    if (code) {
        /* The phrase of before goes with the status of before. */
        err = http_response_set_status(exchange, luaL_checkinteger(L, 3), NULL, 0, &why);
    } else {
        size_t len;
        const char *reason = luaL_checklstring(L, 3, &len);
        err = http_response_set_status(exchange, exchange->status, reason, len, &why);
    }
    check_err(L, name, err, why);
    return 0;
}

/* ---- body ----------------------------------------------------------------------------------------------------- */

static const char *body_argument(lua_State *L, size_t *len) {
    *len = 0;
    return lua_isnoneornil(L, 2) ? NULL : luaL_checklstring(L, 2, len);
}

/* res:write(bytes): true; false when the client should be waited for but this is no coroutine (event "drain" follows);
 * nil, message, code when the client is gone. In a coroutine it waits itself. */
static int response_write(lua_State *L) {
    struct http_box *box = check(L);
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len), *why = NULL;
    struct http_exchange *exchange = box->exchange;
    if (is_over(box)) return over(L, box, "write");
    if (exchange->connection->error) return lua_http_closed(L);
    if (exchange->owner.writer) return luaL_error(L, "write: another coroutine waits in write already");
    int err = http_response_write(exchange, bytes, len, &why);
    if (err < 0) return lua_http_fail(L, "write", err, why);
    if (!http_connection_is_congested(exchange->connection)) {
        lua_pushboolean(L, 1);
        return 1;
    }
    exchange->connection->write_waiting = true;
    if (lua_isyieldable(L)) return lua_http_wait(L, &exchange->owner.writer, &exchange->owner.writer_ref);
    lua_pushboolean(L, 0);
    return 1;
}

/* res:sendDescriptor(fd, offset, length): that part of a file as body bytes; the length of the body must have been set.
 * true once all of it is on its way; nil, message, code. The descriptor stays the caller's. */
static int response_send_descriptor(lua_State *L) {
    struct http_box *box = check(L);
    int fd = luaL_checkint(L, 2);
    double offset = luaL_checknumber(L, 3), len = luaL_checknumber(L, 4);
    const char *why = NULL;
    luaL_argcheck(L, offset >= 0 && offset < 9e15, 3, "not an offset");
    luaL_argcheck(L, len >= 0 && len < 9e15, 4, "not a length");
    struct http_exchange *exchange = box->exchange;
    if (is_over(box)) return over(L, box, "sendDescriptor");
    if (exchange->owner.writer) return luaL_error(L, "sendDescriptor: another coroutine waits in write already");
    if (!lua_isyieldable(L)) return luaL_error(L, "sendDescriptor: waits, so it must be called inside a coroutine");
    int err = http_response_send_file(exchange, fd, (uint64_t)offset, (uint64_t)len, &why);
    if (err < 0) return lua_http_fail(L, "sendDescriptor", err, why);
    if (exchange->file_left > 0) {
        exchange->connection->write_waiting = true;
        return lua_http_wait(L, &exchange->owner.writer, &exchange->owner.writer_ref);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* res:finish([bytes]): ends the answer. true, or nil, message, code. */
static int response_finish(lua_State *L) {
    struct http_box *box = check(L);
    size_t len;
    const char *bytes = body_argument(L, &len), *why = NULL;
    if (is_over(box)) return over(L, box, "finish");
    if (box->exchange->connection->error) return lua_http_closed(L);
    int err = http_response_end(box->exchange, bytes, len, &why);
    if (err < 0) return lua_http_fail(L, "finish", err, why);
    lua_pushboolean(L, 1);
    return 1;
}

/* res:writeContinue(): an early 100; reading the body sends it anyway. */
static int response_write_continue(lua_State *L) {
    struct http_box *box = check(L);
    const char *why = NULL;
    if (is_over(box)) return over(L, box, "writeContinue");
    int err = http_response_informational(box->exchange, 100, "", 0, &why);
    return err < 0 ? lua_http_fail(L, "writeContinue", err, why) : 0;
}

/* res:writeInformation(status, headers): an interim answer, such as 103 with Link. */
static int response_write_information(lua_State *L) {
    struct http_box *box = check(L);
    lua_Integer status = luaL_checkinteger(L, 2);
    const char *why = NULL;
    luaL_checktype(L, 3, LUA_TTABLE);
    if (is_over(box)) return over(L, box, "writeInformation");
    int pieces = 0;
    lua_pushnil(L);
    while (lua_next(L, 3)) {
        size_t name_len, value_len;
        if (lua_type(L, -2) != LUA_TSTRING || !lua_isstring(L, -1))
            return luaL_error(L, "writeInformation: headers must be a table of name = value");
        const char *name = lua_tolstring(L, -2, &name_len), *value = lua_tolstring(L, -1, &value_len);
        if (!http_header_is_valid(name, name_len, value, value_len, &why))
            return luaL_error(L, "writeInformation: %s", why);
        if (http_header_frames(name, name_len))
            return luaL_error(L, "writeInformation: an interim answer has no body, and no %s", name);
        luaL_checkstack(L, 4, "headers");
        lua_pushfstring(L, "%s: %s\r\n", name, value);
        lua_insert(L, 4); /* below key and value, which lua_next needs */
        lua_pop(L, 1);
        pieces++;
    }
    lua_concat(L, pieces);
    size_t len;
    const char *lines = lua_tolstring(L, -1, &len);
    int err = http_response_informational(box->exchange, (unsigned)status, lines, len, &why);
    return err < 0 ? lua_http_fail(L, "writeInformation", err, why) : 0;
}

/* res:flushHeaders(): sends the head now. */
static int response_flush_headers(lua_State *L) {
    struct http_box *box = check(L);
    const char *why = NULL;
    if (is_over(box)) return over(L, box, "flushHeaders");
    if (box->exchange->response != HTTP_RESPONSE_OPEN) return 0;
    int err = http_response_start(box->exchange, &why);
    return err < 0 ? lua_http_fail(L, "flushHeaders", err, why) : 0;
}

/* res:destroy(): ends the connection without another byte. */
static int response_destroy(lua_State *L) {
    struct http_box *box = check(L);
    if (box->exchange) http_connection_abort(box->exchange->connection, UV_ECANCELED);
    return 0;
}

static const luaL_Reg methods[] = {
    {"setHeader", response_set_header},
    {"getHeader", response_get_header},
    {"removeHeader", response_remove_header},
    {"addTrailer", response_add_trailer},
    {"writeHead", response_write_head},
    {"write", response_write},
    {"sendDescriptor", response_send_descriptor},
    {"finish", response_finish},
    {"writeContinue", response_write_continue},
    {"writeInformation", response_write_information},
    {"flushHeaders", response_flush_headers},
    {"destroy", response_destroy},
    {NULL, NULL},
};

const struct lua_http_class lua_http_response_class = {
    .name = "clua.http.response",
    .fields = field_names,
    .get = get,
    .newindex = newindex,
    .methods = methods,
};
