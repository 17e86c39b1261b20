/* WORKER. What this worker is executing, written into its segment: the master can name it when the worker has died, and
 * parses none of it. All of it is inline, since it is done for every request: a copy of the request line and a few
 * stores, nothing that allocates or fails. */
#ifndef CLUA_BLAME_H
#define CLUA_BLAME_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "segment.h"

enum { BLAME_SLOT_BITS = 6, BLAME_BLOCK_BYTES = 32 };

struct blame {
    struct segment_blames *table;
    uint64_t free_slots;
    uint32_t last; /* the serial number, above the bits of a slot */
};
extern struct blame blame;

/* Without blame_open the lines go to a private dummy. */
void blame_open(struct segment *segment);

/* A request with this line (method, space, target) is executed from now on; `available`: bytes that can be read there.
 * Returns its ticket. When more are in execution than the table has room for, the new one takes the place of an old one. */
static inline uint32_t blame_begin(const char *line, size_t len, size_t available) {
    uint64_t free_slots = blame.free_slots;
    uint32_t last = blame.last += SEGMENT_BLAMES;
    uint32_t slot = free_slots ? (uint32_t)__builtin_ctzll(free_slots) : last >> BLAME_SLOT_BITS & (SEGMENT_BLAMES - 1);
    struct segment_blame *entry = &blame.table->entries[slot];
    blame.free_slots = free_slots & ~(1ULL << slot);
    entry->line_len = (uint32_t)len;
    entry->in_execution = 1;
    entry->ticket = last | slot;
    if (len <= BLAME_BLOCK_BYTES && available >= BLAME_BLOCK_BYTES) {
        memcpy(entry->line, line, BLAME_BLOCK_BYTES); /* a known length needs no call */
    } else {
        memcpy(entry->line, line, len < sizeof entry->line ? len : sizeof entry->line);
    }
    return last | slot;
}

/* It is answered, or given up. */
static inline void blame_end(uint32_t ticket) {
    uint32_t slot = ticket & (SEGMENT_BLAMES - 1);
    struct segment_blame *entry = &blame.table->entries[slot];
    if (entry->ticket != ticket) return; /* its place was taken */
    entry->in_execution = 0;
    blame.free_slots |= 1ULL << slot;
}

/* Whose code runs now; 0: nobody's. */
static inline uint32_t blame_running(void) {
    return blame.table->running;
}

/* The line of a request (its beginning, if it is longer than the table keeps); NULL: its place was taken. */
static inline const char *blame_line(uint32_t ticket, size_t *len) {
    const struct segment_blame *entry = &blame.table->entries[ticket & (SEGMENT_BLAMES - 1)];
    *len = entry->line_len < sizeof entry->line ? entry->line_len : sizeof entry->line;
    return entry->ticket == ticket ? entry->line : NULL;
}

/* The code that runs now is this request's. Returns whose it was; give that back when the code has returned. */
static inline uint32_t blame_switch(uint32_t ticket) {
    uint32_t before = blame.table->running;
    blame.table->running = ticket;
    return before;
}

#endif
