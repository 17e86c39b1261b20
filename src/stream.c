/* WORKER. See stream.h: the life of a stream, from open to freed, and the list of all.
 *
 * Handles carry no pointer in `data` (luv would take it for its own, see uv.walk): the stream is found by its offset. */
#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stream_private.h"

static const struct stream_hooks no_hooks;
static struct stream *all_streams;
static size_t all_count;

static void handle_closed(uv_handle_t *handle) {
    struct stream *stream = stream_of_handle(handle);
    if (stream->hooks->on_closed) stream->hooks->on_closed(stream);
    *stream->back = stream->next;
    if (stream->next) stream->next->back = stream->back;
    if (!stream->outgoing) all_count--;
    free(stream);
}

int stream_new(uv_loop_t *loop, int domain, bool outgoing, struct stream **out) {
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream) return UV_ENOMEM;
    int err = domain == AF_UNIX ? uv_pipe_init(loop, &stream->uv.pipe, 0) : uv_tcp_init(loop, &stream->uv.tcp);
    if (err < 0) {
        free(stream);
        return err;
    }
    stream->hooks = &no_hooks;
    stream->unattached_fd = -1;
    stream->loan = STREAM_NO_LOAN;
    stream->claim = LOAN_HELD;
    stream->outgoing = outgoing;
    stream->next = all_streams;
    stream->back = &all_streams;
    if (all_streams) all_streams->back = &stream->next;
    all_streams = stream;
    if (!outgoing) all_count++;
    *out = stream;
    return 0;
}

void stream_end(struct stream *stream) {
    stream->closing = true;
    if (stream->unattached_fd >= 0) close(stream->unattached_fd);
    stream->unattached_fd = -1;
    uv_close(&stream->uv.handle, handle_closed);
}

int stream_open_unattached(uv_loop_t *loop, int fd, int domain, struct stream **out) {
    socklen_t len = sizeof domain;
    if (domain == AF_UNSPEC && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0) return -errno;
    int err = stream_new(loop, domain, false, out);
    if (err == 0) (*out)->unattached_fd = fd;
    return err;
}

int stream_tell_loop(struct stream *stream) {
    int fd = stream->unattached_fd;
    bool is_tcp = stream->uv.handle.type == UV_TCP;
    int err = is_tcp ? uv_tcp_open(&stream->uv.tcp, fd) : uv_pipe_open(&stream->uv.pipe, fd);
    if (err == 0) stream->unattached_fd = -1;
    return err;
}

int stream_open(uv_loop_t *loop, int fd, int domain, const struct stream_hooks *hooks, void *owner,
                struct stream **out) {
    struct stream *stream = NULL;
    int err = stream_open_unattached(loop, fd, domain, &stream);
    if (!stream) return err;
    err = stream_tell_loop(stream);
    if (err < 0) {
        stream->unattached_fd = -1; /* the caller's still */
        stream_end(stream);
        return err;
    }
    stream_own(stream, hooks, owner);
    *out = stream;
    return 0;
}

void stream_own(struct stream *stream, const struct stream_hooks *hooks, void *owner) {
    stream->hooks = hooks ? hooks : &no_hooks;
    stream->owner = owner;
}

void stream_read_stop(struct stream *stream) {
    if (!stream->reading) return;
    if (stream->unattached_fd < 0) uv_read_stop(&stream->uv.stream);
    stream->reading = false;
}

void stream_each(void (*visit)(struct stream *stream, void *data), void *data) {
    struct stream *next;
    for (struct stream *stream = all_streams; stream; stream = next) {
        next = stream->next; /* closing unlinks on a later turn of the loop, so next stays valid */
        if (!stream->closing) visit(stream, data);
    }
}

size_t stream_count(void) {
    return all_count;
}

int stream_descriptor(const struct stream *stream) {
    return stream_fd(stream);
}

int stream_address(const struct stream *stream, bool remote, char host[STREAM_HOST_BYTES], uint16_t *port) {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_storage storage;
    } address = {0};
    socklen_t len = sizeof address;
    int fd = stream_fd(stream);
    int err = remote ? getpeername(fd, &address.any, &len) : getsockname(fd, &address.any, &len);
    if (err < 0) return uv_translate_sys_error(errno);
    if (address.any.sa_family == AF_INET) {
        *port = ntohs(address.in.sin_port);
        return uv_ip4_name(&address.in, host, STREAM_HOST_BYTES);
    }
    if (address.any.sa_family == AF_INET6) {
        *port = ntohs(address.in6.sin6_port);
        return uv_ip6_name(&address.in6, host, STREAM_HOST_BYTES);
    }
    *port = 0;
    memcpy(host, "unix", sizeof "unix");
    return 0;
}

uint64_t stream_now_ms(const struct stream *stream) {
    return uv_now(stream->uv.handle.loop);
}
