/* MASTER. See stuck.h. The clock of another process is one short system call; its state, a file of /proc, is looked at
 * only where the clock stands still. */
#include "stuck.h"

#include "process.h"

/* The first look may come when half of the time has passed already, and the second finds little more than the rest. */
static bool has_run(uint64_t ran_us, uint32_t steal_after_ms) {
    return ran_us >= (uint64_t)steal_after_ms * 1000 / 4;
}

enum stuck_verdict stuck_judge(const struct stuck_turn *turn, uint32_t steal_after_ms) {
    if (turn->busy_ms < steal_after_ms) return STUCK_NO;
    if (has_run(turn->ran_us, steal_after_ms) || turn->state != 'R') return STUCK_YES;
    return turn->busy_ms / STUCK_STARVED_TIMES >= steal_after_ms ? STUCK_YES : STUCK_STARVED;
}

enum stuck_verdict stuck_look(struct stuck *stuck, pid_t pid, uint32_t busy_since_ms, uint32_t busy_ms,
                              uint32_t steal_after_ms) {
    bool is_first = stuck->busy_since_ms != busy_since_ms;
    if (is_first) *stuck = (struct stuck){.busy_since_ms = busy_since_ms};
    if (busy_since_ms == 0) return STUCK_NO;
    if (stuck->found) return STUCK_YES;
    uint64_t cpu_ns = process_cpu_ns_of(pid);
    if (is_first) stuck->cpu_ns = cpu_ns;
    if (busy_ms < steal_after_ms) return STUCK_NO;
    struct stuck_turn turn = {.busy_ms = busy_ms, .ran_us = (cpu_ns - stuck->cpu_ns) / 1000};
    if (!has_run(turn.ran_us, steal_after_ms)) turn.state = process_state_of(pid);
    enum stuck_verdict verdict = stuck_judge(&turn, steal_after_ms);
    stuck->found = verdict == STUCK_YES;
    return verdict;
}
