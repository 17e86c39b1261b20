/* WORKER. Files for res:sendFile: opened, and of what stat(2) says the five numbers that an answer needs. luv's fstat
 * makes four tables of thirty fields, a quarter of the instructions that a file takes. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lauxlib.h>
#include <uv.h>

#include "lua_host.h"
#include "lua_http.h"

static int fail(lua_State *L, int fd, int err, const char *path) {
    if (fd >= 0) close(fd);
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s: %s", uv_err_name(err), uv_strerror(err), path);
    lua_pushstring(L, uv_err_name(err));
    return 3;
}

/* open_file(path): descriptor, size, inode, seconds and nanoseconds of the last change; nil, message, code. Only what
 * is a regular file: a folder is EISDIR, anything else EINVAL. */
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
    lua_pushnumber(L, (lua_Number)st.st_ino);
    lua_pushnumber(L, (lua_Number)st.st_mtim.tv_sec);
    lua_pushnumber(L, (lua_Number)st.st_mtim.tv_nsec);
    return 5;
}

static int close_file(lua_State *L) {
    close(luaL_checkint(L, 1));
    return 0;
}

void lua_http_file_open(lua_State *L) {
    static const luaL_Reg functions[] = {{"open_file", open_file}, {"close_file", close_file}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
