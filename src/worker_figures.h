/* WORKER. Accounting: what a worker has to do and has done, for the master to read in the segment. In a process that is no
 * worker the figures go nowhere. */
#ifndef CLUA_WORKER_FIGURES_H
#define CLUA_WORKER_FIGURES_H

#include <stdint.h>

/* Count a request that begins and ends: `remain` and `scores`, and what follows from them (maxc, drain). */
void worker_request_begin(void);
void worker_request_end(void);

/* Counts an answer; one to a request that a handler was called for also with the time that it took. */
void worker_answered(unsigned status);
void worker_request_took(uint64_t ns);

/* The script's own accounting: `remain`. */
void worker_set_remain(int32_t remain);

/* Publishes a value under a key (cut to the segment's sizes). 0, UV_ENOSPC when there are too many keys. */
int worker_set_value(const char *key, const char *value);

#endif
