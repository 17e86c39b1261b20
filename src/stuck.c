/* MASTER. See stuck.h. The clock of another process is one short system call; its state, a file of /proc, is looked at
 * only where the clock stands still. */
#include "stuck.h"

#include "process.h"

/* The first look may come when half of the time has passed already, and the second finds little more than the rest. */
static bool has_run(uint64_t ran_us, uint32_t steal_after_ms) {
    return ran_us >= (uint64_t)steal_after_ms * 1000 / 4;
}

bool stuck_is(const struct stuck_turn *turn, uint32_t steal_after_ms) {
    if (turn->busy_ms < steal_after_ms) return false;
    if (has_run(turn->ran_us, steal_after_ms) || turn->state != 'R') return true;
    return turn->busy_ms / STUCK_STARVED_TIMES >= steal_after_ms;
}

bool stuck_look(struct stuck *stuck, pid_t pid, uint32_t busy_since_ms, uint32_t busy_ms, uint32_t steal_after_ms) {
    bool is_first = stuck->busy_since_ms != busy_since_ms;
    if (is_first) *stuck = (struct stuck){.busy_since_ms = busy_since_ms};
    if (busy_since_ms == 0 || stuck->found) return stuck->found;
    uint64_t cpu_ns = process_cpu_ns_of(pid);
    if (is_first) stuck->cpu_ns = cpu_ns;
    if (busy_ms < steal_after_ms) return false;
    uint64_t ran_us = (cpu_ns - stuck->cpu_ns) / 1000;
    struct stuck_turn turn = {.busy_ms = busy_ms, .ran_us = ran_us < UINT32_MAX ? (uint32_t)ran_us : UINT32_MAX};
    if (!has_run(ran_us, steal_after_ms)) turn.state = process_state_of(pid);
    stuck->found = stuck_is(&turn, steal_after_ms);
    return stuck->found;
}
