/* BOTH. The shared-memory segment of one worker: a memfd mapped by that worker and by the master, nobody else.
 *
 * The master creates it and writes `boot` before the worker starts; after that the worker owns every field but those
 * named master's below. The master reads what a worker wrote as untrusted: figures are only compared and shown, loan
 * indices, states and ring positions are checked before use. Layout changes bump SEGMENT_LAYOUT. */
#ifndef CLUA_SEGMENT_H
#define CLUA_SEGMENT_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

enum {
    SEGMENT_MAGIC = 0x61756c63,
    SEGMENT_LAYOUT = 7,
    SEGMENT_LOANS = 32768,       /* loans that one worker can have at a time; untouched pages cost nothing */
    SEGMENT_RING_ENTRIES = 1024, /* power of two; when it is full the worker keeps its completions and tries again */
    SEGMENT_ARGS_BYTES = 4096,
    SEGMENT_ACCESS_BYTES = 1024,
    SEGMENT_VALUES = 32, /* monset() values */
    SEGMENT_KEY_BYTES = 32,
    SEGMENT_VALUE_BYTES = 64,
    SEGMENT_BLAMES = 64, /* requests in execution whose lines are known */
    SEGMENT_BLAME_BYTES = 244,
};

/* What a worker says of one loan. The worker moves it, except for UNTOUCHED -> TAKEN and IDLE -> TAKEN, which are the
 * master's compare-and-swap; so a worker must win its own compare-and-swap out of UNTOUCHED and IDLE before it reads
 * or writes a byte.
 *
 *  FREE -> UNTOUCHED -> READING <-> RESPONDING -> IDLE -> READING ...   a protocol with boundaries (HTTP)
 *             |                                    |
 *             +-> HELD  (any other protocol)       +-> PARKED, or TAKEN by the master
 *
 * RESPONDING -> ANSWERED -> IDLE: the worker says how many bytes the connection had been given before an answer (`begun`),
 * and before its last write how many it will have been given then (`written`). When it dies the master asks the kernel how
 * many it took: all of `written` means answered, no more than `begun` means that the client may still be told of the loss.
 *
 * PARKED, BACK and RETURNED are written just before the entry of the ring that says the same; they stand alone only when
 * the worker died between the two steps. */
#define LOAN_STATES(X)                                                                                                 \
    X(FREE, "free")             /* the word belongs to no loan */                                                      \
    X(UNTOUCHED, "untouched")   /* lent, no byte read or written: can be lent again */                                 \
    X(IDLE, "idle")             /* between two requests: can be lent again */                                          \
    X(READING, "reading")       /* a request is being read or executed, nothing answered: `lost` reply */              \
    X(RESPONDING, "responding") /* a part of an answer may have been sent: can only be closed */                       \
    X(HELD, "held")             /* no boundaries known: ends with its worker */                                        \
    X(TAKEN, "taken")           /* the master took it back; the worker drops its duplicate and completes with DROP */  \
    X(PARKED, "parked")         /* given back between two requests */                                                  \
    X(BACK, "back")             /* given back untouched */                                                             \
    X(RETURNED, "returned")     /* shut down and closed, or dropped after TAKEN */                                     \
    X(ANSWERED, "answered")     /* the last answer owed is being written: idle if the kernel has all of `written` */

enum loan_state {
#define X(name, text) LOAN_##name,
    LOAN_STATES(X)
#undef X
        LOAN_STATE_COUNT
};

/* Name of a state for logs; "?" for a number that is none (a hostile worker may write any). */
const char *loan_state_name(uint32_t state);

/* How a loan ends, in the worker's words. One completion a loan, ever. */
enum completion_kind {
    COMPLETION_DONE = 1, /* shut down and closed by the worker: the master closes its descriptor */
    COMPLETION_PARK,     /* idle: back to the lobby until bytes arrive; aux = milliseconds it may stay, 0 = no limit */
    COMPLETION_BACK,     /* not taken or not wanted (drain, no descriptor): lend it to another worker at once */
    COMPLETION_DROP,     /* the answer to TAKEN: the worker has closed its duplicate, the loan index is free again */
};

struct completion {
    uint32_t loan; /* index into `loans` */
    uint16_t kind; /* enum completion_kind */
    uint16_t reserved;
    uint32_t aux;
    uint32_t written; /* PARK: bytes that the connection has been given so far, modulo 2^32 */
};

/* What crosses the fork. Written by the master before the worker runs, read once by the worker. */
struct boot {
    uint32_t worker_id;       /* position in its pool, from 1; a replacement has the same */
    uint32_t generation;      /* counts the starts of this pool's workers */
    uint32_t term_timeout_ms; /* how long a draining worker may go on */
    uint32_t linger_ms;       /* idle time after which a keep-alive connection is parked */
    uint32_t maxc;            /* ask to be replaced after so many requests; 0 = never; jitter already applied */
    uint32_t log_level;       /* enum log_level */
    uint64_t max_rss_bytes;   /* ask to be replaced above this; 0 = never */
    char name[256];           /* name of the registration, for logs */
    char script[4096];        /* worker script, absolute path */
    char user[64], group[64]; /* empty: keep */
    uint32_t argc;            /* strings in args, each ended by NUL */
    char args[SEGMENT_ARGS_BYTES];
    char access_format[SEGMENT_ACCESS_BYTES]; /* of the access log; empty: there is none, and no ACCESS_FD */
    uint32_t access_json;
    uint32_t slow_after_ms; /* what holds up the loop for longer is slow, see hold.h; 0: nothing is */
    uint32_t place;         /* in the bulkhead */
    uint32_t sched_batch;   /* 1: the worker may choose SCHED_BATCH, see sched_policy.h */
};

/* Load figures: one writer, the worker; plain relaxed stores. Times are CLOCK_MONOTONIC milliseconds, cut to 32 bits. */
struct figures {
    _Atomic uint32_t tick;          /* turns of the worker's loop */
    _Atomic uint32_t busy_since_ms; /* 0: waiting in poll; else when this turn of the loop began (never 0) */
    _Atomic int32_t remain;         /* requests in execution */
    _Atomic uint32_t loans_taken;   /* loans received from the channel, ever */
    _Atomic uint64_t scores;        /* requests begun, ever */
    _Atomic uint64_t rss_bytes;
    _Atomic uint64_t lua_heap_bytes;
    _Atomic uint32_t loop_lag_us; /* length of the longest turn of the loop in the last second */
    _Atomic uint64_t cpu_us;      /* processor time, user and system; as of the last second */
    _Atomic uint32_t slow;        /* 1: code runs that is known to hold up the loop */
};

/* What the HTTP server has answered; one writer, the worker. Read once more when it is dead, see totals.h. */
enum { SERVED_CLASSES = 5 };
struct served {
    _Atomic uint64_t responses[SERVED_CLASSES]; /* 1xx to 5xx; of those in between only 101 */
    struct histogram request_time;              /* from the call of the handler to the end of the answer */
    _Atomic uint64_t held;                      /* requests left unread for a while, see hold.h */
    struct histogram held_time;                 /* for how long: of those that are not any more */
};

/* Which events the sleeping master wants a doorbell for. The master sets bits before it sleeps and looks again after;
 * the worker clears what it answers. */
enum { WANT_ENTRY = 1, WANT_TAKEN = 2, WANT_BUSY = 4, WANT_SLOW = 8 };

struct segment_value {
    char key[SEGMENT_KEY_BYTES];
    char value[SEGMENT_VALUE_BYTES];
};

/* A request that the worker executes, for the log after its death. The bytes are a client's. */
struct segment_blame {
    uint32_t ticket;   /* names the request among those of this worker */
    uint32_t line_len; /* of all of it; `line` has the beginning */
    uint32_t in_execution;
    char line[SEGMENT_BLAME_BYTES]; /* method, space, target */
};

struct segment_blames {
    uint32_t running; /* ticket of the request whose code runs, 0: nobody's */
    struct segment_blame entries[SEGMENT_BLAMES];
};

struct segment {
    uint32_t magic, layout; /* master */
    struct boot boot;       /* master */

    alignas(64) struct figures figures;
    alignas(64) struct served served;
    _Atomic uint32_t values_version; /* odd while the worker changes `values` */
    struct segment_value values[SEGMENT_VALUES];

    alignas(64) struct segment_blames blames;

    alignas(64) _Atomic uint32_t want; /* both: WANT_* */

    alignas(64) _Atomic uint32_t ring_head; /* entries ever pushed (worker) */
    alignas(64) _Atomic uint32_t ring_tail; /* entries ever read (master, never read back) */
    struct completion ring[SEGMENT_RING_ENTRIES];

    alignas(64) _Atomic uint32_t loans[SEGMENT_LOANS]; /* enum loan_state; FREE <-> UNTOUCHED by the master */
    /* See ANSWERED; modulo 2^32, counted over all loans of a connection. */
    alignas(64) _Atomic uint32_t begun[SEGMENT_LOANS];
    alignas(64) _Atomic uint32_t written[SEGMENT_LOANS];
};

/* Creates a sealed-size memfd and maps it. 0 or UV_E*. *fd_out is CLOEXEC and belongs to the caller. */
int segment_create(struct segment **out, int *fd_out);

/* Maps an inherited segment and checks magic, layout and size. 0, UV_EPROTO or UV_E*. */
int segment_map(int fd, struct segment **out);
void segment_unmap(struct segment *segment);

/* WORKER. Pushes a completion; false when the ring is full (keep it and try again on the next turn). */
bool segment_push(struct segment *segment, struct completion entry);

/* MASTER. 1 with an entry in *out, 0 when there is none, UV_EPROTO when the worker's head makes no sense. *tail is the
 * master's own position (0 at the start): the one in the segment is only published for the worker.
 * The entry's fields are the worker's word: unchecked. */
int segment_pop(struct segment *segment, uint32_t *tail, struct completion *out);

/* WORKER. True once for each time that the master has asked for one of these bits: ring the doorbell then. */
bool segment_wanted(struct segment *segment, uint32_t bits);

/* Compare-and-swap of one loan word. True when it was `from` and is now `to`. */
static inline bool loan_swap(_Atomic uint32_t *word, enum loan_state from, enum loan_state to) {
    uint32_t expected = (uint32_t)from;
    return atomic_compare_exchange_strong(word, &expected, (uint32_t)to);
}

/* Milliseconds as the figures use them: never 0. */
static inline uint32_t segment_stamp(uint64_t now_ms) {
    uint32_t stamp = (uint32_t)now_ms;
    return stamp ? stamp : 1;
}

#endif
