/* BOTH. The parser of HTTP responses as a userdata, for lua/clua/http/client.lua: bytes in, head, body and trailers out.
 * Also the two checks of what a script wants to send that must not be wrong. */
#include "lua_http_client.h"

#include <uv.h>

#include "http_head.h"
#include "http_response_parser.h"
#include "lua_host.h"

static const char *const PARSER = "clua.core.http_client.parser";

static struct http_response_parser *check_parser(lua_State *L) {
    return luaL_checkudata(L, 1, PARSER);
}

static int push_failure(lua_State *L, const struct http_response_parser *parser) {
    lua_pushnil(L);
    lua_pushstring(L, parser->why);
    lua_pushstring(L, uv_err_name(parser->error));
    return 3;
}

static void push_state(lua_State *L, const struct http_response_parser *parser) {
    static const char *const names[] = {
        [HTTP_ANSWER_HEAD] = "head",
        [HTTP_ANSWER_BODY] = "body",
        [HTTP_ANSWER_COMPLETE] = "complete",
    };
    lua_pushstring(L, names[parser->state]);
}

/* parser(max_head_bytes, max_fields) */
static int client_parser(lua_State *L) {
    lua_Integer bytes = luaL_checkinteger(L, 1), fields = luaL_checkinteger(L, 2);
    luaL_argcheck(L, bytes > 0 && bytes <= INT32_MAX, 1, "out of range");
    luaL_argcheck(L, fields > 0 && fields <= INT32_MAX, 2, "out of range");
    struct http_response_parser *parser = lua_newuserdata(L, sizeof *parser);
    http_response_parser_init(parser, (uint32_t)bytes, (uint32_t)fields);
    luaL_getmetatable(L, PARSER);
    lua_setmetatable(L, -2);
    return 1;
}

/* start(without_body) */
static int parser_start(lua_State *L) {
    http_response_parser_start(check_parser(L), lua_toboolean(L, 2));
    return 0;
}

/* feed(bytes): state, bytes that are not of this response (or nil), body bytes (or nil); or nil, message, code */
static int parser_feed(lua_State *L) {
    struct http_response_parser *parser = check_parser(L);
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    size_t taken = http_response_parser_feed(parser, bytes, len);
    if (parser->state == HTTP_ANSWER_FAILED) return push_failure(L, parser);
    push_state(L, parser);
    if (taken < len) {
        lua_pushlstring(L, bytes + taken, len - taken);
    } else {
        lua_pushnil(L);
    }
    if (parser->body_len == 0) return 2;
    lua_pushlstring(L, parser->body, parser->body_len);
    return 3;
}

/* finish(): "complete", or nil, message, code "EOF" */
static int parser_finish(lua_State *L) {
    struct http_response_parser *parser = check_parser(L);
    http_response_parser_end(parser);
    if (parser->state == HTTP_ANSWER_FAILED) return push_failure(L, parser);
    push_state(L, parser);
    return 1;
}

static void push_lower(lua_State *L, const char *bytes, size_t len) {
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    for (size_t i = 0; i < len; i++) {
        char c = bytes[i];
        luaL_addchar(&buffer, c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c);
    }
    luaL_pushresult(&buffer);
}

/* Fields from..to as a table, names in lower case; equal names are joined by ", ". Cookies cannot be (RFC 6265 §3): they
 * are a list. */
static void push_fields(lua_State *L, const struct http_response_parser *parser, uint32_t from, uint32_t to) {
    lua_newtable(L);
    for (uint32_t i = from; i < to; i++) {
        const struct http_answer_field *field = &parser->fields[i];
        const char *text = parser->text.data;
        push_lower(L, text + field->name, field->name_len);
        bool cookie = field->name_len == 10 && http_same(text + field->name, "set-cookie", 10);
        lua_pushvalue(L, -1);
        lua_rawget(L, -3); /* table, name, what it has so far */
        if (cookie) {
            if (lua_isnil(L, -1)) {
                lua_pop(L, 1);
                lua_newtable(L);
            }
            lua_pushlstring(L, text + field->value, field->value_len);
            lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
        } else if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            lua_pushlstring(L, text + field->value, field->value_len);
        } else {
            lua_pushliteral(L, ", ");
            lua_pushlstring(L, text + field->value, field->value_len);
            lua_concat(L, 3);
        }
        lua_rawset(L, -3);
    }
}

/* head(): status, reason, headers, HTTP version such as "1.1" */
static int parser_head(lua_State *L) {
    const struct http_response_parser *parser = check_parser(L);
    lua_pushinteger(L, (lua_Integer)parser->status);
    lua_pushlstring(L, parser->text.data ? parser->text.data : "", parser->reason_len);
    push_fields(L, parser, 0, parser->head_count);
    lua_pushfstring(L, "%d.%d", parser->llhttp.http_major, parser->llhttp.http_minor);
    return 4;
}

/* raw(): the headers as they came, as a list of { name, value } */
static int parser_raw(lua_State *L) {
    const struct http_response_parser *parser = check_parser(L);
    lua_createtable(L, (int)parser->head_count, 0);
    for (uint32_t i = 0; i < parser->head_count; i++) {
        const struct http_answer_field *field = &parser->fields[i];
        lua_createtable(L, 2, 0);
        lua_pushlstring(L, parser->text.data + field->name, field->name_len);
        lua_rawseti(L, -2, 1);
        lua_pushlstring(L, parser->text.data + field->value, field->value_len);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* trailers() */
static int parser_trailers(lua_State *L) {
    const struct http_response_parser *parser = check_parser(L);
    push_fields(L, parser, parser->head_count, parser->count);
    return 1;
}

/* reusable(): may another request follow? begun(): has a byte of the response come? */
static int parser_reusable(lua_State *L) {
    const struct http_response_parser *parser = check_parser(L);
    lua_pushboolean(L, parser->state == HTTP_ANSWER_COMPLETE && parser->reusable);
    return 1;
}

static int parser_begun(lua_State *L) {
    lua_pushboolean(L, check_parser(L)->begun);
    return 1;
}

static int parser_gc(lua_State *L) {
    http_response_parser_free(check_parser(L));
    return 0;
}

/* is_token(text): may it be a method or the name of a header (RFC 9110 §5.6.2)? */
static int client_is_token(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    lua_pushboolean(L, http_is_token(text, len));
    return 1;
}

/* is_value(text): may it be the value of a header: no control byte but HTAB (RFC 9110 §5.5)? */
static int client_is_value(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    bool valid = true;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        valid = valid && (c >= ' ' || c == '\t') && c != 0x7f;
    }
    lua_pushboolean(L, valid);
    return 1;
}

int lua_http_client_open(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"start", parser_start}, {"feed", parser_feed},         {"finish", parser_finish},
        {"head", parser_head},   {"raw", parser_raw},           {"trailers", parser_trailers},
        {"begun", parser_begun}, {"reusable", parser_reusable}, {NULL, NULL},
    };
    static const luaL_Reg meta[] = {{"__gc", parser_gc}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"parser", client_parser},
        {"is_token", client_is_token},
        {"is_value", client_is_value},
        {NULL, NULL},
    };
    host_metatable(L, PARSER, methods, meta);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
