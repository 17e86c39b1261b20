/* MASTER. Whether a worker whose turn of the loop does not end is stuck in it (it computes, or it is blocked in a call),
 * or has only had no processor: where others wait for one, too, nothing is won by taking its connections back. */
#ifndef CLUA_STUCK_H
#define CLUA_STUCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* So many steal_after may it starve: it may be pinned to a processor, while another one is free. */
enum { STUCK_STARVED_TIMES = 10 };

enum stuck_verdict { STUCK_NO, STUCK_STARVED, STUCK_YES };

/* What the master knows of a turn. */
struct stuck_turn {
    uint32_t busy_ms; /* since it began */
    uint64_t ran_us;  /* processor time that it has had meanwhile, as far as the master has seen */
    char state;       /* of the process, proc_pid_stat(5): 'R' runs or waits for a processor; '\0' for unknown */
};

/* steal_after_ms: how long a turn may take. */
enum stuck_verdict stuck_judge(const struct stuck_turn *turn, uint32_t steal_after_ms);

/* What a slot keeps from look to look. */
struct stuck {
    uint32_t busy_since_ms; /* the turn that is looked at, 0: none */
    bool found;             /* it is stuck, and remains so: the caller may say it, too, of one that starves */
    uint64_t cpu_ns;        /* processor time of the process at the first look at it */
};

/* A look at a turn of this process: busy_since_ms and busy_ms as in its segment, 0 when it waits in poll. */
enum stuck_verdict stuck_look(struct stuck *stuck, pid_t pid, uint32_t busy_since_ms, uint32_t busy_ms,
                              uint32_t steal_after_ms);

#endif
