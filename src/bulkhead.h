/* BOTH. The bulkhead of a registration: what its workers know of slow requests, in memory that they share, so that
 * slow ones never occupy all workers.
 *
 * A line (method and path) that has held up a loop is known by a keyed hash of it and the mean of its times. A
 * worker whose code runs for such a line has its bit set in `slow`; a worker sets it by one compare-and-swap, which
 * fails when all others that are ready have theirs: the last free one stays free. So there is no lock that a killed
 * worker could hold; its bit is cleared by the master. Every word is untrusted: what a worker writes here can only
 * make others hold too much, for a bounded time (hold.h), or nothing. The master writes `ready` and clears bits; it
 * decides nothing by what it finds. */
#ifndef CLUA_BULKHEAD_H
#define CLUA_BULKHEAD_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BULKHEAD_PLACES = 64,      /* workers that take part: the bits of a word */
    BULKHEAD_SETS = 64,        /* power of two */
    BULKHEAD_WAYS = 4,         /* a line has its place in any cell of one set */
    BULKHEAD_LINE_BYTES = 512, /* of a line, by which it is known */
    BULKHEAD_KEEP_S = 60,      /* a line that was not slow for so long is forgotten */
    BULKHEAD_WEIGHT = 4,       /* a new time has a quarter of the mean */
};

struct bulkhead_line {
    _Atomic uint64_t name;    /* hash; 0: none */
    _Atomic uint64_t figures; /* mean in microseconds << 32 | second in which it last ran */
};

struct bulkhead {
    uint64_t key[2];                            /* of the hash; random */
    alignas(64) _Atomic uint64_t ready;         /* who takes connections; the master's */
    alignas(64) _Atomic uint64_t slow;          /* who runs code of a slow line */
    alignas(64) _Atomic uint64_t known_until_s; /* 0: no line is known to be slow */
    alignas(64) struct bulkhead_line lines[BULKHEAD_SETS][BULKHEAD_WAYS];
};

/* The name of the line that begins here: its method and its target up to the query; never 0. More bytes may follow. */
uint64_t bulkhead_name(const struct bulkhead *bulkhead, const char *line, size_t len);

/* How long requests of this name hold up their worker, on the average, beginning with 0: one that was slow once, since
 * the machine was busy, is not slow. 0: nothing is known of it. */
uint32_t bulkhead_mean_us(struct bulkhead *bulkhead, uint64_t name, uint64_t now_s);

/* A request of this name took so long. Kept while the mean is at least a quarter of limit_us. */
void bulkhead_took(struct bulkhead *bulkhead, uint64_t name, uint32_t took_us, uint32_t limit_us, uint64_t now_s);

/* Looks whether any line is still known: `known_until_s` is 0 soon after the last was forgotten. Called once in a
 * while. */
void bulkhead_age(struct bulkhead *bulkhead, uint64_t now_s);

/* Whether no other worker is ready: there is nobody to wait for. */
bool bulkhead_is_alone(const struct bulkhead *bulkhead, uint32_t place);

/* Whether all other workers that are ready run slow code, and there is at least one: this one is the last that is
 * free. */
bool bulkhead_is_last(const struct bulkhead *bulkhead, uint32_t place);

/* Sets the bit of this place, unless it is the last that is free: false then. */
bool bulkhead_claim(struct bulkhead *bulkhead, uint32_t place);

/* Sets it all the same. */
void bulkhead_force(struct bulkhead *bulkhead, uint32_t place);

/* Clears it. The master does it for the dead. */
void bulkhead_leave(struct bulkhead *bulkhead, uint32_t place);

#endif
