/* BOTH. See bulkhead.h. Names and figures are two words that change independently: a race can give a line the
 * figures of another for one request, which the mean forgets. */
#include "bulkhead.h"

#include "siphash.h"

_Static_assert((BULKHEAD_SETS & (BULKHEAD_SETS - 1)) == 0, "a set is found by masking");
_Static_assert(sizeof(struct bulkhead_line) * BULKHEAD_WAYS == 64, "a set is one cache line");

static uint64_t load(const _Atomic uint64_t *word) {
    return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)word, memory_order_relaxed);
}

static void store(_Atomic uint64_t *word, uint64_t value) {
    atomic_store_explicit(word, value, memory_order_relaxed);
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

uint64_t bulkhead_name(const struct bulkhead *bulkhead, const char *line, size_t len) {
    size_t at = 0;
    if (len > BULKHEAD_LINE_BYTES) len = BULKHEAD_LINE_BYTES;
    while (at < len && line[at] != ' ') at++;
    if (at < len) at++;
    while (at < len && line[at] != ' ' && line[at] != '?' && line[at] != '\r' && line[at] != '\n') at++;
    uint64_t name = siphash(bulkhead->key, line, at);
    return name ? name : 1;
}

static uint32_t mean_of(uint64_t figures) {
    return (uint32_t)(figures >> 32);
}

/* Seconds since a line ran; the clock may be behind that of another worker. */
static uint32_t age_of(uint64_t figures, uint64_t now_s) {
    uint32_t age = (uint32_t)now_s - (uint32_t)figures;
    return age > INT32_MAX ? 0 : age;
}

static struct bulkhead_line *set_of(struct bulkhead *bulkhead, uint64_t name) {
    return bulkhead->lines[name & (BULKHEAD_SETS - 1)];
}

static struct bulkhead_line *find(struct bulkhead_line *set, uint64_t name) {
    for (int i = 0; i < BULKHEAD_WAYS; i++)
        if (load(&set[i].name) == name) return &set[i];
    return NULL;
}

uint32_t bulkhead_mean_us(struct bulkhead *bulkhead, uint64_t name, uint64_t now_s) {
    const struct bulkhead_line *line = find(set_of(bulkhead, name), name);
    uint64_t figures = line ? load(&line->figures) : 0;
    return line && age_of(figures, now_s) < BULKHEAD_KEEP_S ? mean_of(figures) : 0;
}

/* The free one, else the one that ran longest ago. */
static struct bulkhead_line *victim(struct bulkhead_line *set, uint64_t now_s) {
    struct bulkhead_line *oldest = set;
    for (int i = 0; i < BULKHEAD_WAYS; i++) {
        if (load(&set[i].name) == 0) return &set[i];
        if (age_of(load(&set[i].figures), now_s) > age_of(load(&oldest->figures), now_s)) oldest = &set[i];
    }
    return oldest;
}

void bulkhead_took(struct bulkhead *bulkhead, uint64_t name, uint32_t took_us, uint32_t limit_us, uint64_t now_s) {
    struct bulkhead_line *set = set_of(bulkhead, name), *line = find(set, name);
    int64_t before = 0, mean_us;
    if (line && age_of(load(&line->figures), now_s) < BULKHEAD_KEEP_S) {
        before = mean_of(load(&line->figures));
    }
    mean_us = before + (took_us - before) / BULKHEAD_WEIGHT;
    if (mean_us < limit_us / BULKHEAD_WEIGHT) {
        if (line) store(&line->name, 0);
        return;
    }
    if (!line) line = victim(set, now_s);
    store(&line->figures, (uint64_t)mean_us << 32 | (uint32_t)now_s);
    store(&line->name, name);
    store(&bulkhead->known_until_s, now_s + BULKHEAD_KEEP_S);
}

static bool knows_any(const struct bulkhead *bulkhead) {
    for (int set = 0; set < BULKHEAD_SETS; set++)
        for (int way = 0; way < BULKHEAD_WAYS; way++)
            if (load(&bulkhead->lines[set][way].name) != 0) return true;
    return false;
}

void bulkhead_age(struct bulkhead *bulkhead, uint64_t now_s) {
    uint64_t until = load(&bulkhead->known_until_s);
    /* Not if another worker has found one meanwhile, unless it was in this second already: then it will find it
     * again. */
    if (until != 0 && (now_s >= until || !knows_any(bulkhead)))
        atomic_compare_exchange_strong_explicit(&bulkhead->known_until_s, &until, 0, memory_order_relaxed,
                                                memory_order_relaxed);
}

/* ---- places ------------------------------------------------------------------------------------------------------ */

static uint64_t bit_of(uint32_t place) {
    return place < BULKHEAD_PLACES ? (uint64_t)1 << place : 0;
}

static bool nobody_else(uint64_t ready, uint64_t slow, uint64_t bit) {
    uint64_t others = ready & ~bit;
    return others != 0 && (others & ~slow) == 0;
}

bool bulkhead_is_alone(const struct bulkhead *bulkhead, uint32_t place) {
    return (load(&bulkhead->ready) & ~bit_of(place)) == 0;
}

bool bulkhead_is_last(const struct bulkhead *bulkhead, uint32_t place) {
    uint64_t bit = bit_of(place);
    return bit != 0 && nobody_else(load(&bulkhead->ready), load(&bulkhead->slow), bit);
}

bool bulkhead_claim(struct bulkhead *bulkhead, uint32_t place) {
    uint64_t bit = bit_of(place), ready = load(&bulkhead->ready), slow = load(&bulkhead->slow);
    do {
        if (bit != 0 && nobody_else(ready, slow, bit)) return false;
    } while (!atomic_compare_exchange_weak(&bulkhead->slow, &slow, slow | bit));
    return true;
}

void bulkhead_force(struct bulkhead *bulkhead, uint32_t place) {
    atomic_fetch_or(&bulkhead->slow, bit_of(place));
}

void bulkhead_leave(struct bulkhead *bulkhead, uint32_t place) {
    atomic_fetch_and(&bulkhead->slow, ~bit_of(place));
}
