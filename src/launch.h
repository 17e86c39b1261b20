/* MASTER. Forks and execs this very binary as a worker. */
#ifndef CLUA_LAUNCH_H
#define CLUA_LAUNCH_H

#include <stdint.h>
#include <sys/types.h>

#include "segment.h"

struct pool;

/* What the worker is told; see struct boot. */
void launch_fill_boot(struct boot *boot, const struct pool *pool, uint32_t worker_id, uint32_t generation);

/* The worker inherits channel, segment and buckets as CHANNEL_FD, SEGMENT_FD and BUCKETS_FD, this process' standard error
 * as LOG_FD, output_fd as its standard output and error, and nothing else; signals are unblocked and at their defaults. 0 or UV_E*
 * (also when exec fails). */
int launch_worker(int channel_fd, int segment_fd, int buckets_fd, int output_fd, pid_t *pid);

#endif
