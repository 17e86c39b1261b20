/* MASTER. See totals.h. */
#include "totals.h"

#include <stdlib.h>
#include <string.h>

#include "pool.h"
#include "slot.h"

enum { PLACES_MAX = 1 << 16 };

#define COUNT_MAX ((uint64_t)1 << 53) /* beyond, Lua's numbers leave some out; nobody has counted that far */
#define SUM_MAX   ((uint64_t)1 << 62) /* nanoseconds */

static uint64_t believe(_Atomic const uint64_t *cell, uint64_t limit) {
    uint64_t value = atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)cell, memory_order_relaxed);
    return value <= limit ? value : 0;
}

static void add_histogram(struct histogram *sum, const struct histogram *more) {
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        histogram_count(&sum->buckets[i], believe(&more->buckets[i], COUNT_MAX));
    histogram_count(&sum->sum_ns, believe(&more->sum_ns, SUM_MAX));
}

static void add_served(struct served *sum, const struct served *more) {
    for (int i = 0; i < SERVED_CLASSES; i++)
        histogram_count(&sum->responses[i], believe(&more->responses[i], COUNT_MAX));
    add_histogram(&sum->request_time, &more->request_time);
    histogram_count(&sum->held, believe(&more->held, COUNT_MAX));
    add_histogram(&sum->held_time, &more->held_time);
}

static void add_slot(struct totals *sum, const struct slot *slot) {
    const struct figures *figures = &slot->segment->figures;
    add_served(&sum->served, &slot->segment->served);
    if (slot->worker_id == 0 || slot->worker_id > sum->places_len) return;
    struct place_total *place = &sum->places[slot->worker_id - 1];
    place->requests += believe(&figures->scores, COUNT_MAX);
    place->cpu_us += believe(&figures->cpu_us, COUNT_MAX);
}

bool totals_reserve(struct totals *totals, uint32_t worker_id) {
    if (worker_id <= totals->places_len) return true;
    if (worker_id > PLACES_MAX) return false;
    struct place_total *grown = realloc(totals->places, worker_id * sizeof *grown);
    if (!grown) return false;
    memset(grown + totals->places_len, 0, (worker_id - totals->places_len) * sizeof *grown);
    totals->places = grown;
    totals->places_len = worker_id;
    return true;
}

void totals_take(struct slot *slot) {
    add_slot(&slot->pool->totals, slot);
}

int totals_sum(const struct pool *pool, struct totals *out) {
    const struct totals *dead = &pool->totals;
    if (!totals_reserve(out, dead->places_len)) return UV_ENOMEM;
    out->served = (struct served){0};
    out->places_len = dead->places_len;
    if (dead->places_len > 0) memcpy(out->places, dead->places, dead->places_len * sizeof *dead->places);
    add_served(&out->served, &dead->served);
    for (const struct slot *slot = pool->slots; slot; slot = slot->next)
        if (slot->state != SLOT_GONE) add_slot(out, slot); /* totals_take has been called for the others */
    return 0;
}
