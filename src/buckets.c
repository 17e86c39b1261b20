/* BOTH. See buckets.h. */
#include "buckets.h"

#include "siphash.h"

_Static_assert((BUCKETS_SETS & (BUCKETS_SETS - 1)) == 0, "a set is found by masking");
_Static_assert(sizeof(struct bucket) * BUCKETS_WAYS == 128, "a set is two cache lines");

static uint64_t load(_Atomic uint64_t *word) {
    return atomic_load_explicit(word, memory_order_relaxed);
}

static bool swap(_Atomic uint64_t *word, uint64_t from, uint64_t to) {
    return atomic_compare_exchange_strong_explicit(word, &from, to, memory_order_relaxed, memory_order_relaxed);
}

/* The cell of a name in its set. When it has none it gets the first that is full, or if all are in use the one that is
 * nearest to it: whose name that was has a full bucket again, a little too early. Two workers that give out cells at the
 * same time may both find another one first; looking again after the swap makes them agree on the first. What such a race
 * can cost is that one taking is forgotten, or counted for somebody else. */
static struct bucket *find(struct bucket *set, uint64_t name, uint64_t now_ns) {
    for (;;) {
        struct bucket *victim = NULL;
        uint64_t victim_name = 0, victim_at = 0;
        for (int i = 0; i < BUCKETS_WAYS; i++) {
            uint64_t its_name = load(&set[i].name), full_at_ns = load(&set[i].full_at_ns);
            if (its_name == name) return &set[i];
            if (full_at_ns < now_ns) full_at_ns = now_ns;
            if (victim && victim_at <= full_at_ns) continue;
            victim = &set[i];
            victim_name = its_name;
            victim_at = full_at_ns;
        }
        if (swap(&victim->name, victim_name, name) && victim_at > now_ns) swap(&victim->full_at_ns, victim_at, now_ns);
    }
}

struct bucket_result buckets_take(struct buckets *buckets, const void *name, size_t len, uint64_t now_ns,
                                  uint64_t capacity_ns, uint64_t cost_ns) {
    uint64_t hash = siphash(buckets->key, name, len);
    if (hash == 0) hash = 1;
    struct bucket *cell = find(buckets->cells[hash & (BUCKETS_SETS - 1)], hash, now_ns);
    for (;;) {
        uint64_t seen = load(&cell->full_at_ns), full_at_ns = seen > now_ns ? seen : now_ns;
        /* More than empty it cannot be: the cell was somebody's with a bigger bucket, or a worker has written nonsense. */
        if (full_at_ns - now_ns > capacity_ns) full_at_ns = now_ns + capacity_ns;
        uint64_t after = full_at_ns - now_ns + cost_ns;
        if (after > capacity_ns) return (struct bucket_result){.missing_ns = full_at_ns - now_ns};
        if (swap(&cell->full_at_ns, seen, now_ns + after))
            return (struct bucket_result){.allowed = true, .missing_ns = after};
    }
}
