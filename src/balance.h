/* MASTER. Which worker gets the next connection: a pure function of what is known of each. */
#ifndef CLUA_BALANCE_H
#define CLUA_BALANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct candidate {
    bool behind;     /* has not taken all that was sent to it before */
    uint32_t load;   /* requests in execution and connections on their way */
    uint64_t handed; /* connections that it was ever given */
};

/* Index of the best: not behind before behind, then the smallest load, then the smallest handed, then the first.
 * -1 when count is 0. */
int balance_choose(const struct candidate *candidates, size_t count);

#endif
