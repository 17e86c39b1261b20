/* WORKER. See blame.h. */
#include "blame.h"

_Static_assert(SEGMENT_BLAMES == 1 << BLAME_SLOT_BITS, "a ticket names its slot, and one word has a bit for each slot");

static struct segment_blames dummy;

struct blame blame = {.table = &dummy, .free_slots = UINT64_MAX};

void blame_open(struct segment *segment) {
    blame.table = &segment->blames;
}
