/* BOTH. Sixteen bytes at a time; the compiler has the instructions for it on every machine. A comparison gives a byte
 * that is not zero where it holds. */
#ifndef CLUA_BLOCK_H
#define CLUA_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef unsigned char block __attribute__((vector_size(16)));

static inline block block_load(const char *bytes) {
    block loaded;
    memcpy(&loaded, bytes, sizeof loaded);
    return loaded;
}

static inline bool block_is_zero(block bytes) {
    uint64_t halves[2];
    memcpy(halves, &bytes, sizeof halves);
    return !(halves[0] | halves[1]);
}

#endif
