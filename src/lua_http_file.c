/* WORKER. Files for res:sendFile: opened, and answered with, in one call each; what is rare stands in
 * lua/clua/http/file.lua. luv's fstat makes four tables of thirty fields, and every field that Lua sets is a call. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <lauxlib.h>
#include <uv.h>

#include "hex.h"
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

/* Of luv's numbers, which are doubles: a large inode is another one in them, and the tag must not depend on who has asked
 * the kernel. */
static uint64_t whole(double n) {
    if (n >= 0x1p64) return UINT64_MAX;
    return n >= 0 ? (uint64_t)n : n > -0x1p63 ? (uint64_t)(int64_t)n : 0;
}

static void push_etag(lua_State *L, double ino, double size, double sec, double nsec) {
    char etag[ETAG_BYTES] = "\"", *p = etag + 1;
    p = hex_put(p, whole(ino));
    *p++ = '-';
    p = hex_put(p, whole(size));
    *p++ = '-';
    p = hex_put(p, whole(sec));
    *p++ = '.';
    p = hex_put(p, whole(nsec));
    *p++ = '"';
    lua_pushlstring(L, etag, (size_t)(p - etag));
}

/* etag(inode, size, seconds, nanoseconds): see clua.connect.condition. */
static int etag(lua_State *L) {
    push_etag(L, luaL_checknumber(L, 1), luaL_checknumber(L, 2), luaL_checknumber(L, 3), luaL_checknumber(L, 4));
    return 1;
}

/* O_NONBLOCK: opening a FIFO must not stop the loop. */
enum { OPEN_FLAGS = O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY };

/* The first argument; NULL when there is a NUL in it. */
static const char *check_path(lua_State *L) {
    size_t len;
    const char *path = luaL_checklstring(L, 1, &len);
    return strlen(path) == len ? path : NULL;
}

/* Pushes descriptor, size, time of the last change in seconds, entity tag. */
static int push_opened(lua_State *L, int fd, const struct stat *st) {
    lua_pushinteger(L, fd);
    lua_pushnumber(L, (lua_Number)st->st_size);
    lua_pushnumber(L, (lua_Number)st->st_mtim.tv_sec);
    push_etag(L, (double)st->st_ino, (double)st->st_size, (double)st->st_mtim.tv_sec, (double)st->st_mtim.tv_nsec);
    return 4;
}

/* open_file(path): descriptor, size, time of the last change in seconds, entity tag; nil, message, code. Only what is a
 * regular file: a folder is EISDIR, anything else EINVAL. */
static int open_file(lua_State *L) {
    const char *path = check_path(L);
    if (!path) return fail(L, -1, UV_EINVAL, lua_tostring(L, 1));
    int fd = open(path, OPEN_FLAGS);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) return fail(L, fd, -errno, path);
    if (S_ISDIR(st.st_mode)) return fail(L, fd, UV_EISDIR, path);
    if (!S_ISREG(st.st_mode)) return fail(L, fd, UV_EINVAL, path);
    return push_opened(L, fd, &st);
}

static const char *kind_of(mode_t mode) {
    return S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "directory" : S_ISFIFO(mode) ? "fifo" : "device";
}

/* A descriptor, or UV_E*. A kernel that does not know the call is asked once. */
static int open_in_cache(const char *path, int flags) {
    static bool is_unknown;
    if (is_unknown) return UV_ENOSYS;
    struct open_how how = {.flags = (unsigned)flags, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_CACHED};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    is_unknown = fd < 0 && errno == ENOSYS;
    return fd < 0 ? -errno : fd;
}

/* Does the kernel remember that there is nothing of this name? Only O_PATH is told so, others get EAGAIN. */
static bool is_known_to_be_missing(const char *path) {
    int fd = open_in_cache(path, O_PATH | O_CLOEXEC);
    if (fd >= 0) close(fd);
    return fd == UV_ENOENT;
}

/* is_remote(path): does opening a file of this file system ask another machine or a process (network, FUSE)? */
static int is_remote(lua_State *L) {
    static const unsigned long magics[] = {NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC,  SMB2_SUPER_MAGIC,
                                           CIFS_SUPER_MAGIC, FUSE_SUPER_MAGIC, CEPH_SUPER_MAGIC,
                                           V9FS_MAGIC,       AFS_SUPER_MAGIC,  CODA_SUPER_MAGIC};
    struct statfs fs;
    bool found = statfs(luaL_checkstring(L, 1), &fs) < 0;
    for (size_t i = 0; i < sizeof magics / sizeof *magics && !found; i++)
        found = ((unsigned long)fs.f_type & 0xffffffff) == magics[i];
    lua_pushboolean(L, found);
    return 1;
}

/* open_cached(path): as open_file, with a fifth value, "file", "directory" or another kind. Looks the name up without
 * waiting for a disk, and follows no symbolic link anywhere in the path: where that cannot be had, it fails with EAGAIN
 * or ELOOP, and on an old kernel or under a strict seccomp filter with ENOSYS, EINVAL or EPERM (openat2(2),
 * RESOLVE_CACHED: Linux 5.12). */
static int open_cached(lua_State *L) {
    const char *path = check_path(L);
    if (!path) return fail(L, -1, UV_EINVAL, lua_tostring(L, 1));
    int fd = open_in_cache(path, OPEN_FLAGS);
    if (fd == UV_EAGAIN && is_known_to_be_missing(path)) fd = UV_ENOENT;
    struct stat st;
    if (fd < 0) return fail(L, -1, fd, path);
    if (fstat(fd, &st) < 0) return fail(L, fd, -errno, path);
    push_opened(L, fd, &st);
    lua_pushstring(L, kind_of(st.st_mode));
    return 5;
}

static int close_file(lua_State *L) {
    close(luaL_checkint(L, 1));
    return 0;
}

/* ---- the request ----------------------------------------------------------------------------------------------- */

static const char *const condition_names[] = {"if-match", "if-none-match",       "if-modified-since",
                                              "range",    "if-unmodified-since", "if-range"};
enum { CONDITIONS = sizeof condition_names / sizeof *condition_names };

/* Is there a field whose name is as long as one of those? */
static bool may_have_conditions(const struct http_head *head) {
    const uint32_t lengths = 1u << 5 | 1u << 8 | 1u << 13 | 1u << 17 | 1u << 19;
    for (uint32_t i = 0; i < head->count; i++)
        if (head->fields[i].name_len < 20 && lengths >> head->fields[i].name_len & 1) return true;
    return false;
}

/* Pushes a table with the fields that may make less of a file the answer (RFC 9110 §13, §14), by their names in lower
 * case, or nil when the request has none of them. */
static void push_conditions(lua_State *L, const struct http_head *head) {
    lua_pushnil(L);
    if (!may_have_conditions(head)) return;
    for (int i = 0; i < CONDITIONS; i++) {
        if (!lua_http_push_header(L, head, condition_names[i], strlen(condition_names[i]))) continue;
        if (lua_isnil(L, -2)) {
            lua_createtable(L, 0, 2);
            lua_replace(L, -3);
        }
        lua_setfield(L, -2, condition_names[i]);
    }
}

/* asks(res): of the request its method, Accept-Encoding (or nil), and its conditions. Nothing when it is over. */
static int asks(lua_State *L) {
    const struct http_exchange *exchange = lua_http_check(L, 1, &lua_http_response_class)->exchange;
    if (!exchange) return 0;
    const struct http_head *head = &exchange->head;
    lua_pushlstring(L, head->base, head->target - 1);
    if (!lua_http_push_header(L, head, "accept-encoding", 15)) lua_pushnil(L);
    push_conditions(L, head);
    return 3;
}

/* conditions(req): a table with those fields, or nil. Once the script has had req.headers, that table counts: it may
 * have been changed. */
static int conditions(lua_State *L) {
    const struct http_box *box = lua_http_check(L, 1, &lua_http_request_class);
    if (!box->exchange) return 0;
    if (box->has_fields) {
        lua_getfenv(L, 1);
        lua_getfield(L, -1, "headers");
        for (int i = 0; lua_istable(L, 3) && i < CONDITIONS; i++) {
            lua_getfield(L, 3, condition_names[i]);
            bool found = !lua_isnil(L, -1);
            lua_settop(L, 3);
            if (found) return 1;
        }
        if (lua_istable(L, 3)) return 0;
        lua_settop(L, 1);
    }
    push_conditions(L, &box->exchange->head);
    return 1;
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

/* Those of its fields that the script has not set. */
static int set_head(lua_State *L, struct http_exchange *exchange, double size, const char **why) {
    static const struct {
        const char *name;
        int value; /* stack index, or 0 */
    } fields[] = {{"ETag", 4}, {"Last-Modified", 5}, {"Accept-Ranges", 0}, {"Content-Type", 6}};
    size_t given = exchange->lines.len; /* the script's, before ours */
    int err = 0;
    for (size_t i = 0; i < sizeof fields / sizeof *fields && err == 0; i++) {
        size_t len = 5;
        const char *value = fields[i].value ? luaL_checklstring(L, fields[i].value, &len) : "bytes";
        if (http_response_has_header(exchange, fields[i].name, strlen(fields[i].name), given)) continue;
        err = http_response_set_header(exchange, fields[i].name, strlen(fields[i].name), value, len, false, why);
    }
    char length[NUMBER_BYTES];
    int digits = snprintf(length, sizeof length, "%llu", (unsigned long long)size);
    return err < 0 ? err : http_response_set_header(exchange, "Content-Length", 14, length, (size_t)digits, true, why);
}

/* answer_file(res, fd, size, etag, last_modified, content_type): all of an open file as the answer, with those fields
 * that have not been set. true, "ended"; or true after having waited, and finish() is left to do; nil, message, code
 * when the exchange is over; false, and nothing was done, when a middleware wants to be asked (is_overridden). */
static int answer_file(lua_State *L) {
    struct http_box *box = lua_http_check(L, 1, &lua_http_response_class);
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
    if (exchange->connection->error) return lua_http_closed(L);
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
    static const luaL_Reg functions[] = {
        {"open_file", open_file},
        {"open_cached", open_cached},
        {"close_file", close_file},
        {"etag", etag},
        {"asks", asks},
        {"conditions", conditions},
        {"answer_file", answer_file},
        {"is_remote", is_remote},
        {NULL, NULL},
    };
    luaL_register(L, NULL, functions);
}
