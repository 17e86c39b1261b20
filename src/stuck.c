/* MASTER. See stuck.h. The clock of another process is one short system call; its state, a file of /proc, is looked at
 * only where the clock stands still. */
#include "stuck.h"

#include "process.h"

bool stuck_is(const struct stuck_turn *turn, uint32_t steal_after_ms) {
    if (turn->busy_ms < steal_after_ms) return false;
    if (turn->ran_ms >= steal_after_ms / 2) return true; /* the first look is some time after the beginning */
    if (turn->state != 'R') return true;
    return turn->busy_ms / STUCK_STARVED_TIMES >= steal_after_ms;
}

bool stuck_look(struct stuck *stuck, pid_t pid, uint32_t busy_since_ms, uint32_t busy_ms, uint32_t steal_after_ms) {
    bool is_first = stuck->busy_since_ms != busy_since_ms;
    stuck->busy_since_ms = busy_since_ms;
    if (busy_since_ms == 0) return false;
    uint64_t cpu_ns = process_cpu_ns_of(pid);
    if (is_first) stuck->cpu_ns = cpu_ns;
    if (busy_ms < steal_after_ms) return false;
    struct stuck_turn turn = {.busy_ms = busy_ms, .ran_ms = (uint32_t)((cpu_ns - stuck->cpu_ns) / 1000000)};
    if (turn.ran_ms < steal_after_ms / 2) turn.state = process_state_of(pid);
    return stuck_is(&turn, steal_after_ms);
}
