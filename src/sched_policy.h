/* WORKER. The scheduling policy of this process (sched(7)), SCHED_OTHER or SCHED_BATCH, by what it does.
 *
 * Where workers share processors with each other and with their clients, the kernel stops whoever runs for each of a
 * worker's wake-ups, and the worker often finds a single request. Under SCHED_BATCH a wake-up waits until the one that
 * runs sleeps or has had its slice, some milliseconds at most, and the worker finds many. So a worker is SCHED_BATCH
 * while it wakes up often for little work, unless somebody burns the processor: a worker of its registration whose
 * turns are long would then hold up the short ones for its slice.
 *
 * A policy that was chosen from outside (chrt, systemd's CPUSchedulingPolicy) stays. Threads and processes that a worker
 * starts while it is SCHED_BATCH are that too. */
#ifndef CLUA_SCHED_POLICY_H
#define CLUA_SCHED_POLICY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    SCHED_WINDOW_MS = 100,      /* how often a worker looks at what it has done */
    SCHED_OFTEN_PER_S = 1000,   /* turns of the loop: from so many on it wakes up often */
    SCHED_SHORT_US = 300,       /* processor time of a turn: up to so much it is short */
    SCHED_LONG_US = 2000,       /* from so much on it burns the processor */
    SCHED_BURNS_PERCENT = 10,   /* ... and has so much of it */
    SCHED_LATE_MS = 10000,      /* nobody is late by more, and no time later than that is a time */
    SCHED_IDLE_PERCENT = 5,     /* of a processor: with less there is nothing to win */
    SCHED_BURNT_KEEP_MS = 5000, /* nobody is SCHED_BATCH until so long after the last one burnt */
};

/* What a worker has done in a window. */
struct sched_window {
    uint64_t ms, turns, cpu_us;
    uint64_t calm_ms; /* since a worker of the registration burnt the processor */
};

/* Are the turns so long that others would have to wait for them? */
bool sched_window_burns(const struct sched_window *window);

/* The policy for the next window. Turns become fewer and longer under SCHED_BATCH: what begins it need not hold on. */
bool sched_window_wants_batch(const struct sched_window *window, bool is_batch);

/* How long the registration has been calm, by what a worker wrote. */
uint64_t sched_calm_ms(uint64_t burnt_ms, uint64_t now_ms);

/* From now on this thread chooses, in sched_policy_turn(). burnt_ms: shared by the registration's workers; when one of
 * them burnt the processor last. Does nothing where the policy is not SCHED_OTHER. */
void sched_policy_open(_Atomic uint64_t *burnt_ms, uint64_t now_ms);

/* A turn of the loop ends. now_ms: CLOCK_MONOTONIC, that of all workers. */
void sched_policy_turn(uint64_t now_ms);

#endif
