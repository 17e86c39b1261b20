/* MASTER. Listening sockets: TCP and unix, accepting in batches. */
#ifndef CLUA_LISTENER_H
#define CLUA_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <uv.h>

struct pool;

enum { LISTENER_NAME_LEN = 160 };

/* Where to listen. Exactly one of host and path is set. */
struct listen_spec {
    const char *host; /* address or name; "" is 0.0.0.0 */
    uint16_t port;    /* 0: the kernel chooses */
    const char *path; /* unix socket */
    int mode;         /* of the unix socket file; -1: as umask says */
};

struct listener {
    struct listener *next;
    struct pool *pool;
    uv_poll_t poll;
    uv_timer_t pause;
    int fd;
    uint16_t port;                /* the real one; 0 for a unix socket */
    char name[LISTENER_NAME_LEN]; /* "127.0.0.1:8080", "[::1]:8080", "unix:/run/x.sock", "unix:@abstract" */
    char *path;                   /* unix: unlinked at the end if it is still ours */
    dev_t dev;
    ino_t ino;
    bool inherited;          /* who handed it over keeps it: clients in the backlog wait for the next master */
    bool paused, complained; /* one log line for each shortage of descriptors */
    bool deferred;           /* the kernel accepts those who have spoken */
    bool settling;           /* it was so: some may be left that have not */
    bool closing;            /* these are the last ones */
};

/* Called for each accepted, non-blocking, CLOEXEC descriptor, which it then owns. */
typedef void (*listener_accepted_fn)(struct listener *listener, int fd);

/* Binds and listens, adds the listener to its pool; accepting starts with listener_start. 0 or UV_E* with a sentence in
 * `why`: UV_EADDRINUSE, UV_EACCES, ... A stale socket file is replaced, a live one is UV_EADDRINUSE. */
int listener_open(uv_loop_t *loop, struct pool *pool, const struct listen_spec *spec, struct listener **out, char *why,
                  size_t why_len);
/* A listening socket that another has opened: the master before an upgrade, or systemd. path: of a socket file that is ours
 * to unlink at the end, or NULL. On success the listener owns fd. */
int listener_adopt(uv_loop_t *loop, struct pool *pool, int fd, const char *path, struct listener **out);

/* What a listening socket is called, and its port (0 for a unix socket; may be NULL). 0 or UV_E*. */
int listener_name_of(int fd, char *name, size_t name_len, uint16_t *port);

int listener_start(struct listener *listener, listener_accepted_fn accepted);

/* A worker says that its clients speak first: from now on they are lent when bytes have come, for which the kernel waits
 * (defer_accept) or the lobby. */
void listener_clients_speak_first(struct pool *pool);

/* To be closed soon: the kernel is to give whoever comes at once. True while it keeps clients from before that have not
 * spoken yet, for a second at most; closing would reset them. */
bool listener_settle(struct listener *listener);

/* Accepts what the backlog still holds unless it was inherited, closes, unlinks its socket file, frees. */
void listener_close(struct listener *listener);

#endif
