/* BOTH. A hashed timer wheel: thousands of coarse deadlines for the price of one uv_timer.
 *
 * Deadlines are rounded up to WHEEL_TICK_MS. Entries are intrusive and belong to their owner; setting, moving and
 * cancelling are O(1). The wheel has no timer of its own: its owner calls wheel_advance() about every tick. */
#ifndef CLUA_WHEEL_H
#define CLUA_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WHEEL_TICK_MS = 100, WHEEL_SLOTS = 512 };

struct wheel_entry {
    struct wheel_entry *next, **back; /* back == NULL: not set */
    uint64_t deadline_ms;
};

struct wheel {
    struct wheel_entry *slots[WHEEL_SLOTS];
    uint64_t tick; /* the last tick that was looked at */
    size_t count;
};

/* Called for each entry whose deadline has passed; the entry is no longer set and may be set again or freed. */
typedef void (*wheel_expired_fn)(struct wheel_entry *entry, void *data);

void wheel_init(struct wheel *wheel, uint64_t now_ms);

/* An empty wheel that has stood still goes on from now: nothing of the time between is looked at. */
void wheel_catch_up(struct wheel *wheel, uint64_t now_ms);

/* Sets or moves. A deadline in the past fires on the next tick. A zeroed entry is a valid unset one. */
void wheel_set(struct wheel *wheel, struct wheel_entry *entry, uint64_t deadline_ms);
void wheel_cancel(struct wheel *wheel, struct wheel_entry *entry);

static inline bool wheel_is_set(const struct wheel_entry *entry) {
    return entry->back != NULL;
}

/* Fires what is due at now_ms. Callbacks may set and cancel any entry. */
void wheel_advance(struct wheel *wheel, uint64_t now_ms, wheel_expired_fn expired, void *data);

#endif
