/* BOTH. See histogram.h. Bounds are 1, 2, 3, 4 us, then four to a doubling: 5, 6, 7, 8, 10, 12, 14, 16, 20, ... */
#include "histogram.h"

unsigned histogram_bucket(uint64_t ns) {
    uint64_t us = ns == 0 ? 0 : (ns - 1) / 1000; /* from n us to just before n+1 us, the end belonging to it, is n */
    if (us < 4) return (unsigned)us;
    unsigned octave = 63U - (unsigned)__builtin_clzll(us), quarter = (unsigned)(us >> (octave - 2)) & 3;
    unsigned bucket = 4 * (octave - 1) + quarter;
    return bucket < HISTOGRAM_BUCKETS - 1 ? bucket : HISTOGRAM_BUCKETS - 1;
}

uint64_t histogram_bound_us(unsigned bucket) {
    if (bucket >= HISTOGRAM_BUCKETS - 1) return 0;
    unsigned next = bucket + 1;
    if (next < 4) return next;
    return (uint64_t)(4 + (next & 3)) << (next / 4 - 1);
}
