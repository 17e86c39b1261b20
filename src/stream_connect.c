/* WORKER. See stream.h: connections that this process opens itself. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "stream_private.h"

struct connecting {
    uv_connect_t request;
    struct stream *stream;
};

static void connected(uv_connect_t *request, int status) {
    struct connecting *connecting = (struct connecting *)request;
    struct stream *stream = connecting->stream;
    free(connecting);
    if (!stream->closing && stream->hooks->on_connect) stream->hooks->on_connect(stream, status);
}

static int begin_connect(uv_loop_t *loop, int domain, struct stream **stream, struct connecting **connecting) {
    *connecting = malloc(sizeof **connecting);
    if (!*connecting) return UV_ENOMEM;
    int err = stream_new(loop, domain, true, stream);
    if (err < 0) {
        free(*connecting);
        return err;
    }
    (*connecting)->stream = *stream;
    return 0;
}

int stream_connect(uv_loop_t *loop, const struct sockaddr *address, const struct stream_hooks *hooks, void *owner,
                   struct stream **out) {
    struct stream *stream;
    struct connecting *connecting;
    int err = begin_connect(loop, address->sa_family, &stream, &connecting);
    if (err < 0) return err;
    err = uv_tcp_connect(&connecting->request, &stream->uv.tcp, address, connected);
    if (err < 0) {
        free(connecting);
        stream_end(stream);
        return err;
    }
    stream_own(stream, hooks, owner);
    *out = stream;
    return 0;
}

int stream_connect_unix(uv_loop_t *loop, const char *path, const struct stream_hooks *hooks, void *owner,
                        struct stream **out) {
    struct stream *stream;
    struct connecting *connecting;
    /* libuv would cut a path that is too long, and connect somewhere else. */
    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path) return UV_ENAMETOOLONG;
    int err = begin_connect(loop, AF_UNIX, &stream, &connecting);
    if (err < 0) return err;
    uv_pipe_connect(&connecting->request, &stream->uv.pipe, path, connected);
    stream_own(stream, hooks, owner);
    *out = stream;
    return 0;
}
