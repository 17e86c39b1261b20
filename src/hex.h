/* BOTH. A number as hexadecimal digits, in lower case and without leading zeros. */
#ifndef CLUA_HEX_H
#define CLUA_HEX_H

#include <stdint.h>

enum { HEX_BYTES = 16 }; /* of the longest */

/* Writes n at p; returns what is behind its last digit. No NUL follows. */
static inline char *hex_put(char *p, uint64_t n) {
    unsigned digits = n ? (67U - (unsigned)__builtin_clzll(n)) / 4 : 1;
    for (unsigned i = digits; i-- > 0; n >>= 4) p[i] = "0123456789abcdef"[n & 15];
    return p + digits;
}

#endif
