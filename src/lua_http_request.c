/* WORKER. req: the fields of a request, made into Lua values when they are asked for, and its body. */
#include <string.h>

#include <lauxlib.h>
#include <uv.h>

#include "http_connection.h"
#include "http_head.h"
#include "http_response.h"
#include "lua_host.h"
#include "lua_http.h"

enum field { METHOD, URL, HEADERS, VERSION, RAW_HEADERS, TRAILERS, TARGET, PORT, ADDRESS, REMOTE_PORT };

static const char *const field_names[] = {
    [METHOD] = "method",
    [URL] = "url",
    [HEADERS] = "headers",
    [VERSION] = "httpVersion",
    [RAW_HEADERS] = "rawHeaders",
    [TRAILERS] = "trailers",
    [TARGET] = "target",
    [PORT] = "port",
    [ADDRESS] = "remoteAddress",
    [REMOTE_PORT] = "remotePort",
    NULL,
};

/* ---- head ----------------------------------------------------------------------------------------------------- */

/* Names that clients send all the time: their Lua strings are kept, so that they need not be made for each request. */
static const char *const known_names[] = {
    "host",
    "user-agent",
    "accept",
    "accept-language",
    "accept-encoding",
    "cookie",
    "connection",
    "content-type",
    "content-length",
    "referer",
    "origin",
    "cache-control",
    "pragma",
    "upgrade-insecure-requests",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "authorization",
    "if-none-match",
    "if-modified-since",
    "range",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
    "transfer-encoding",
    "te",
    "dnt",
    "priority",
};

enum { KNOWN_NAMES = sizeof known_names / sizeof known_names[0], KNOWN_SLOTS = 256 };

static unsigned char known_slots[KNOWN_SLOTS]; /* index into known_names, from 1 */
static int known_ref = LUA_NOREF;              /* their strings, by the same index */

static unsigned slot_of(const char *name, size_t len) {
    unsigned first = (unsigned char)name[0] | 0x20u, last = (unsigned char)name[len - 1] | 0x20u;
    return (first * 7 + last * 31 + (unsigned)len * 5) % KNOWN_SLOTS;
}

void lua_http_request_open(lua_State *L) {
    lua_createtable(L, KNOWN_NAMES, 0);
    for (int i = 0; i < KNOWN_NAMES; i++) {
        unsigned char *slot = &known_slots[slot_of(known_names[i], strlen(known_names[i]))];
        if (!*slot) *slot = (unsigned char)(i + 1); /* of two that collide the first is quick */
        lua_pushstring(L, known_names[i]);
        lua_rawseti(L, -2, i + 1);
    }
    known_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void push_lower(lua_State *L, const char *name, size_t len) {
    static struct buffer room; /* stays empty */
    char *lower = buffer_room(&room, len);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        lower[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    lua_pushlstring(L, lower, len);
}

/* known: stack index of the table of known names. */
static void push_name(lua_State *L, int known, const char *name, size_t len) {
    unsigned slot = known_slots[slot_of(name, len)];
    if (slot && strlen(known_names[slot - 1]) == len && http_same(name, known_names[slot - 1], len)) {
        lua_rawgeti(L, known, (int)slot);
    } else {
        push_lower(L, name, len);
    }
}

/* Stack: table, name, value -> table. A second field of the same name is joined (RFC 9110 §5.3; cookie: RFC 6265). */
static void add_field(lua_State *L, int table) {
    lua_pushvalue(L, -2);
    lua_rawget(L, table);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_rawset(L, table);
        return;
    }
    const char *separator = strcmp(lua_tostring(L, -3), "cookie") == 0 ? "; " : ", ";
    lua_insert(L, -2);
    lua_pushstring(L, separator);
    lua_insert(L, -2);
    lua_concat(L, 3);
    lua_rawset(L, table);
}

int lua_http_push_header(lua_State *L, const struct http_head *head, const char *lower, size_t len) {
    int pieces = 0;
    const char *separator = len == 6 && memcmp(lower, "cookie", 6) == 0 ? "; " : ", ";
    for (uint32_t i = 0; i < head->count; i++) {
        const struct http_field *field = &head->fields[i];
        if (field->name_len != len || !http_same(head->base + field->name, lower, len)) continue;
        luaL_checkstack(L, 3, "headers");
        if (pieces++ > 0) lua_pushstring(L, separator);
        lua_pushlstring(L, head->base + field->value, field->value_len);
    }
    if (pieces > 1) lua_concat(L, 2 * pieces - 1);
    return pieces > 0;
}

/* Does an earlier field have the name of field i? */
static bool is_repeated(const struct http_head *head, uint32_t i) {
    const struct http_field *fields = head->fields;
    for (uint32_t k = 0; k < i; k++) {
        if (fields[k].name_len != fields[i].name_len) continue;
        if (strncasecmp(head->base + fields[k].name, head->base + fields[i].name, fields[i].name_len) == 0) return true;
    }
    return false;
}

static void push_headers(lua_State *L, const struct http_head *head) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, known_ref);
    lua_createtable(L, 0, (int)head->count);
    int table = lua_gettop(L);
    for (uint32_t i = 0; i < head->count; i++) {
        const struct http_field *field = &head->fields[i];
        push_name(L, table - 1, head->base + field->name, field->name_len);
        lua_pushlstring(L, head->base + field->value, field->value_len);
        if (is_repeated(head, i)) {
            add_field(L, table);
        } else {
            lua_rawset(L, table);
        }
    }
    if (head->absolute) { /* RFC 9112 §3.2.2: the target's authority replaces Host */
        lua_pushlstring(L, head->base + head->host, head->host_len);
        lua_setfield(L, table, "host");
    }
    lua_remove(L, table - 1);
}

static void push_raw_headers(lua_State *L, const struct http_head *head) {
    lua_createtable(L, (int)head->count * 2, 0);
    for (uint32_t i = 0; i < head->count; i++) {
        const struct http_field *field = &head->fields[i];
        lua_pushlstring(L, head->base + field->name, field->name_len);
        lua_rawseti(L, -2, (int)i * 2 + 1);
        lua_pushlstring(L, head->base + field->value, field->value_len);
        lua_rawseti(L, -2, (int)i * 2 + 2);
    }
}

/* Those that have come whole: the last one may be half a name or value, and behind it stand bytes of earlier requests. */
static void push_trailers(lua_State *L, const struct buffer *trailers) {
    lua_newtable(L);
    if (trailers->len == 0) return; /* nor may there be data */
    int table = lua_gettop(L);
    const char *name = trailers->data, *end = name + trailers->len;
    while (name < end) {
        const char *name_end = memchr(name, '\0', (size_t)(end - name));
        if (!name_end) return;
        const char *value = name_end + 1, *value_end = memchr(value, '\0', (size_t)(end - value));
        if (!value_end) return;
        push_lower(L, name, (size_t)(name_end - name));
        lua_pushlstring(L, value, (size_t)(value_end - value));
        add_field(L, table);
        name = value_end + 1;
    }
}

static void push_url(lua_State *L, const struct http_exchange *exchange) {
    const struct http_head *head = &exchange->head;
    const char *path = head->base + head->path;
    if (head->path_len > 0 && *path != '?') {
        lua_pushlstring(L, path, head->path_len);
    } else if (head->path_len == 0 && exchange->parser.method == HTTP_OPTIONS) {
        lua_pushliteral(L, "*"); /* RFC 9112 §3.2.4 */
    } else {
        lua_pushliteral(L, "/");
        lua_pushlstring(L, path, head->path_len);
        lua_concat(L, 2);
    }
}

static bool push_peer(lua_State *L, const struct http_exchange *exchange, bool want_port) {
    const struct stream *stream = exchange->connection->stream;
    char host[STREAM_HOST_BYTES];
    uint16_t port;
    if (stream->uv.handle.type != UV_TCP || stream_address(stream, true, host, &port) < 0) return false;
    if (want_port) {
        lua_pushinteger(L, port);
    } else {
        lua_pushstring(L, host);
    }
    return true;
}

static int get(lua_State *L, struct http_box *box, int field) {
    const struct http_exchange *exchange = box->exchange;
    const struct http_head *head = &exchange->head;
    bool once = false;
    switch ((enum field)field) {
    case METHOD:
        lua_pushlstring(L, head->base, head->target - 1);
        break;
    case URL:
        push_url(L, exchange);
        break;
    case HEADERS:
        push_headers(L, head);
        once = true;
        break;
    case VERSION:
        lua_pushstring(L, http_exchange_is_http10(exchange) ? "1.0" : "1.1");
        break;
    case RAW_HEADERS:
        push_raw_headers(L, head);
        once = true;
        break;
    case TRAILERS:
        push_trailers(L, &exchange->trailers);
        once = exchange->request == HTTP_REQUEST_COMPLETE;
        break;
    case TARGET:
        lua_pushlstring(L, head->base + head->target, head->target_len);
        break;
    case PORT:
        lua_pushinteger(L, exchange->connection->stream->port);
        break;
    case ADDRESS:
        if (!push_peer(L, exchange, false)) lua_pushnil(L);
        break;
    case REMOTE_PORT:
        if (!push_peer(L, exchange, true)) lua_pushnil(L);
        break;
    }
    if (!once) return 1;
    /* Made once: __newindex takes it as if the script had set it. */
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -3);
    lua_http_set_field(L, box);
    return 1;
}

/* ---- body ----------------------------------------------------------------------------------------------------- */

static int body_error(lua_State *L, int err) {
    static const struct {
        int err;
        const char *message, *code;
    } known[] = {
        {UV_E2BIG, "the request body is larger than allowed", "ETOOBIG"},
        {UV_EPROTO, "the request body breaks the rules of HTTP", "EPROTO"},
        {UV_ETIMEDOUT, "the client sends nothing any more", "ETIMEDOUT"},
    };
    lua_pushnil(L);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (known[i].err != err) continue;
        lua_pushstring(L, known[i].message);
        lua_pushstring(L, known[i].code);
        return 3;
    }
    lua_pushliteral(L, "the client has closed the connection");
    lua_pushliteral(L, "ECLOSED");
    return 3;
}

int lua_http_push_body(lua_State *L, struct http_exchange *exchange) {
    const char *bytes = "";
    size_t len = 0;
    if (exchange->owner.whole && exchange->request == HTTP_REQUEST_BODY) return 0;
    int err = http_body_take(exchange, &bytes, &len);
    if (err == 0) return 0;
    if (err == 1 || (err == UV_EOF && exchange->owner.whole)) {
        lua_pushlstring(L, bytes, len);
        return 1;
    }
    if (err == UV_EOF) {
        lua_pushnil(L);
        return 1;
    }
    return body_error(L, err);
}

static int take(lua_State *L, bool whole, const char *name) {
    struct http_box *box = lua_http_check(L, 1, &lua_http_request_class);
    struct http_exchange *exchange = box->exchange;
    if (!exchange) return lua_http_closed(L);
    if (exchange->owner.reader) return luaL_error(L, "%s: another coroutine reads this body already", name);
    if (exchange->response == HTTP_RESPONSE_ENDED && exchange->request == HTTP_REQUEST_BODY) return lua_http_closed(L);
    exchange->owner.whole = whole;
    if (whole && exchange->request == HTTP_REQUEST_BODY) http_body_collect(exchange);
    int pushed = lua_http_push_body(L, exchange);
    if (pushed > 0) return pushed;
    if (!lua_isyieldable(L)) return luaL_error(L, "%s: waits, so it must be called inside a coroutine", name);
    return lua_http_wait(L, &exchange->owner.reader, &exchange->owner.reader_ref);
}

/* req:read(): the next piece of the body; nil at its end; nil, message, code. */
static int request_read(lua_State *L) {
    return take(L, false, "read");
}

/* req:body(): the body, "" if there is none; nil, message, code. */
static int request_body(lua_State *L) {
    return take(L, true, "body");
}

/* req:setMaxBodySize(bytes): for this request alone. Returns req; nil, message, "ETOOBIG" when more has come already. */
static int request_set_max_body_size(lua_State *L) {
    struct http_box *box = lua_http_check(L, 1, &lua_http_request_class);
    double bytes = luaL_checknumber(L, 2);
    luaL_argcheck(L, bytes >= 0, 2, "a number of bytes is expected");
    if (!box->exchange) return lua_http_closed(L);
    box->exchange->body_limit = bytes >= 9e15 ? UINT64_MAX : (uint64_t)bytes;
    if (box->exchange->body_bytes > box->exchange->body_limit) return body_error(L, UV_E2BIG);
    lua_pushvalue(L, 1);
    return 1;
}

/* req:destroy(): ends the connection without another byte. */
static int request_destroy(lua_State *L) {
    struct http_box *box = lua_http_check(L, 1, &lua_http_request_class);
    if (box->exchange) http_connection_abort(box->exchange->connection, UV_ECANCELED);
    return 0;
}

static const luaL_Reg methods[] = {
    {"read", request_read},       {"body", request_body}, {"setMaxBodySize", request_set_max_body_size},
    {"destroy", request_destroy}, {NULL, NULL},
};

const struct lua_http_class lua_http_request_class = {
    .name = "clua.http.request",
    .fields = field_names,
    .get = get,
    .methods = methods,
};
