/* MASTER. The last lines of the log, for whoever asks later or follows. Pure memory. Positions count bytes from the
 * first line ever. */
#ifndef CLUA_LOG_RING_H
#define CLUA_LOG_RING_H

#include <stddef.h>
#include <stdint.h>

enum { LOG_RING_BYTES = 128 * 1024 };

/* Whole lines, each ended by a newline; the oldest make room. */
void log_ring_add(const char *bytes, size_t len);

/* Begins with these lines, of which the last ends at this position: an upgrade goes on counting. */
void log_ring_restore(const char *bytes, size_t len, uint64_t position);

/* Behind the last line, and where the oldest line that is kept begins. */
uint64_t log_ring_end(void);
uint64_t log_ring_begin(void);

/* Copies the lines from `at` on (at least log_ring_begin()), and returns how many bytes; room: LOG_RING_BYTES. */
size_t log_ring_copy(uint64_t at, char *room);

#endif
