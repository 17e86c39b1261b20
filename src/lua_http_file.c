/* WORKER. Files for res:sendFile: opened, and answered with, in one call each; what is rare stands in
 * lua/clua/http/file.lua. luv's fstat makes four tables of thirty fields, and every field that Lua sets is a call. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lauxlib.h>
#include <uv.h>

#include "http_head.h"
#include "http_response.h"
#include "lua_host.h"
#include "lua_http.h"

enum { ETAG_BYTES = 72, NUMBER_BYTES = 24 };

/* ---- the file -------------------------------------------------------------------------------------------------- */

static int fail(lua_State *L, int fd, int err, const char *path) {
    if (fd >= 0) close(fd);
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s: %s", uv_err_name(err), uv_strerror(err), path);
    lua_pushstring(L, uv_err_name(err));
    return 3;
}

static char *put_hex(char *p, uint64_t n, char behind) {
    unsigned digits = n ? (67u - (unsigned)__builtin_clzll(n)) / 4 : 1;
    for (unsigned i = digits; i-- > 0; n >>= 4) p[i] = "0123456789abcdef"[n & 15];
    p[digits] = behind;
    return p + digits + 1;
}

static void push_etag(lua_State *L, uint64_t ino, uint64_t size, uint64_t sec, uint64_t nsec) {
    char etag[ETAG_BYTES] = "\"", *p = etag + 1;
    p = put_hex(p, ino, '-');
    p = put_hex(p, size, '-');
    p = put_hex(p, sec, '.');
    p = put_hex(p, nsec, '"');
    lua_pushlstring(L, etag, (size_t)(p - etag));
}

/* etag(inode, size, seconds, nanoseconds): see clua.connect.condition. */
static int etag(lua_State *L) {
    uint64_t n[4];
    for (int i = 0; i < 4; i++) {
        double number = luaL_checknumber(L, i + 1);
        luaL_argcheck(L, number > -9e15 && number < 18e18, i + 1, "not a whole number");
        n[i] = number < 0 ? (uint64_t)(int64_t)number : (uint64_t)number;
    }
    push_etag(L, n[0], n[1], n[2], n[3]);
    return 1;
}

/* open_file(path): descriptor, size, time of the last change in seconds, entity tag; nil, message, code. Only what is a
 * regular file: a folder is EISDIR, anything else EINVAL. */
static int open_file(lua_State *L) {
    size_t len;
    const char *path = luaL_checklstring(L, 1, &len);
    if (strlen(path) != len) return fail(L, -1, UV_EINVAL, path);
    /* O_NONBLOCK: opening a FIFO must not stop the loop. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) return fail(L, fd, -errno, path);
    if (S_ISDIR(st.st_mode)) return fail(L, fd, UV_EISDIR, path);
    if (!S_ISREG(st.st_mode)) return fail(L, fd, UV_EINVAL, path);
    lua_pushinteger(L, fd);
    lua_pushnumber(L, (lua_Number)st.st_size);
    lua_pushnumber(L, (lua_Number)st.st_mtim.tv_sec);
    push_etag(L, st.st_ino, (uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec);
    return 4;
}

static int close_file(lua_State *L) {
    close(luaL_checkint(L, 1));
    return 0;
}

/* ---- the request ----------------------------------------------------------------------------------------------- */

/* asks(res): of the request its method, Accept-Encoding (or nil), and a table of the fields that may make less of a file
 * the answer (RFC 9110 §13, §14), by their names in lower case (nil when it has none of them). Nothing, when the
 * exchange is over. */
static int asks(lua_State *L) {
    static const char *const names[] = {"if-match", "if-none-match",       "if-modified-since",
                                        "range",    "if-unmodified-since", "if-range"};
    const struct http_exchange *exchange = lua_http_check(L, 1, &lua_http_response_kind)->exchange;
    if (!exchange) return 0;
    const struct http_head *head = &exchange->head;
    lua_pushlstring(L, head->base, head->target - 1);
    if (!lua_http_push_header(L, head, "accept-encoding", 15)) lua_pushnil(L);
    bool some = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!lua_http_push_header(L, head, names[i], strlen(names[i]))) continue;
        if (!some) {
            lua_createtable(L, 0, 2);
            lua_insert(L, -2);
        }
        some = true;
        lua_setfield(L, -2, names[i]);
    }
    return 2 + some;
}

/* ---- the answer ------------------------------------------------------------------------------------------------ */

/* Has a middleware put something of its own in the place of a method that an answer from a file goes through? */
static bool is_overridden(lua_State *L, const struct http_box *box) {
    static const char *const seams[] = {"_head", "setHeader", "getHeader", "write", "sendDescriptor", "finish"};
    if (!box->has_fields) return false;
    bool found = false;
    lua_getfenv(L, 1);
    for (size_t i = 0; i < sizeof seams / sizeof *seams && !found; i++) {
        lua_getfield(L, -1, seams[i]);
        found = !lua_isnil(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return found;
}

/* The field, unless the script has set it. */
static int set_default(struct http_exchange *exchange, const char *name, size_t name_len, const char *value, size_t len,
                       bool look, const char **why) {
    if (look && http_response_has_header(exchange, name, name_len)) return 0;
    return http_response_set_header(exchange, name, name_len, value, len, false, why);
}

static int set_head(lua_State *L, struct http_exchange *exchange, double size, const char **why) {
    static const struct {
        const char *name;
        int value; /* stack index, or 0 */
    } fields[] = {{"ETag", 4}, {"Last-Modified", 5}, {"Accept-Ranges", 0}, {"Content-Type", 6}};
    bool look = exchange->lines.len > 0;
    int err = 0;
    for (size_t i = 0; i < sizeof fields / sizeof *fields && err == 0; i++) {
        size_t len = 5;
        const char *value = fields[i].value ? luaL_checklstring(L, fields[i].value, &len) : "bytes";
        err = set_default(exchange, fields[i].name, strlen(fields[i].name), value, len, look, why);
    }
    char length[NUMBER_BYTES];
    int digits = snprintf(length, sizeof length, "%llu", (unsigned long long)size);
    return err < 0 ? err : http_response_set_header(exchange, "Content-Length", 14, length, (size_t)digits, true, why);
}

/* answer_file(res, fd, size, etag, last_modified, content_type): all of an open file as the answer, with those fields
 * that have not been set. true, "ended"; or true after having waited, and finish() is left to do; nil, message, code
 * when the exchange is over; false, and nothing was done, when a middleware wants to be asked (is_overridden). */
static int answer_file(lua_State *L) {
    struct http_box *box = lua_http_check(L, 1, &lua_http_response_kind);
    int fd = luaL_checkint(L, 2);
    double size = luaL_checknumber(L, 3);
    const char *why = NULL;
    struct http_exchange *exchange = box->exchange;
    if (!exchange || exchange->response != HTTP_RESPONSE_OPEN || exchange->owner.writer || !lua_isyieldable(L) ||
        is_overridden(L, box)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    luaL_argcheck(L, size >= 0 && size < 9e15, 3, "not a size");
    int err = set_head(L, exchange, size, &why);
    if (err == 0) err = http_response_send_file(exchange, fd, 0, (uint64_t)size, &why);
    if (err < 0) return lua_http_fail(L, "sendFile", err, why);
    if (exchange->file_left > 0) {
        exchange->connection->write_waiting = true;
        return lua_http_wait(L, &exchange->owner.writer, &exchange->owner.writer_ref);
    }
    err = http_response_end(exchange, NULL, 0, &why);
    if (err < 0) return lua_http_fail(L, "sendFile", err, why);
    lua_pushboolean(L, 1);
    lua_pushliteral(L, "ended");
    return 2;
}

void lua_http_file_open(lua_State *L) {
    static const luaL_Reg functions[] = {{"open_file", open_file}, {"close_file", close_file},   {"etag", etag},
                                         {"asks", asks},           {"answer_file", answer_file}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
