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

static bool has_share(const struct sched_window *window, uint64_t percent) {
    return window->cpu_us >= window->ms * 10 * percent;
}

bool sched_window_burns(const struct sched_window *window) {
    return window->turns > 0 && window->cpu_us / window->turns >= SCHED_LONG_US &&
           has_share(window, SCHED_BURNS_PERCENT);
}

bool sched_window_wants_batch(const struct sched_window *window, bool is_batch) {
    if (window->turns == 0 || window->calm_ms < SCHED_BURNT_KEEP_MS || sched_window_burns(window)) return false;
    bool often = window->turns * 1000 >= window->ms * SCHED_OFTEN_PER_S;
    return is_batch ? often || has_share(window, SCHED_IDLE_PERCENT)
                    : often && window->cpu_us / window->turns <= SCHED_SHORT_US;
}

/* A worker that is late may read what has been written after its own now; what is later still is nonsense. */
uint64_t sched_calm_ms(uint64_t burnt_ms, uint64_t now_ms) {
    if (burnt_ms <= now_ms) return now_ms - burnt_ms;
    return burnt_ms - now_ms <= SCHED_LATE_MS ? 0 : UINT64_MAX;
}

/* Of this thread. Those that it starts, and processes, begin with the policy that it has then. */
static void set(bool batch) {
    const struct sched_param priority = {0};
    if (sched_setscheduler(0, batch ? SCHED_BATCH : SCHED_OTHER, &priority) == 0) {
        policy.is_batch = batch;
        return;
    }
    log_write(CLUA_LOG_INFO, "stays with its scheduling policy: %s", strerror(errno));
    policy.burnt_ms = NULL;
}

static void begin_window(uint64_t now_ms, uint64_t cpu_us) {
    policy.began_ms = now_ms;
    policy.turns = 0;
    policy.cpu_us = cpu_us;
}

void sched_policy_open(_Atomic uint64_t *burnt_ms, uint64_t now_ms) {
    if (sched_getscheduler(0) != SCHED_OTHER) return;
    policy.burnt_ms = burnt_ms;
    begin_window(now_ms, process_thread_cpu_us());
}

void sched_policy_turn(uint64_t now_ms) {
    if (!policy.burnt_ms) return;
    policy.turns++;
    if (now_ms - policy.began_ms < SCHED_WINDOW_MS) return;
    uint64_t cpu_us = process_thread_cpu_us();
    struct sched_window window = {
        .ms = now_ms - policy.began_ms,
        .turns = policy.turns,
        .cpu_us = cpu_us - policy.cpu_us,
    };
    if (sched_window_burns(&window)) atomic_store_explicit(policy.burnt_ms, now_ms, memory_order_relaxed);
    window.calm_ms = sched_calm_ms(atomic_load_explicit(policy.burnt_ms, memory_order_relaxed), now_ms);
    bool batch = sched_window_wants_batch(&window, policy.is_batch);
    if (batch != policy.is_batch) set(batch);
    begin_window(now_ms, cpu_us);
}
