/* BOTH. Connects sockets of Lua scripts and accepts them; names, addresses to try and time-outs: lua/clua/net.lua.
 *
 * How a connection went is the socket's event "connect" (lua_socket.c). Accepting is accept4 in a loop under a poll handle
 * of luv: uv_listen of libuv 1.44 takes one connection and sleeps. */
#include "lua_net.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lua_host.h"
#include "lua_socket.h"

/* connect(socket, host, port): true, or nil, message, code; "EINVAL" when host is a name. The event follows. */
static int net_connect(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *host = luaL_checkstring(L, 2);
    int port = (int)luaL_checkinteger(L, 3);
    struct sockaddr_storage address;
    int err = uv_ip4_addr(host, port, (struct sockaddr_in *)&address);
    if (err < 0) err = uv_ip6_addr(host, port, (struct sockaddr_in6 *)&address);
    if (err < 0) return host_fail(L, err);
    struct stream *stream;
    err = stream_connect(host_loop(), (const struct sockaddr *)&address, NULL, NULL, &stream);
    if (err < 0) return host_fail(L, err);
    lua_socket_adopt(L, 1, stream);
    lua_pushboolean(L, 1);
    return 1;
}

/* connect_unix(socket, path): the same */
static int net_connect_unix(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *path = luaL_checkstring(L, 2);
    struct stream *stream;
    int err = stream_connect_unix(host_loop(), path, NULL, NULL, &stream);
    if (err < 0) return host_fail(L, err);
    lua_socket_adopt(L, 1, stream);
    lua_pushboolean(L, 1);
    return 1;
}

/* listen(fd, backlog): true, or nil, message, code */
static int net_listen(lua_State *L) {
    int fd = (int)luaL_checkinteger(L, 1), backlog = (int)luaL_checkinteger(L, 2);
    if (listen(fd, backlog) < 0) return host_fail(L, uv_translate_sys_error(errno));
    lua_pushboolean(L, 1);
    return 1;
}

/* accept(fd): a socket; nil when none waits; nil, message, code */
static int net_accept(lua_State *L) {
    int listener = (int)luaL_checkinteger(L, 1), fd;
    do {
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (fd < 0 && errno == EAGAIN) return 0;
    if (fd < 0) return host_fail(L, uv_translate_sys_error(errno));
    struct stream *stream;
    int err = stream_open(host_loop(), fd, AF_UNSPEC, NULL, NULL, &stream);
    if (err < 0) {
        close(fd);
        return host_fail(L, err);
    }
    lua_socket_push(L, stream);
    return 1;
}

int lua_net_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"connect", net_connect},
        {"connect_unix", net_connect_unix},
        {"listen", net_listen},
        {"accept", net_accept},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
