/* MASTER. Forks and execs this very binary as a worker. */
#ifndef CLUA_LAUNCH_H
#define CLUA_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "segment.h"

struct pool;

/* What the worker is told; see struct boot. */
void launch_fill_boot(struct boot *boot, const struct pool *pool, uint32_t worker_id, uint32_t generation);

struct launch_fds {
    int channel, segment, shared; /* inherited as CHANNEL_FD, SEGMENT_FD, SHARED_FD */
    int capture;                  /* CAPTURE_FD */
    int access;                   /* ACCESS_FD; -1: none */
    bool inherits_output;         /* standard output and error are this process', not the capture */
};

/* The worker inherits these, this process' standard input, its standard error as LOG_FD, and nothing else; signals are
 * unblocked and at their defaults. 0 or UV_E* (also when exec fails). */
int launch_worker(const struct launch_fds *fds, pid_t *pid);

#endif
