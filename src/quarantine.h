/* WORKER. Request lines that the master has told this worker to refuse for a while: each has killed workers. */
#ifndef CLUA_QUARANTINE_H
#define CLUA_QUARANTINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUARANTINE_LINES_MAX = 64 };

/* Refuses from now on, until the time: the line that begins with these bytes (all of it, or as many as a blame has) and
 * is line_len long in all, with this reply. The oldest goes when there are too many. */
void quarantine_add(const char *line, size_t kept, size_t line_len, const char *reply, size_t reply_len,
                    uint64_t until_ms);

/* How many lines may be refused; 0: nobody needs to look. */
extern unsigned quarantine_count;

/* The reply that a request with this line gets, or NULL. */
const char *quarantine_reply(const char *line, size_t len, uint64_t now_ms, size_t *reply_len);

#endif
