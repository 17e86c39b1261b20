/* BOTH. A histogram of durations: fixed buckets on a logarithmic scale, four to a doubling, from 1 us to 67 s. One process
 * adds, others may read meanwhile: every cell is an atomic that only its writer changes, so adding costs two loads and two
 * stores, and a reader sees each cell whole. */
#ifndef CLUA_HISTOGRAM_H
#define CLUA_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum {
    HISTOGRAM_OCTAVES = 26,                              /* 2^26 us are 67 s */
    HISTOGRAM_BUCKETS = 4 * (HISTOGRAM_OCTAVES - 1) + 1, /* the last one has no upper bound */
};

struct histogram {
    _Atomic uint64_t sum_ns;
    _Atomic uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* The bucket of a duration: the first one whose bound is not below it. */
unsigned histogram_bucket(uint64_t ns);

/* The upper bound of a bucket, which belongs to it, in microseconds; 0 for the last one. */
uint64_t histogram_bound_us(unsigned bucket);

static inline void histogram_count(_Atomic uint64_t *cell, uint64_t more) {
    atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + more, memory_order_relaxed);
}

static inline void histogram_add(struct histogram *histogram, uint64_t ns) {
    histogram_count(&histogram->sum_ns, ns);
    histogram_count(&histogram->buckets[histogram_bucket(ns)], 1);
}

#endif
