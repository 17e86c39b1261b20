/* MASTER. See balance.h. */
#include "balance.h"

static bool better(const struct candidate *a, const struct candidate *b) {
    if (a->behind != b->behind) return !a->behind;
    if (a->load != b->load) return a->load < b->load;
    return a->handed < b->handed;
}

int balance_choose(const struct candidate *candidates, size_t count) {
    size_t best = 0;
    if (count == 0) return -1;
    for (size_t i = 1; i < count; i++)
        if (better(&candidates[i], &candidates[best])) best = i;
    return (int)best;
}
