/* MASTER. See listener.h.
 *
 * accept4() in a loop under uv_poll: libuv's own uv_listen takes one connection a turn and may sleep between two. Out of
 * descriptors (EMFILE, ENFILE) or memory the listener pauses and tries again, so that the clients wait in the backlog
 * and the loop does not spin. */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "pool.h"
#include "tcp_half_open.h"

enum { BACKLOG = 4096, ACCEPTS_PER_TURN = 128, PAUSE_MS = 100, DEFER_SECONDS = 1 };

static listener_accepted_fn accepted_fn;

static int fail(int err, char *why, size_t why_len, const char *name) {
    switch (err) {
    case UV_EADDRINUSE:
        snprintf(why, why_len, "cannot listen on %s: address already in use: is another server running there?", name);
        break;
    case UV_EACCES:
        snprintf(why, why_len,
                 "cannot listen on %s: permission denied: a port below 1024 needs root or CAP_NET_BIND_SERVICE, "
                 "a socket file a writable directory",
                 name);
        break;
    default:
        snprintf(why, why_len, "cannot listen on %s: %s", name, uv_strerror(err));
    }
    return err;
}

/* ---- accepting ------------------------------------------------------------------------------------------------ */

static void accept_ready(uv_poll_t *handle, int status, int events);

static void resume(uv_timer_t *timer) {
    struct listener *listener = (struct listener *)((char *)timer - offsetof(struct listener, pause));
    listener->paused = false;
    uv_poll_start(&listener->poll, UV_READABLE, accept_ready);
}

static void pause_listener(struct listener *listener, int err) {
    if (listener->paused) return;
    listener->paused = true;
    uv_poll_stop(&listener->poll);
    uv_timer_start(&listener->pause, resume, PAUSE_MS, 0);
    if (!listener->complained)
        log_write(CLUA_LOG_WARN, "cannot accept on %s: %s: clients wait in the backlog", listener->name,
                  uv_strerror(err));
    listener->complained = true;
}

static void accept_some(struct listener *listener, int limit) {
    for (int i = 0; i < limit; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            listener->complained = false;
            accepted_fn(listener, fd);
            continue;
        }
        switch (errno) {
        case EAGAIN:
            return;
        case EINTR:
        case ECONNABORTED: /* accept(2): errors of the new connection are to be treated like EAGAIN, by trying again */
        case EPROTO:
        case EPERM:
        case ENETDOWN:
        case EHOSTDOWN:
        case EHOSTUNREACH:
        case ENETUNREACH:
        case ETIMEDOUT:
            continue;
        default: /* EMFILE, ENFILE, ENOBUFS, ENOMEM */
            pause_listener(listener, -errno);
            return;
        }
    }
}

static void accept_ready(uv_poll_t *handle, int status, int events) {
    (void)status, (void)events;
    accept_some((struct listener *)((char *)handle - offsetof(struct listener, poll)), ACCEPTS_PER_TURN);
}

/* ---- opening -------------------------------------------------------------------------------------------------- */

static int bind_tcp(struct listener *listener, const struct listen_spec *spec) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char service[8];
    int one = 1;
    snprintf(service, sizeof service, "%u", spec->port);
    int rc = getaddrinfo(spec->host[0] ? spec->host : "0.0.0.0", service, &hints, &found);
    if (rc != 0) return rc == EAI_SYSTEM ? -errno : UV_EAI_NONAME;
    int err = 0;
    listener->fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->fd < 0) {
        err = -errno;
    } else {
        setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        setsockopt(listener->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* accepted sockets inherit it */
        if (found->ai_family == AF_INET6) setsockopt(listener->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
        if (bind(listener->fd, found->ai_addr, found->ai_addrlen) < 0) err = -errno;
    }
    freeaddrinfo(found);
    return err;
}

static bool socket_is_live(const struct sockaddr_un *address) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return true;
    bool live = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EAGAIN;
    close(fd);
    return live;
}

static int bind_unix(struct listener *listener, const struct listen_spec *spec) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(spec->path) >= sizeof address.sun_path) return UV_ENAMETOOLONG;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", spec->path);
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->fd < 0) return -errno;
    if (bind(listener->fd, (struct sockaddr *)&address, sizeof address) < 0) {
        if (errno != EADDRINUSE) return -errno;
        /* Only a socket that nobody answers on may be replaced, never another kind of file. */
        if (lstat(spec->path, &st) == 0 && !S_ISSOCK(st.st_mode)) return UV_EEXIST;
        if (socket_is_live(&address)) return UV_EADDRINUSE;
        if (unlink(spec->path) < 0 && errno != ENOENT) return -errno;
        if (bind(listener->fd, (struct sockaddr *)&address, sizeof address) < 0) return -errno;
    }
    if (spec->mode >= 0 && chmod(spec->path, (mode_t)spec->mode) < 0) return -errno;
    if (stat(spec->path, &st) < 0) return -errno;
    listener->dev = st.st_dev;
    listener->ino = st.st_ino;
    listener->path = strdup(spec->path);
    return listener->path ? 0 : UV_ENOMEM;
}

static void set_name(struct listener *listener, const struct listen_spec *spec) {
    if (spec->path) {
        snprintf(listener->name, sizeof listener->name, "unix:%s", spec->path);
        return;
    }
    const char *host = spec->host[0] ? spec->host : "0.0.0.0";
    snprintf(listener->name, sizeof listener->name, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, listener->port);
}

static void name_unix(const struct sockaddr_un *address, socklen_t len, char *name, size_t name_len) {
    int path_len = (int)len - (int)offsetof(struct sockaddr_un, sun_path);
    if (path_len > 0 && address->sun_path[0] == '\0') {
        snprintf(name, name_len, "unix:@%.*s", path_len - 1, address->sun_path + 1);
    } else {
        snprintf(name, name_len, "unix:%.*s", path_len, address->sun_path); /* the path's NUL may be missing */
    }
}

int listener_name_of(int fd, char *name, size_t name_len, uint16_t *port) {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } address = {0};
    char host[INET6_ADDRSTRLEN] = "";
    uint16_t found = 0;
    socklen_t len = sizeof address;
    if (getsockname(fd, &address.any, &len) < 0) return -errno;
    switch (address.any.sa_family) {
    case AF_UNIX:
        name_unix(&address.un, len, name, name_len);
        break;
    case AF_INET6:
        uv_ip6_name(&address.in6, host, sizeof host);
        found = ntohs(address.in6.sin6_port);
        snprintf(name, name_len, "[%s]:%u", host, found);
        break;
    case AF_INET:
        uv_ip4_name(&address.in, host, sizeof host);
        found = ntohs(address.in.sin_port);
        snprintf(name, name_len, "%s:%u", host, found);
        break;
    default:
        return UV_EAFNOSUPPORT;
    }
    if (port) *port = found;
    return 0;
}

int listener_open(uv_loop_t *loop, struct pool *pool, const struct listen_spec *spec, struct listener **out, char *why,
                  size_t why_len) {
    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener) return fail(UV_ENOMEM, why, why_len, "");
    listener->fd = -1;
    listener->pool = pool;
    listener->port = spec->port;
    set_name(listener, spec);
    int err = spec->path ? bind_unix(listener, spec) : bind_tcp(listener, spec);
    if (err == 0 && listen(listener->fd, BACKLOG) < 0) err = -errno;
    if (err == 0) err = uv_poll_init(loop, &listener->poll, listener->fd);
    if (err < 0) {
        fail(err, why, why_len, listener->name);
        if (listener->fd >= 0) close(listener->fd);
        free(listener->path);
        free(listener);
        return err;
    }
    uv_timer_init(loop, &listener->pause);
    char bound[LISTENER_NAME_LEN]; /* as the kernel calls it; ours keeps the host as it was written */
    listener_name_of(listener->fd, bound, sizeof bound, &listener->port);
    set_name(listener, spec);
    listener->next = pool->listeners;
    pool->listeners = listener;
    *out = listener;
    return 0;
}

int listener_adopt(uv_loop_t *loop, struct pool *pool, int fd, const char *path, struct listener **out) {
    struct stat st;
    int one = 1;
    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener) return UV_ENOMEM;
    listener->fd = fd;
    listener->pool = pool;
    int err = listener_name_of(fd, listener->name, sizeof listener->name, &listener->port);
    if (err == 0 && path && !(listener->path = strdup(path))) err = UV_ENOMEM;
    if (err == 0) err = uv_poll_init(loop, &listener->poll, fd); /* makes it non-blocking */
    if (err < 0) {
        free(listener->path);
        free(listener);
        return err;
    }
    if (path && stat(path, &st) == 0) {
        listener->dev = st.st_dev;
        listener->ino = st.st_ino;
    }
    uv_timer_init(loop, &listener->pause);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (listener->port != 0) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* as bind_tcp() does */
    listener->next = pool->listeners;
    pool->listeners = listener;
    *out = listener;
    return 0;
}

/* The kernel waits for the bytes of clients (TCP_DEFER_ACCEPT, tcp(7)), or does so no more. */
static void set_deferred(struct listener *listener, bool defer) {
    int seconds = defer ? DEFER_SECONDS : 0;
    if (listener->port == 0) return; /* a unix socket */
    if (setsockopt(listener->fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds) == 0)
        listener->deferred = defer;
}

int listener_start(struct listener *listener, listener_accepted_fn accepted) {
    accepted_fn = accepted;
    if (listener->pool->clients_speak_first) set_deferred(listener, listener->pool->options.defer_accept);
    return uv_poll_start(&listener->poll, UV_READABLE, accept_ready);
}

void listener_clients_speak_first(struct pool *pool) {
    if (pool->clients_speak_first) return;
    pool->clients_speak_first = true;
    if (!pool->options.defer_accept) return;
    for (struct listener *listener = pool->listeners; listener; listener = listener->next) set_deferred(listener, true);
}

/* ---- closing -------------------------------------------------------------------------------------------------- */

static void timer_closed(uv_handle_t *handle) {
    struct listener *listener = (struct listener *)((char *)handle - offsetof(struct listener, pause));
    free(listener->path);
    free(listener);
}

static void poll_closed(uv_handle_t *handle) {
    struct listener *listener = (struct listener *)((char *)handle - offsetof(struct listener, poll));
    uv_close((uv_handle_t *)&listener->pause, timer_closed);
}

bool listener_settle(struct listener *listener) {
    union {
        struct sockaddr any;
        struct sockaddr_storage room;
    } address = {0};
    socklen_t len = sizeof address;
    if (listener->deferred && !listener->inherited) {
        set_deferred(listener, false);
        listener->settling = true;
    }
    if (!listener->settling || getsockname(listener->fd, &address.any, &len) < 0) return false;
    return tcp_half_open(address.any.sa_family, listener->port);
}

void listener_close(struct listener *listener) {
    struct stat st;
    struct listener **at = &listener->pool->listeners;
    while (*at != listener) at = &(*at)->next;
    *at = listener->next;
    /* Closing would reset those who have connected but were not accepted yet. */
    set_deferred(listener, false);
    listener->closing = true;
    if (accepted_fn && !listener->inherited) accept_some(listener, BACKLOG);
    uv_timer_stop(&listener->pause);
    uv_close((uv_handle_t *)&listener->poll,
             poll_closed); /* before the descriptor, see close_channel() in slot_life.c */
    close(listener->fd);
    if (listener->path && stat(listener->path, &st) == 0 && st.st_dev == listener->dev && st.st_ino == listener->ino)
        unlink(listener->path);
}
