/* WORKER. See hold.h. Owns the list of held requests and the timer that looks whether they may go on. */
#include "hold.h"

#include <sys/socket.h>

#include "blame.h"
#include "borrow.h"
#include "bulkhead.h"
#include "log.h"
#include "shared.h"
#include "worker_state.h"

enum {
    TICK_MS = 2, /* between two looks at the bulkhead while something is held */
    LIMITS = 10,
    MEANS = 3,          /* a request is held for at most the longer of so many slow_after and so many of its means */
    HOLD_MAX_MS = 2000, /* and never longer than that, whatever stands in the shared table */
    SHARE = 10,         /* of one worker's time, in a registration: a tenth */
    BURST_MS = 1000,    /* of holding that may come at once */
    CREDIT_MAX = 16,    /* fast requests that have been served and not yet paid for a hold */
};

static const _Atomic uint64_t nothing_known;
struct hold hold = {.known = &nothing_known, .slow_after_ns = UINT64_MAX};

static struct {
    uv_loop_t *loop;
    struct shared *shared;
    struct bulkhead *bulkhead;
    uv_timer_t timer;
    void (*resume)(struct held *held);
    struct held *first, **last;
    uint32_t place;
    uint64_t slow_begun;             /* requests of slow lines, ever */
    uint64_t scores_seen, slow_seen; /* when `credit` was last brought up to date */
    uint32_t credit;
    uint32_t resumed; /* whose code has gone on in this turn */
    bool resumed_several, noted, claimed, announced;
} own = {.last = &own.first};

static uint64_t now_s(void) {
    return uv_now(own.loop) / 1000;
}

/* ---- what is slow ------------------------------------------------------------------------------------------------ */

static uint64_t name_of(const char *line, size_t len) {
    return bulkhead_name(own.bulkhead, line, len);
}

/* 0: it is not slow. */
static uint32_t slow_mean_us(uint64_t name) {
    uint32_t mean_us = bulkhead_mean_us(own.bulkhead, name, now_s());
    return mean_us >= hold.slow_after_ns / 1000 ? mean_us : 0;
}

static void note(uint64_t name, uint64_t took_us) {
    if (bulkhead_is_alone(own.bulkhead, own.place)) return;
    uint32_t limit_us = (uint32_t)(hold.slow_after_ns / 1000);
    bulkhead_took(own.bulkhead, name, took_us > UINT32_MAX ? UINT32_MAX : (uint32_t)took_us, limit_us, now_s());
}

void hold_ended(uint64_t name, const char *line, size_t len, uint64_t begun_ns, uint64_t took_ns) {
    if (!own.loop) return;
    /* One that was begun in an earlier turn has waited: its time is not the loop's. */
    if (begun_ns / 1000000 < uv_now(own.loop)) return;
    if (took_ns >= hold.slow_after_ns) {
        own.noted = true;
        hold.concerned = true;
    }
    note(name ? name : name_of(line, len), took_ns / 1000);
}

void hold_goes_on(uint32_t ticket) {
    if (!own.loop) return;
    if (own.resumed != 0 && own.resumed != ticket) own.resumed_several = true;
    own.resumed = ticket;
    hold.concerned = true;
    if (own.claimed || !hold_knows()) return;
    size_t len;
    const char *line = blame_line(ticket, &len);
    if (!line || slow_mean_us(name_of(line, len)) == 0) return;
    bulkhead_force(own.bulkhead, own.place);
    own.claimed = true;
}

/* The turn was slow, no request that began and ended in it was, and one that had waited went on, alone: its line. */
static void blame_resumed(uint64_t now_ms) {
    uint32_t busy_since = atomic_load_explicit(&borrow_figures()->busy_since_ms, memory_order_relaxed);
    int32_t turn_ms = (int32_t)(segment_stamp(now_ms) - busy_since);
    size_t len;
    if (own.noted || own.resumed_several || own.resumed == 0 || busy_since == 0) return;
    if (turn_ms < 0 || (uint64_t)turn_ms * 1000000 < hold.slow_after_ns) return;
    const char *line = blame_line(own.resumed, &len);
    if (line) note(name_of(line, len), (uint64_t)turn_ms * 1000);
}

/* ---- running slow code ------------------------------------------------------------------------------------------- */

/* The master need not wait until it sees that the loop stands still: what clients send here meanwhile is for others. */
static void announce(void) {
    if (own.announced) return;
    own.announced = true;
    atomic_store_explicit(&borrow_figures()->slow, 1, memory_order_release);
    borrow_notify(WANT_SLOW);
}

static bool claim(void) {
    if (!own.claimed && !bulkhead_claim(own.bulkhead, own.place)) return false;
    own.claimed = true;
    hold.concerned = true;
    return true;
}

uint64_t hold_begins(const char *line, size_t len) {
    uint64_t name = name_of(line, len);
    if (slow_mean_us(name) == 0) return name;
    own.slow_begun++;
    if (!claim()) {
        bulkhead_force(own.bulkhead, own.place);
        own.claimed = true;
        hold.concerned = true;
    }
    announce();
    return name;
}

void hold_turn_ends(uint64_t now_ms) {
    blame_resumed(now_ms);
    if (own.claimed) bulkhead_leave(own.bulkhead, own.place);
    if (own.announced) atomic_store_explicit(&borrow_figures()->slow, 0, memory_order_relaxed);
    own.resumed = 0;
    own.resumed_several = own.noted = own.claimed = own.announced = hold.concerned = false;
}

void hold_age(void) {
    if (own.loop) bulkhead_age(own.bulkhead, now_s());
}

/* ---- holding ----------------------------------------------------------------------------------------------------- */

/* Holding for one more tick, out of the share of time that the workers of the registration have for it together. */
static bool pay_time(void) {
    const uint64_t ms_ns = 1000000;
    return buckets_take(&own.shared->buckets, "\0hold", 5, uv_hrtime(), (uint64_t)BURST_MS * SHARE * ms_ns,
                        (uint64_t)TICK_MS * SHARE * ms_ns)
        .allowed;
}

static bool pay_credit(void) {
    uint64_t scores = atomic_load_explicit(&borrow_figures()->scores, memory_order_relaxed);
    uint64_t fast = (scores - own.scores_seen) - (own.slow_begun - own.slow_seen);
    own.scores_seen = scores;
    own.slow_seen = own.slow_begun;
    own.credit = fast > CREDIT_MAX - own.credit ? CREDIT_MAX : own.credit + (uint32_t)fast;
    if (own.credit == 0) return false;
    own.credit--;
    return true;
}

void hold_forget(struct held *held) {
    if (!held->back) return;
    *held->back = held->next;
    if (held->next) {
        held->next->back = held->back;
    } else {
        own.last = held->back;
    }
    held->back = NULL;
    histogram_add(&borrow_served()->held_time, uv_hrtime() - held->since_ns);
    if (!own.first) uv_timer_stop(&own.timer);
}

/* One at a time: fast requests that have come meanwhile are served in between. */
static void tick(uv_timer_t *timer) {
    struct held *held = own.first;
    uint64_t now_ms = uv_now(timer->loop);
    borrow_busy(now_ms);
    bool may_stay = now_ms < held->until_ms && !worker_draining() && pay_time();
    if (may_stay && !claim()) return;
    hold_forget(held);
    held->due = true;
    own.resume(held);
}

static uint64_t limit_ms(uint32_t mean_us) {
    uint64_t limit = LIMITS * (hold.slow_after_ns / 1000000), means = (uint64_t)MEANS * mean_us / 1000;
    if (means > limit) limit = means;
    return limit < HOLD_MAX_MS ? limit : HOLD_MAX_MS;
}

bool hold_admit(struct held *held, int fd, void (*resume)(struct held *held)) {
    char bytes[BULKHEAD_LINE_BYTES];
    if (held->back) { /* something else has looked at the connection */
        if (!worker_draining()) return false;
        hold_forget(held);
        return true;
    }
    if (held->due) {
        held->due = false;
        return true;
    }
    if (own.claimed || worker_draining() || !bulkhead_is_last(own.bulkhead, own.place)) return true;
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    if (n <= 0) return true;
    uint32_t mean_us = slow_mean_us(name_of(bytes, (size_t)n));
    if (mean_us == 0 || claim() || !pay_credit() || !pay_time()) return true;
    held->since_ns = uv_hrtime();
    held->until_ms = uv_now(own.loop) + limit_ms(mean_us);
    held->next = NULL;
    held->back = own.last;
    *own.last = held;
    own.last = &held->next;
    own.resume = resume;
    if (!uv_is_active((uv_handle_t *)&own.timer)) uv_timer_start(&own.timer, tick, TICK_MS, TICK_MS);
    histogram_count(&borrow_served()->held, 1);
    return false;
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

int hold_open(uv_loop_t *loop) {
    const struct boot *boot = worker_boot();
    if (!boot || boot->slow_after_ms == 0 || boot->place >= BULKHEAD_PLACES) return 0;
    own.shared = shared_of_process();
    if (!own.shared) return UV_ENOMEM;
    int err = uv_timer_init(loop, &own.timer);
    if (err < 0) return err;
    own.loop = loop;
    own.bulkhead = &own.shared->bulkhead;
    own.place = boot->place;
    hold.known = &own.bulkhead->known_until_s;
    hold.slow_after_ns = (uint64_t)boot->slow_after_ms * 1000000;
    return 0;
}
