/* BOTH. Token buckets that all workers of a registration share: a table of fixed size in memory that they share (shared.h).
 * The master never looks into it.
 *
 * A bucket is one word: the time at which it will be full again (the virtual scheduling form of the token bucket: as far
 * as that lies in the future, so much is missing). Taking is one compare-and-swap of that word, so there is no lock that
 * a killed worker could hold, and no state that it could leave half written. A bucket whose time has passed is full, and
 * a full bucket need not be known: its cell may be given to another name by one compare-and-swap of the name, without
 * touching the time. That is why the table needs no cleaning, and why it may be small. */
#ifndef CLUA_BUCKETS_H
#define CLUA_BUCKETS_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BUCKETS_SETS = 8192, /* power of two */
    BUCKETS_WAYS = 8,    /* a name has its place in any cell of one set: two cache lines */
};

struct bucket {
    _Atomic uint64_t name;       /* keyed hash; 0: never used */
    _Atomic uint64_t full_at_ns; /* CLOCK_MONOTONIC, which all processes share */
};

struct buckets {
    uint64_t key[2]; /* of the hash; random */
    alignas(64) struct bucket cells[BUCKETS_SETS][BUCKETS_WAYS];
};

/* What a taking has found. */
struct bucket_result {
    bool allowed;
    uint64_t missing_ns; /* until it is full again */
};

/* Takes cost_ns from the bucket of a name that holds capacity_ns when it is full: amounts are times, since a bucket
 * fills by one second a second. */
struct bucket_result buckets_take(struct buckets *buckets, const void *name, size_t len, uint64_t now_ns,
                                  uint64_t capacity_ns, uint64_t cost_ns);

#endif
