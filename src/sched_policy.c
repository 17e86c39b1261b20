/* WORKER. See sched_policy.h. One reading of the processor clock a window; a system call only where the policy changes. */
#include "sched_policy.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "log.h"
#include "process.h"

static struct {
    _Atomic uint64_t *burnt_ms; /* NULL: the policy is not ours to choose */
    uint64_t began_ms, turns, cpu_us;
    bool is_batch;
} policy;

bool sched_window_burns(const struct sched_window *window) {
    return window->turns > 0 && window->cpu_us / window->turns >= SCHED_LONG_US;
}

bool sched_window_wants_batch(const struct sched_window *window, bool is_batch) {
    if (window->turns == 0 || window->calm_ms < SCHED_BURNT_KEEP_MS || sched_window_burns(window)) return false;
    bool often = window->turns * 1000 >= window->ms * SCHED_OFTEN_PER_S;
    bool works = window->cpu_us >= window->ms * 10 * SCHED_IDLE_PERCENT;
    return is_batch ? often || works : often && window->cpu_us / window->turns <= SCHED_SHORT_US;
}

/* What this process starts is to be SCHED_OTHER again: SCHED_RESET_ON_FORK, which cannot be taken back without
 * privileges. systemd's RestrictRealtime= forbids that flag with any policy; then it goes without. */
static void set(bool batch) {
    static int flags = SCHED_RESET_ON_FORK;
    const struct sched_param priority = {0};
    int number = batch ? SCHED_BATCH : SCHED_OTHER;
    if (sched_setscheduler(0, number | flags, &priority) < 0) {
        flags = 0;
        if (sched_setscheduler(0, number, &priority) < 0) {
            log_write(CLUA_LOG_INFO, "stays with its scheduling policy: %s", strerror(errno));
            policy.burnt_ms = NULL;
            return;
        }
    }
    policy.is_batch = batch;
}

static void begin_window(uint64_t now_ms, uint64_t cpu_us) {
    policy.began_ms = now_ms;
    policy.turns = 0;
    policy.cpu_us = cpu_us;
}

void sched_policy_open(_Atomic uint64_t *burnt_ms, uint64_t now_ms) {
    if (sched_getscheduler(0) != SCHED_OTHER) return;
    policy.burnt_ms = burnt_ms;
    begin_window(now_ms, process_cpu_us());
}

void sched_policy_turn(uint64_t now_ms) {
    if (!policy.burnt_ms) return;
    policy.turns++;
    if (now_ms - policy.began_ms < SCHED_WINDOW_MS) return;
    uint64_t cpu_us = process_cpu_us();
    struct sched_window window = {
        .ms = now_ms - policy.began_ms,
        .turns = policy.turns,
        .cpu_us = cpu_us - policy.cpu_us,
    };
    if (sched_window_burns(&window)) atomic_store_explicit(policy.burnt_ms, now_ms, memory_order_relaxed);
    uint64_t burnt_ms = atomic_load_explicit(policy.burnt_ms, memory_order_relaxed);
    window.calm_ms = burnt_ms > now_ms ? 0 : now_ms - burnt_ms; /* a worker that is late may read what comes after it */
    bool batch = sched_window_wants_batch(&window, policy.is_batch);
    if (batch != policy.is_batch) set(batch);
    begin_window(now_ms, cpu_us);
}
