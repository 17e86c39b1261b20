/* BOTH. The memory that all workers of a registration share: a memfd of fixed size, which the master makes, hands to
 * each worker, and keeps over upgrades (so a change of its layout bumps SEGMENT_LAYOUT). Pages that nobody has
 * touched cost nothing. No worker can change its size. */
#ifndef CLUA_SHARED_H
#define CLUA_SHARED_H

#include <stdatomic.h>
#include <stdint.h>

#include "buckets.h"
#include "bulkhead.h"

struct shared {
    struct buckets buckets;
    struct bulkhead bulkhead;
    _Atomic uint64_t burnt_ms; /* see sched_policy.h */
};

/* MASTER. *fd_out is CLOEXEC and belongs to the caller. 0 or UV_E*. */
int shared_create(int *fd_out);

/* Maps it. 0, UV_EPROTO when it has another size, or UV_E*. */
int shared_map(int fd, struct shared **out);
void shared_unmap(struct shared *shared);

/* WORKER. Maps what the master made for this process. As shared_map(). */
int shared_open(int fd);

/* What shared_open() has mapped; else memory that this process shares with nobody, made now. NULL: out of memory. */
struct shared *shared_of_process(void);

#endif
