/* MASTER. A pool: what one registration is made of: its listeners, its slots, the connections that wait for them. */
#ifndef CLUA_POOL_H
#define CLUA_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "connection.h"
#include "histogram.h"
#include "totals.h"

struct slot;
struct listener;
struct shared;

/* Registration options as the master needs them. Strings are owned by the pool. */
struct pool_options {
    char *name, *script, *user, *group;
    char *args; /* argc strings, each ended by NUL */
    uint32_t args_len, argc;
    char *gone, *lost; /* raw bytes that the master sends for a full lobby, for a request whose worker died */
    size_t gone_len, lost_len;
    uint32_t ready_timeout_ms, term_timeout_ms, hang_timeout_ms, steal_after_ms, slow_after_ms, linger_ms,
        queue_timeout_ms, idle_timeout_ms;
    uint32_t queue_max;
    uint32_t maxc;
    uint64_t max_rss_bytes;
    bool inherits_output; /* its workers print where the master does, not into the log */
    bool defer_accept;    /* a listener may leave clients that say nothing to the kernel */
    bool sched_batch;     /* its workers may choose SCHED_BATCH */
};

struct pool {
    struct pool *next;
    struct pool_options options;
    struct listener *listeners; /* list through listener.next */
    struct slot *slots;         /* list through slot.next */
    struct link waiting, parked, farewell;
    uint32_t waiting_count, parked_count, farewell_count;
    int shared_fd;         /* of the memory that its workers share; -1: none yet */
    struct shared *shared; /* NULL: none yet */
    int access_fd;         /* the access log, or -1 */
    char *access_format;
    bool access_json;
    uint32_t generation; /* starts of workers so far */
    bool clients_speak_first;
    bool closing;   /* accepts no more */
    bool on_demand; /* a worker is started when clients wait, and finishes when it is idle */
    /* The Lua choice of a worker, if the dispatch script gave one: index into candidates or -1. */
    int (*choose)(struct pool *pool, struct slot **candidates, int count);
    /* Counters for status. lost: answered so, since the worker died executing; broken: closed with it, in the middle of an
     * answer or of another protocol. */
    uint64_t accepted, turned_away, lost, broken, stolen;
    struct histogram queue_time; /* in the lobby with something to do, until a worker got it */
    struct totals totals;        /* of dead workers */
};

struct pool *pool_new(const struct pool_options *options); /* takes the strings; NULL: out of memory */
void pool_options_free(struct pool_options *options);
struct pool *pool_first(void);

/* The memory that its workers share, made when there is none. 0 or UV_E*. */
int pool_share(struct pool *pool);

#endif
