/* WORKER. See worker_figures.h. The only writer of what it counts: loads and stores are relaxed. */
#include "worker_figures.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "borrow.h"
#include "worker_send.h"
#include "worker_state.h"

void worker_request_begin(void) {
    struct figures *figures = borrow_figures();
    int32_t remain = atomic_load_explicit(&figures->remain, memory_order_relaxed);
    uint64_t scores = atomic_load_explicit(&figures->scores, memory_order_relaxed) + 1;
    atomic_store_explicit(&figures->remain, remain + 1, memory_order_relaxed);
    atomic_store_explicit(&figures->scores, scores, memory_order_relaxed);
}

void worker_request_end(void) {
    struct figures *figures = borrow_figures();
    int32_t remain = atomic_load_explicit(&figures->remain, memory_order_relaxed);
    if (remain > 0) atomic_store_explicit(&figures->remain, remain - 1, memory_order_relaxed);
    const struct boot *boot = worker_boot();
    if (!boot || boot->maxc == 0) return;
    if (atomic_load_explicit(&figures->scores, memory_order_relaxed) >= boot->maxc) worker_send_leave(LEAVE_MAXC);
}

void worker_answered(unsigned status) {
    unsigned class = status / 100 - 1;
    if (class < SERVED_CLASSES) histogram_count(&borrow_served()->responses[class], 1);
}

void worker_request_took(uint64_t ns) {
    histogram_add(&borrow_served()->request_time, ns);
}

void worker_set_remain(int32_t remain) {
    atomic_store_explicit(&borrow_figures()->remain, remain, memory_order_relaxed);
}

int worker_set_value(const char *key, const char *value) {
    struct segment *segment = borrow_segment();
    if (!segment) return 0;
    for (size_t i = 0; i < SEGMENT_VALUES; i++) {
        struct segment_value *slot = &segment->values[i];
        if (slot->key[0] && strncmp(slot->key, key, sizeof slot->key - 1) != 0) continue;
        atomic_fetch_add(&segment->values_version, 1);
        snprintf(slot->key, sizeof slot->key, "%s", key);
        snprintf(slot->value, sizeof slot->value, "%s", value);
        atomic_fetch_add(&segment->values_version, 1);
        return 0;
    }
    return UV_ENOSPC;
}
