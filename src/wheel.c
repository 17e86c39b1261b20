/* BOTH. The hashed timer wheel of wheel.h: a slot holds the entries of every rotation that end on it. */
#include "wheel.h"

#include <assert.h>
#include <string.h>

static uint64_t tick_of(uint64_t deadline_ms) {
    return (deadline_ms + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
}

static void link_entry(struct wheel_entry **slot, struct wheel_entry *entry) {
    entry->next = *slot;
    entry->back = slot;
    if (*slot) (*slot)->back = &entry->next;
    *slot = entry;
}

static void unlink_entry(struct wheel_entry *entry) {
    *entry->back = entry->next;
    if (entry->next) entry->next->back = entry->back;
    entry->next = NULL;
    entry->back = NULL;
}

void wheel_init(struct wheel *wheel, uint64_t now_ms) {
    memset(wheel, 0, sizeof *wheel);
    wheel->tick = now_ms / WHEEL_TICK_MS;
}

void wheel_catch_up(struct wheel *wheel, uint64_t now_ms) {
    assert(wheel->count == 0); /* entries would be passed over */
    wheel->tick = now_ms / WHEEL_TICK_MS;
}

void wheel_set(struct wheel *wheel, struct wheel_entry *entry, uint64_t deadline_ms) {
    wheel_cancel(wheel, entry);
    uint64_t tick = tick_of(deadline_ms);
    if (tick <= wheel->tick) {
        tick = wheel->tick + 1; /* this tick has been looked at already */
        deadline_ms = tick * WHEEL_TICK_MS;
    }
    entry->deadline_ms = deadline_ms;
    link_entry(&wheel->slots[tick % WHEEL_SLOTS], entry);
    wheel->count++;
}

void wheel_cancel(struct wheel *wheel, struct wheel_entry *entry) {
    if (!wheel_is_set(entry)) return;
    unlink_entry(entry);
    wheel->count--;
}

void wheel_advance(struct wheel *wheel, uint64_t now_ms, wheel_expired_fn expired, void *data) {
    uint64_t now_tick = now_ms / WHEEL_TICK_MS;
    /* After a long sleep one rotation visits every slot; more would visit them again for nothing. */
    if (now_tick > wheel->tick + WHEEL_SLOTS) wheel->tick = now_tick - WHEEL_SLOTS;
    while (wheel->tick < now_tick) {
        uint64_t tick = ++wheel->tick;
        /* The due entries move to a list of their own first: a callback may set and cancel anything. */
        struct wheel_entry *due = NULL;
        struct wheel_entry *next;
        for (struct wheel_entry *entry = wheel->slots[tick % WHEEL_SLOTS]; entry; entry = next) {
            next = entry->next;
            if (tick_of(entry->deadline_ms) <= now_tick) {
                unlink_entry(entry);
                link_entry(&due, entry);
            }
        }
        while (due) {
            struct wheel_entry *entry = due;
            unlink_entry(entry);
            wheel->count--;
            expired(entry, data);
        }
    }
}
