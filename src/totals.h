/* MASTER. What the workers of a pool have counted, so that a total never goes back: a dead worker's segment is read once
 * more before it is unmapped, and added to what those before it had.
 *
 * A worker's counters are its own word: a number that cannot be is taken for nothing. */
#ifndef CLUA_TOTALS_H
#define CLUA_TOTALS_H

#include <stdint.h>

#include "segment.h"

struct pool;
struct slot;

/* Of all the workers that have had one worker_id. */
struct place_total {
    uint64_t requests, cpu_us;
};

struct totals {
    struct served served;
    struct place_total *places; /* by worker_id, from 1: places[0] is that of worker 1 */
    uint32_t places_len;
};

/* Room for this worker_id; false: out of memory. Called when a worker starts, so that a death needs no memory. */
bool totals_reserve(struct totals *totals, uint32_t worker_id);

/* The process is gone: takes over what it has counted. Once for each slot. */
void totals_take(struct slot *slot);

/* Dead and living together. *out begins as zeros and may be used again; its places are its own. 0 or UV_ENOMEM. */
int totals_sum(const struct pool *pool, struct totals *out);

#endif
