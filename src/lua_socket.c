/* WORKER. The staircase between struct stream and the sockets of Lua scripts (methods: lua/clua/socket.lua).
 *
 * A socket is a Lua table {box} with the metatable of clua.socket; the box is a userdata around the stream. While the
 * stream lives the registry keeps the table, since the kernel may have news for it; the box is emptied on close.
 * Events are handed to one Lua function, `on_event(socket, kind, value, code)`, which runs as a task: while it waits, the
 * stream is not read (back-pressure), unless the script itself has asked for more meanwhile. */
#include "lua_socket.h"

#include <stdlib.h>
#include <string.h>

#include "lua_host.h"

static const char *const BOX = "clua.core.socket";

struct box {
    struct stream *stream; /* NULL: closed or handed over */
    int ref;               /* the socket's table in the registry, LUA_NOREF without one */
    bool event_waits;      /* the task of the last data event is suspended */
    bool asked_in_event;   /* the script called read_start while that event was running */
    bool wanted;           /* the script wants data */
};

static char class_key, event_key; /* registry keys: the sockets' metatable, the event function */
static int box_meta = LUA_NOREF;  /* that of BOX: to look it up by its name takes a hash of that each time */

static struct box *check_box(lua_State *L, int index) {
    return luaL_checkudata(L, index, BOX);
}

/* The stream of an open box, or NULL with nil, message, code pushed. */
static struct stream *check_open(lua_State *L) {
    struct box *box = check_box(L, 1);
    if (box->stream && !box->stream->closing) return box->stream;
    lua_pushnil(L);
    lua_pushliteral(L, "the socket is closed");
    lua_pushliteral(L, "ECLOSED");
    return NULL;
}

/* ---- events --------------------------------------------------------------------------------------------------- */

static void event_done(void *data, enum task_status status, const char *error) {
    struct box *box = data;
    if (status == TASK_FAILED) host_uncaught(error);
    box->event_waits = false;
    if (box->stream && box->wanted) stream_read_start(box->stream);
}

/* Pushes function, socket and kind; the caller pushes the value and runs. */
static void begin_event(const struct box *box, const char *kind) {
    lua_State *L = host_state();
    luaL_checkstack(L, 6, "socket event");
    lua_pushlightuserdata(L, &event_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->ref);
    lua_pushstring(L, kind);
}

static void socket_data(struct stream *stream, char *bytes, size_t len) {
    struct box *box = stream->owner;
    begin_event(box, "data");
    lua_pushlstring(host_state(), bytes, len);
    box->asked_in_event = false;
    enum task_status status = host_run(3, event_done, box);
    if (status == TASK_FAILED) host_uncaught(host_error());
    /* The script may have handed the stream over, and the box with it; the stream itself lives until its close hook. */
    if (status != TASK_SUSPENDED || stream->owner != box || box->event_waits) return;
    box->event_waits = true;
    if (!box->asked_in_event && box->stream) stream_read_stop(box->stream);
}

static void release_box(struct box *box) {
    box->stream = NULL;
    host_disown(event_done, box);
    luaL_unref(host_state(), LUA_REGISTRYINDEX, box->ref);
    box->ref = LUA_NOREF;
}

/* An attempt that fails is forgotten at once: the script may try another address with the same socket. */
static void socket_connect(struct stream *stream, int status) {
    struct box *box = stream->owner;
    begin_event(box, "connect");
    if (status == 0) {
        lua_pushnil(host_state());
        host_run(3, NULL, NULL);
        return;
    }
    stream_own(stream, NULL, NULL);
    stream_close(stream);
    release_box(box);
    lua_pushstring(host_state(), uv_strerror(status));
    lua_pushstring(host_state(), uv_err_name(status));
    host_run(4, NULL, NULL);
}

static void plain_event(struct stream *stream, const char *kind) {
    begin_event(stream->owner, kind);
    lua_pushnil(host_state());
    host_run(3, NULL, NULL);
}

static void socket_end(struct stream *stream) {
    plain_event(stream, "end");
}

static void socket_error(struct stream *stream, int error) {
    begin_event(stream->owner, "error");
    lua_pushstring(host_state(), uv_strerror(error));
    lua_pushstring(host_state(), uv_err_name(error));
    host_run(4, NULL, NULL);
}

static void socket_drain(struct stream *stream) {
    plain_event(stream, "drain");
}

/* What nobody has read or written is another worker's to serve; the rest is the script's (worker:on("drain")). */
static void socket_recall(struct stream *stream) {
    if (stream->unowned || !stream_park(stream, 0)) plain_event(stream, "recall");
}

static void socket_closed(struct stream *stream) {
    struct box *box = stream->owner;
    box->stream = NULL;
    plain_event(stream, "close");
    release_box(box);
}

static const struct stream_hooks socket_hooks = {
    .on_connect = socket_connect,
    .on_data = socket_data,
    .on_end = socket_end,
    .on_error = socket_error,
    .on_drain = socket_drain,
    .on_recall = socket_recall,
    .on_closed = socket_closed,
};

/* ---- making and taking ---------------------------------------------------------------------------------------- */

/* Puts a new box, with or without a stream, into the socket at index. */
static void put_box(lua_State *L, int index, struct stream *stream) {
    struct box *box = lua_newuserdata(L, sizeof *box);
    memset(box, 0, sizeof *box);
    box->ref = LUA_NOREF;
    lua_rawgeti(L, LUA_REGISTRYINDEX, box_meta);
    lua_setmetatable(L, -2);
    lua_rawseti(L, index, 1);
    if (!stream) return;
    lua_pushvalue(L, index);
    box->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    box->stream = stream;
    stream_own(stream, &socket_hooks, box);
}

static void new_socket(lua_State *L, struct stream *stream) {
    lua_createtable(L, 1, 0); /* what the script sets makes room: one that is given to HTTP has nothing else */
    put_box(L, lua_gettop(L), stream);
    lua_pushlightuserdata(L, &class_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_setmetatable(L, -2);
}

void lua_socket_push(lua_State *L, struct stream *stream) {
    new_socket(L, stream);
}

void lua_socket_adopt(lua_State *L, int index, struct stream *stream) {
    put_box(L, index, stream);
}

struct stream *lua_socket_take(lua_State *L, int index) {
    luaL_checktype(L, index, LUA_TTABLE);
    lua_rawgeti(L, index, 1);
    struct box *box = lua_touserdata(L, -1);
    luaL_argcheck(L, box && lua_getmetatable(L, -1), index, "a socket expected");
    lua_rawgeti(L, LUA_REGISTRYINDEX, box_meta);
    luaL_argcheck(L, lua_rawequal(L, -1, -2), index, "a socket expected");
    lua_pop(L, 3);
    struct stream *stream = box->stream;
    if (!stream || stream->closing) return NULL;
    stream_read_stop(stream);
    stream_own(stream, NULL, NULL);
    release_box(box);
    return stream;
}

/* from_fd(fd): socket, or nil, message, code. The socket owns the descriptor. */
static int socket_from_fd(lua_State *L) {
    int fd = (int)luaL_checkinteger(L, 1);
    struct stream *stream;
    int err = stream_open(host_loop(), fd, AF_UNSPEC, NULL, NULL, &stream);
    if (err < 0) return host_fail(L, err);
    lua_socket_push(L, stream);
    return 1;
}

/* new(): a socket that is not connected yet */
static int socket_new(lua_State *L) {
    new_socket(L, NULL);
    return 1;
}

/* setup(class, on_event): called once by clua.socket. */
static int socket_setup(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushlightuserdata(L, &class_key);
    lua_pushvalue(L, 1);
    lua_rawset(L, LUA_REGISTRYINDEX);
    lua_pushlightuserdata(L, &event_key);
    lua_pushvalue(L, 2);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return 0;
}

/* ---- methods of the box --------------------------------------------------------------------------------------- */

static int box_read_start(lua_State *L) {
    struct stream *stream = check_open(L);
    if (!stream) return 3;
    struct box *box = stream->owner;
    box->wanted = true;
    box->asked_in_event = true;
    int err = stream_read_start(stream);
    if (err < 0 && err != UV_EOF) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

static int box_read_stop(lua_State *L) {
    struct stream *stream = check_open(L);
    if (!stream) return 3;
    ((struct box *)stream->owner)->wanted = false;
    stream_read_stop(stream);
    lua_pushboolean(L, 1);
    return 1;
}

/* write(bytes): number of bytes that are queued now, or nil, message, code */
static int box_write(lua_State *L) {
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    struct stream *stream = check_open(L);
    if (!stream) return 3;
    int err = stream_write(stream, bytes, len);
    if (err < 0) return host_fail(L, err);
    lua_pushnumber(L, (lua_Number)stream->queued_bytes);
    return 1;
}

static int box_shutdown(lua_State *L) {
    struct stream *stream = check_open(L);
    if (!stream) return 3;
    int err = stream_shutdown(stream);
    if (err < 0) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

static int box_close(lua_State *L) {
    struct box *box = check_box(L, 1);
    if (box->stream) stream_close(box->stream);
    return 0;
}

static int box_reset(lua_State *L) {
    struct box *box = check_box(L, 1);
    if (box->stream) stream_reset(box->stream);
    return 0;
}

/* park(keep_ms): true when the connection has gone back to the master */
static int box_park(lua_State *L) {
    lua_Number keep = luaL_optnumber(L, 2, 0);
    luaL_argcheck(L, keep >= 0 && keep <= UINT32_MAX, 2, "milliseconds out of range");
    struct stream *stream = check_open(L);
    if (!stream) return 3;
    enum loan_state state = stream_state(stream);
    if (state == LOAN_HELD && stream->queued_bytes == 0) stream_publish(stream, LOAN_IDLE);
    bool parked = stream_park(stream, (uint32_t)keep);
    if (!parked && stream_state(stream) == LOAN_IDLE) stream_publish(stream, state);
    lua_pushboolean(L, parked);
    return 1;
}

/* info(): lent, port, state */
static int box_info(lua_State *L) {
    struct stream *stream = check_open(L);
    if (!stream) return 3;
    lua_pushinteger(L, stream->lent);
    lua_pushinteger(L, stream->port);
    lua_pushstring(L, loan_state_name(stream_state(stream)));
    return 3;
}

/* address(remote): host, port ("unix", 0 for a unix socket) */
static int box_address(lua_State *L) {
    bool remote = lua_toboolean(L, 2);
    struct stream *stream = check_open(L);
    if (!stream) return 3;
    char host[STREAM_HOST_BYTES];
    uint16_t port;
    int err = stream_address(stream, remote, host, &port);
    if (err < 0) return host_fail(L, err);
    lua_pushstring(L, host);
    lua_pushinteger(L, port);
    return 2;
}

/* forget(): ends an attempt to connect without an event */
static int box_forget(lua_State *L) {
    struct box *box = check_box(L, 1);
    struct stream *stream = box->stream;
    if (!stream || stream->closing) return 0;
    stream_own(stream, NULL, NULL);
    stream_close(stream);
    release_box(box);
    return 0;
}

/* hold(whether): does the open socket keep the loop running? */
static int box_hold(lua_State *L) {
    bool hold = lua_toboolean(L, 2);
    struct stream *stream = check_open(L);
    if (!stream) return 3;
    if (hold) {
        uv_ref(&stream->uv.handle);
    } else {
        uv_unref(&stream->uv.handle);
    }
    return 0;
}

/* quiet(): true when neither bytes nor the end wait to be read */
static int box_quiet(lua_State *L) {
    struct stream *stream = check_open(L);
    if (!stream) return 3;
    char byte;
    lua_pushboolean(L, stream_peek(stream, &byte, 1) == UV_EAGAIN);
    return 1;
}

/* nodelay(on): true, or nil, message, code. On a unix socket there is nothing to delay. */
static int box_nodelay(lua_State *L) {
    bool on = lua_toboolean(L, 2);
    struct stream *stream = check_open(L);
    if (!stream) return 3;
    int err = stream_attach(stream);
    if (err == 0 && stream->uv.handle.type == UV_TCP) err = uv_tcp_nodelay(&stream->uv.tcp, on);
    if (err < 0) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

/* keepalive(on, delay_s): true, or nil, message, code */
static int box_keepalive(lua_State *L) {
    bool on = lua_toboolean(L, 2);
    lua_Integer delay = luaL_optinteger(L, 3, 60);
    luaL_argcheck(L, delay >= 1 && delay <= INT16_MAX, 3, "seconds out of range");
    struct stream *stream = check_open(L);
    if (!stream) return 3;
    int err = stream_attach(stream);
    if (err == 0 && stream->uv.handle.type == UV_TCP) err = uv_tcp_keepalive(&stream->uv.tcp, on, (unsigned)delay);
    if (err < 0) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

static int box_tostring(lua_State *L) {
    struct box *box = check_box(L, 1);
    lua_pushfstring(L, "clua.core.socket: %s", box->stream ? "open" : "closed");
    return 1;
}

int lua_socket_open(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"read_start", box_read_start}, {"read_stop", box_read_stop}, {"write", box_write}, {"shutdown", box_shutdown},
        {"close", box_close},           {"reset", box_reset},         {"park", box_park},   {"info", box_info},
        {"address", box_address},       {"forget", box_forget},       {"hold", box_hold},   {"quiet", box_quiet},
        {"nodelay", box_nodelay},       {"keepalive", box_keepalive}, {NULL, NULL},
    };
    static const luaL_Reg meta[] = {{"__tostring", box_tostring}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"from_fd", socket_from_fd},
        {"new", socket_new},
        {"setup", socket_setup},
        {NULL, NULL},
    };
    host_metatable(L, BOX, methods, meta);
    luaL_getmetatable(L, BOX);
    box_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
