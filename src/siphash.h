/* BOTH. SipHash-2-4 (Aumasson and Bernstein): a keyed hash of short texts. Who does not know the key cannot look for
 * texts that collide. Little-endian machines only, as the rest of clua. */
#ifndef CLUA_SIPHASH_H
#define CLUA_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct siphash_state {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t siphash_rotate(uint64_t x, unsigned bits) {
    return x << bits | x >> (64 - bits);
}

static inline void siphash_rounds(struct siphash_state *s, int count) {
    for (int i = 0; i < count; i++) {
        s->v0 += s->v1;
        s->v2 += s->v3;
        s->v1 = siphash_rotate(s->v1, 13) ^ s->v0;
        s->v3 = siphash_rotate(s->v3, 16) ^ s->v2;
        s->v0 = siphash_rotate(s->v0, 32);
        s->v2 += s->v1;
        s->v0 += s->v3;
        s->v1 = siphash_rotate(s->v1, 17) ^ s->v2;
        s->v3 = siphash_rotate(s->v3, 21) ^ s->v0;
        s->v2 = siphash_rotate(s->v2, 32);
    }
}

static inline uint64_t siphash(const uint64_t key[2], const void *bytes, size_t len) {
    struct siphash_state s = {
        .v0 = key[0] ^ 0x736f6d6570736575,
        .v1 = key[1] ^ 0x646f72616e646f6d,
        .v2 = key[0] ^ 0x6c7967656e657261,
        .v3 = key[1] ^ 0x7465646279746573,
    };
    const unsigned char *at = bytes;
    uint64_t word, last = (uint64_t)len << 56;
    for (size_t left = len / 8; left > 0; left--, at += 8) {
        memcpy(&word, at, 8);
        s.v3 ^= word;
        siphash_rounds(&s, 2);
        s.v0 ^= word;
    }
    for (size_t i = 0; i < len % 8; i++) last |= (uint64_t)at[i] << (8 * i);
    s.v3 ^= last;
    siphash_rounds(&s, 2);
    s.v0 ^= last;
    s.v2 ^= 0xff;
    siphash_rounds(&s, 4);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

#endif
