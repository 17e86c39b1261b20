/* WORKER. See borrow.h. Owns the mapping of the segment and the completions that did not fit into its ring. */
#include "borrow.h"

#include <stdlib.h>

#include "log.h"

enum { DONE_ENTRIES_BEFORE_DOORBELL = 32 };

static struct segment *segment;
static borrow_ring_fn ring_doorbell;
static struct figures dummy_figures;
static struct served dummy_served;
static bool busy;

/* Completions waiting for a place in the ring: at most one for each loan, so the array never outgrows SEGMENT_LOANS. */
static struct completion *backlog;
static uint32_t backlog_len, backlog_cap;

void borrow_open(struct segment *mapped, borrow_ring_fn ring) {
    segment = mapped;
    ring_doorbell = ring;
}

struct figures *borrow_figures(void) {
    return segment ? &segment->figures : &dummy_figures;
}

struct served *borrow_served(void) {
    return segment ? &segment->served : &dummy_served;
}

struct segment *borrow_segment(void) {
    return segment;
}

_Atomic uint32_t *borrow_word(uint32_t loan) {
    return &segment->loans[loan];
}

void borrow_busy(uint64_t now_ms) {
    if (busy || !segment) return;
    busy = true;
    atomic_store_explicit(&segment->figures.busy_since_ms, segment_stamp(now_ms), memory_order_relaxed);
    borrow_notify(WANT_BUSY);
}

void borrow_waits(void) {
    if (!segment) return;
    busy = false;
    _Atomic uint32_t *tick = &segment->figures.tick;
    atomic_store_explicit(tick, atomic_load_explicit(tick, memory_order_relaxed) + 1, memory_order_relaxed);
    atomic_store_explicit(&segment->figures.busy_since_ms, 0, memory_order_relaxed);
}

void borrow_notify(uint32_t bits) {
    if (segment && segment_wanted(segment, bits)) ring_doorbell();
}

static void keep_for_later(struct completion entry) {
    if (backlog_len == backlog_cap) {
        uint32_t cap = backlog_cap ? backlog_cap * 2 : 256;
        struct completion *grown = realloc(backlog, cap * sizeof *grown);
        if (!grown) {
            /* Without this entry the master would keep a descriptor for ever; a dead worker's loans it gets all. */
            log_write(CLUA_LOG_ERROR, "cannot complete loan %u: out of memory", entry.loan);
            abort();
        }
        backlog = grown;
        backlog_cap = cap;
    }
    backlog[backlog_len++] = entry;
}

void borrow_begun(uint32_t loan, uint32_t written) {
    atomic_store_explicit(&segment->begun[loan], written, memory_order_relaxed);
}

void borrow_answered(uint32_t loan, uint32_t written) {
    atomic_store_explicit(&segment->written[loan], written, memory_order_relaxed);
    atomic_store_explicit(borrow_word(loan), LOAN_ANSWERED, memory_order_release);
}

static enum loan_state state_after(enum completion_kind kind) {
    switch (kind) {
    case COMPLETION_PARK:
        return LOAN_PARKED;
    case COMPLETION_BACK:
        return LOAN_BACK;
    case COMPLETION_DONE:
    case COMPLETION_DROP:
        break;
    }
    return LOAN_RETURNED;
}

void borrow_complete(uint32_t loan, enum completion_kind kind, uint32_t aux, uint32_t written, bool urgent) {
    struct completion entry = {.loan = loan, .kind = (uint16_t)kind, .aux = aux, .written = written};
    atomic_store_explicit(borrow_word(loan), (uint32_t)state_after(kind), memory_order_release);
    if (backlog_len > 0 || !segment_push(segment, entry)) {
        keep_for_later(entry);
        borrow_notify(WANT_ENTRY);
        return;
    }
    if (kind == COMPLETION_DONE && !urgent) {
        uint32_t waiting = atomic_load_explicit(&segment->ring_head, memory_order_relaxed) -
                           atomic_load_explicit(&segment->ring_tail, memory_order_relaxed);
        if (waiting < DONE_ENTRIES_BEFORE_DOORBELL) return;
    }
    borrow_notify(WANT_ENTRY);
}

bool borrow_flush(void) {
    uint32_t pushed = 0;
    while (pushed < backlog_len && segment_push(segment, backlog[pushed])) pushed++;
    if (pushed > 0) {
        backlog_len -= pushed;
        for (uint32_t i = 0; i < backlog_len; i++) backlog[i] = backlog[i + pushed];
        borrow_notify(WANT_ENTRY);
    }
    return backlog_len == 0;
}
