/* MASTER. See master.h.
 *
 * The turn (prepare handle, before each poll): read every worker's ring, lend what waits, and then say which events are
 * worth a doorbell; what came in between is seen by looking at the rings once more.
 *
 * The watch looks every millisecond or so whether a worker's loop is stuck while others are free. It runs only while
 * workers are busy: after a quiet second it stops, and the first worker that is busy again rings the doorbell. */
#include "master.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "listener.h"
#include "loan.h"
#include "lobby.h"
#include "log.h"
#include "pool.h"
#include "pool_dispatch.h"
#include "process.h"
#include "slot_life.h"

enum {
    CHECK_MS = 200,          /* deadlines of slots, hung workers, strangers' zombies */
    QUIET_MS = 1000,         /* without any busy worker: the watch stops */
    ASLEEP_MS = 3000,        /* a worker ticks every second even when it has nothing to do */
    UNTAKEN_MS = 20,         /* a loan that nobody takes for so long waits for a stopped or starved process */
    SLEEPERS_LOOKED_FOR = 8, /* a look is a file of /proc */
    STRANGER_CHECKS = 5,     /* checks before a child that nobody here knows is reaped: it may be luv's */
};

enum { SIGNALS = 9 };

static struct {
    uv_loop_t *loop;
    const struct master_hooks *hooks;
    uv_prepare_t turn;
    uv_timer_t check, watch, soon;
    uv_signal_t signals[SIGNALS];
    uint64_t last_busy_ms;
    uint64_t second;                        /* what `longest` is of */
    uint32_t longest_ms, longest_before_ms; /* turns of the loop, in this second and in the last */
    bool watching, finishing;
    int stranger_checks;
} master;

/* ---- reaping -------------------------------------------------------------------------------------------------- */

static void reap(void) {
    for (struct pool *pool = pool_first(); pool; pool = pool->next) {
        for (struct slot *slot = pool->slots; slot; slot = slot->next) {
            int status;
            if (slot->state == SLOT_GONE || waitpid(slot->pid, &status, WNOHANG) != slot->pid) continue;
            slot->wait_status = status;
            slot_step(slot, SLOT_EVENT_EXIT);
        }
    }
}

/* Children that are no workers: inherited through exec, or adopted as process 1. libuv reaps those that it started when
 * SIGCHLD comes; what is still a zombie some checks later is nobody's. */
static void reap_strangers(void) {
    siginfo_t info = {0};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0) {
        master.stranger_checks = 0;
        return;
    }
    if (slot_of_pid(info.si_pid)) {
        reap();
        return;
    }
    if (++master.stranger_checks < STRANGER_CHECKS) return;
    master.stranger_checks = 0;
    for (;;) {
        memset(&info, 0, sizeof info);
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0) return;
        if (slot_of_pid(info.si_pid)) return;
        waitpid(info.si_pid, NULL, WNOHANG);
        log_write(CLUA_LOG_DEBUG, "reaped pid %d, which is no worker", (int)info.si_pid);
    }
}

static void signalled(uv_signal_t *handle, int signum) {
    (void)handle;
    if (signum == SIGCHLD) {
        reap();
    } else {
        master.hooks->on_signal(signum);
    }
}

/* ---- stuck and hung workers ----------------------------------------------------------------------------------- */

/* A worker that sleeps would have a processor at once. */
static bool another_sleeps(const struct slot *slot) {
    int looks = 0;
    for (const struct slot *other = slot->pool->slots; other && looks < SLEEPERS_LOOKED_FOR; other = other->next) {
        if (other == slot || other->state != SLOT_READY) continue;
        if (atomic_load_explicit(&other->segment->figures.busy_since_ms, memory_order_relaxed) != 0) continue;
        looks++;
        if (process_state_of(other->pid) == 'S') return true;
    }
    return false;
}

static bool takes_too_long(struct slot *slot, uint32_t busy_since_ms, uint32_t busy_ms) {
    switch (stuck_look(&slot->turn, slot->pid, busy_since_ms, busy_ms, slot->pool->options.steal_after_ms)) {
    case STUCK_NO:
        return false;
    case STUCK_STARVED:
        slot->turn.found = another_sleeps(slot);
        return slot->turn.found;
    case STUCK_YES:
        return true;
    }
    return false;
}

static bool is_stuck(struct slot *slot, uint64_t now) {
    uint32_t steal_after = slot->pool->options.steal_after_ms;
    uint32_t busy_since = atomic_load_explicit(&slot->segment->figures.busy_since_ms, memory_order_relaxed);
    if (steal_after > 0 && atomic_load_explicit(&slot->segment->figures.slow, memory_order_relaxed) != 0) return true;
    int32_t busy_ms = (int32_t)(segment_stamp(now) - busy_since);
    if (takes_too_long(slot, busy_since, busy_ms > 0 ? (uint32_t)busy_ms : 0)) return true;
    if (!loan_has_taken_all(slot) && now - slot->sent_at_ms >= steal_after + UNTAKEN_MS) return true;
    return slot->still_checks * CHECK_MS >= ASLEEP_MS;
}

static void look_at(struct slot *slot, uint64_t now) {
    if (slot->state != SLOT_READY && slot->state != SLOT_DRAINING) return;
    if (is_stuck(slot, now)) {
        if (!slot->stuck) slot->rescue_at = 0;
        slot->stuck = true;
        loan_rescue(slot);
    } else if (slot->stuck) {
        slot->stuck = false;
        loan_release_watches(slot);
    }
    if (atomic_load_explicit(&slot->segment->figures.busy_since_ms, memory_order_relaxed) != 0 || slot->stuck ||
        !loan_has_taken_all(slot))
        master.last_busy_ms = now;
}

/* A lone worker has nobody to lose connections to; but one that was found stuck is looked at until it runs again, or
 * nothing would ever be lent to it. */
static bool worth_watching(const struct pool *pool) {
    if (pool->options.steal_after_ms == 0 || !pool->slots) return false;
    return pool->slots->next || pool->slots->stuck;
}

static void watch(uv_timer_t *timer) {
    uint64_t now = uv_now(master.loop);
    for (struct pool *pool = pool_first(); pool; pool = pool->next) {
        if (!worth_watching(pool)) continue;
        for (struct slot *slot = pool->slots; slot; slot = slot->next) look_at(slot, now);
    }
    if (now - master.last_busy_ms < QUIET_MS) return;
    uv_timer_stop(timer);
    master.watching = false;
}

static void start_watch(void) {
    uint32_t shortest = UINT32_MAX;
    if (master.watching) return;
    for (struct pool *pool = pool_first(); pool; pool = pool->next)
        if (worth_watching(pool) && pool->options.steal_after_ms < shortest) shortest = pool->options.steal_after_ms;
    if (shortest == UINT32_MAX) return;
    uint64_t interval = shortest / 2 > 0 ? shortest / 2 : 1;
    master.watching = true;
    master.last_busy_ms = uv_now(master.loop);
    uv_timer_start(&master.watch, watch, interval, interval);
}

static void check_tick(struct slot *slot) {
    uint32_t tick = atomic_load_explicit(&slot->segment->figures.tick, memory_order_relaxed);
    if (tick != slot->last_tick) {
        slot->last_tick = tick;
        slot->still_checks = 0;
        slot->asked_for_traceback = false;
        return;
    }
    slot->still_checks++; /* checks, not time: a master that was stopped itself has not looked meanwhile */
    uint32_t hang_timeout = slot->pool->options.hang_timeout_ms;
    /* One that waits in poll is not late before its next heartbeat is. */
    bool waits = atomic_load_explicit(&slot->segment->figures.busy_since_ms, memory_order_relaxed) == 0;
    if (waits && hang_timeout > 0 && hang_timeout < ASLEEP_MS) hang_timeout = ASLEEP_MS;
    if (hang_timeout == 0 || (uint64_t)slot->still_checks * CHECK_MS < hang_timeout || slot->hung) return;
    if (!slot->asked_for_traceback) { /* it has until the next check to say what it was doing */
        slot->asked_for_traceback = true;
        kill(slot->pid, WORKER_TRACEBACK_SIGNAL);
        return;
    }
    slot->hung = true;
    slot->killed_for = "hang";
    log_write(CLUA_LOG_ERROR, "worker %u of %s, pid %d, hangs: its loop has not turned for %.3g s: killing it",
              slot->worker_id, slot->pool->options.name, (int)slot->pid, hang_timeout / 1000.0);
    slot_step(slot, SLOT_EVENT_KILL);
}

static void check_idle(struct slot *slot, uint64_t now) {
    const struct pool *pool = slot->pool;
    if (!link_alone(&pool->waiting) || slot->outstanding > 0 || loan_load(slot) > 0) {
        slot->idle_since_ms = now;
    } else if (pool->options.idle_timeout_ms > 0 && now - slot->idle_since_ms >= pool->options.idle_timeout_ms) {
        master.hooks->on_idle(slot);
    }
}

static void check(uv_timer_t *timer) {
    (void)timer;
    uint64_t now = uv_now(master.loop);
    for (struct pool *pool = pool_first(); pool; pool = pool->next) {
        for (struct slot *slot = pool->slots; slot; slot = slot->next) {
            if (slot->state == SLOT_READY || slot->state == SLOT_DRAINING) check_tick(slot);
            if (slot->state == SLOT_READY && pool->on_demand) check_idle(slot, now);
            if (slot->deadline_ms && now >= slot->deadline_ms) slot_step(slot, SLOT_EVENT_EXPIRE);
            if (slot->still_checks * CHECK_MS >= ASLEEP_MS) start_watch();
        }
    }
    reap_strangers();
}

/* ---- the turn ------------------------------------------------------------------------------------------------- */

static bool rings_are_empty(void) {
    for (struct pool *pool = pool_first(); pool; pool = pool->next)
        for (struct slot *slot = pool->slots; slot; slot = slot->next)
            if (slot->state < SLOT_KILLED && atomic_load(&slot->segment->ring_head) != slot->ring_tail) return false;
    return true;
}

static bool somebody_is_busy(void) {
    for (struct pool *pool = pool_first(); pool; pool = pool->next) {
        if (!worth_watching(pool)) continue;
        for (struct slot *slot = pool->slots; slot; slot = slot->next)
            if (slot->state == SLOT_READY &&
                (atomic_load(&slot->segment->figures.busy_since_ms) != 0 || !loan_has_taken_all(slot)))
                return true;
    }
    return false;
}

static void want(const struct pool *pool) {
    uint32_t bits = WANT_ENTRY;
    if (!link_alone(&pool->waiting)) bits |= WANT_TAKEN;
    if (worth_watching(pool)) bits |= master.watching ? WANT_SLOW : WANT_SLOW | WANT_BUSY;
    for (struct slot *slot = pool->slots; slot; slot = slot->next)
        if (slot->state != SLOT_GONE) atomic_store(&slot->segment->want, bits);
}

static bool nothing_is_left(void) {
    for (struct pool *pool = pool_first(); pool; pool = pool->next)
        if (pool->farewell_count > 0) return false;
    return true;
}

static void collect_and_lend(void) {
    for (struct pool *pool = pool_first(); pool; pool = pool->next) {
        for (struct slot *slot = pool->slots; slot; slot = slot->next) {
            if (slot->announced && worth_watching(pool)) look_at(slot, uv_now(master.loop));
            slot->announced = false;
            if (slot->state < SLOT_KILLED && !loan_collect(slot))
                slot_broke_protocol(slot, "wrote nonsense into its ring");
        }
        pool_dispatch(pool);
        if (pool->on_demand && pool_wants_worker(pool)) master.hooks->on_demand(pool);
    }
}

static void come_back(uv_timer_t *timer) {
    (void)timer;
}

static void measure_turn(void) {
    uint64_t woken_at = uv_now(master.loop);
    uv_update_time(master.loop);
    uint64_t now = uv_now(master.loop), second = now / 1000;
    if (second != master.second) {
        master.longest_before_ms = second == master.second + 1 ? master.longest_ms : 0;
        master.longest_ms = 0;
        master.second = second;
    }
    if (now - woken_at > master.longest_ms) master.longest_ms = (uint32_t)(now - woken_at);
}

uint32_t master_loop_lag_ms(void) {
    return master.longest_ms > master.longest_before_ms ? master.longest_ms : master.longest_before_ms;
}

static void turn(uv_prepare_t *prepare) {
    (void)prepare;
    int rounds = 0;
    do {
        collect_and_lend();
        for (struct pool *pool = pool_first(); pool; pool = pool->next) want(pool);
    } while (!rings_are_empty() && ++rounds < 4);
    if (rounds == 4) uv_timer_start(&master.soon, come_back, 0, 0); /* others first, but no sleep */
    if (!master.watching && somebody_is_busy()) start_watch();
    for (struct pool *pool = pool_first(); pool; pool = pool->next) slot_sweep(pool);
    measure_turn();
    if (master.finishing && nothing_is_left()) {
        master.finishing = false;
        master.hooks->on_finished();
        uv_stop(master.loop);
    }
}

/* ---- start and end -------------------------------------------------------------------------------------------- */

static void accepted(struct listener *listener, int fd) {
    struct connection *connection = connection_new(listener->pool, fd, listener->port);
    if (!connection) {
        log_write(CLUA_LOG_ERROR, "cannot accept on %s: out of memory", listener->name);
        close(fd);
        return;
    }
    listener->pool->accepted++;
    /* Those whom the kernel had kept have spoken: at a stop nobody would look again before the workers are gone. */
    bool may_be_silent = listener->pool->clients_speak_first && !listener->deferred && !listener->settling;
    if (may_be_silent && !listener->closing) {
        lobby_expect(connection);
    } else {
        lobby_wait(connection, CONNECTION_LAST);
    }
}

int master_accept(struct pool *pool) {
    int err = 0;
    for (struct listener *listener = pool->listeners; listener && err == 0; listener = listener->next)
        err = listener_start(listener, accepted);
    return err;
}

int master_open(uv_loop_t *loop, const struct master_hooks *hooks) {
    const int handled_signals[SIGNALS] = {MASTER_SIGNALS};
    master.loop = loop;
    master.hooks = hooks;
    signal(SIGHUP, SIG_IGN);
    int err = lobby_open(loop);
    lobby_on_lent_readable(loan_readable);
    for (int i = 0; i < SIGNALS && err == 0; i++) {
        err = uv_signal_init(loop, &master.signals[i]);
        if (err == 0) err = uv_signal_start(&master.signals[i], signalled, handled_signals[i]);
    }
    if (err == 0) err = uv_prepare_init(loop, &master.turn);
    if (err == 0) err = uv_prepare_start(&master.turn, turn);
    if (err == 0) err = uv_timer_init(loop, &master.soon);
    if (err == 0) err = uv_timer_init(loop, &master.watch);
    if (err == 0) err = uv_timer_init(loop, &master.check);
    if (err == 0) err = uv_timer_start(&master.check, check, CHECK_MS, CHECK_MS);
    return err;
}

void master_finish(bool at_once) {
    for (struct pool *pool = pool_first(); pool; pool = pool->next) {
        lobby_turn_away_waiting(pool);
        lobby_end_parked(pool);
        if (at_once) lobby_end_farewells(pool);
    }
    master.finishing = true;
}
