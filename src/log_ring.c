/* MASTER. See log_ring.h. */
#include "log_ring.h"

#include <string.h>

static char ring[LOG_RING_BYTES];
static uint64_t begin, end;

static void put(const char *bytes, size_t len) {
    size_t at = (size_t)(end % LOG_RING_BYTES), first = LOG_RING_BYTES - at;
    if (first > len) first = len;
    memcpy(ring + at, bytes, first);
    memcpy(ring, bytes + first, len - first);
    end += len;
}

/* Whole lines go, until so many bytes are free. */
static void make_room(size_t len) {
    while (end - begin > LOG_RING_BYTES - len) {
        size_t at = (size_t)(begin % LOG_RING_BYTES), run = LOG_RING_BYTES - at;
        if (run > end - begin) run = (size_t)(end - begin);
        const char *newline = memchr(ring + at, '\n', run);
        begin += newline ? (size_t)(newline - (ring + at)) + 1 : run;
        while (!newline && begin < end && ring[begin % LOG_RING_BYTES] != '\n') begin++;
        if (!newline && begin < end) begin++;
    }
}

void log_ring_add(const char *bytes, size_t len) {
    while (len > LOG_RING_BYTES) { /* the last lines of them, and no gap in front */
        begin = end;
        const char *newline = memchr(bytes, '\n', len);
        size_t line = newline ? (size_t)(newline - bytes) + 1 : len;
        bytes += line;
        len -= line;
    }
    make_room(len);
    put(bytes, len);
}

void log_ring_restore(const char *bytes, size_t len, uint64_t position) {
    size_t kept = len;
    while (kept > LOG_RING_BYTES) { /* one that kept more */
        const char *newline = memchr(bytes + (len - kept), '\n', kept);
        kept = newline ? len - (size_t)(newline + 1 - bytes) : 0;
    }
    begin = end = position - kept;
    put(bytes + (len - kept), kept);
}

uint64_t log_ring_end(void) {
    return end;
}

uint64_t log_ring_begin(void) {
    return begin;
}

size_t log_ring_copy(uint64_t at, char *room) {
    if (at < begin) at = begin;
    size_t len = at < end ? (size_t)(end - at) : 0, from = (size_t)(at % LOG_RING_BYTES);
    size_t first = LOG_RING_BYTES - from < len ? LOG_RING_BYTES - from : len;
    memcpy(room, ring + from, first);
    memcpy(room + first, ring, len - first);
    return len;
}
