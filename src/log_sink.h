/* MASTER. The way of the log's lines out of the cluster: through standard error, which is the error log when the script
 * has named one. The master never waits for it: what cannot be written at once is kept for a moment, then dropped and
 * counted; the count is written when there is room again. */
#ifndef CLUA_LOG_SINK_H
#define CLUA_LOG_SINK_H

#include <stdbool.h>
#include <uv.h>

/* Takes over what log.h writes. 0 or UV_E*. */
int log_sink_open(uv_loop_t *loop);

/* The error log, opened now: it becomes standard error, so that nothing can go elsewhere. Again: the file of that name
 * is opened anew. 0, or UV_E*: all is as it was. */
int log_sink_redirect(const char *path);

/* Between the two, lines are gathered for one write. */
void log_sink_hold(void);
void log_sink_release(void);

/* For an upgrade: bytes that have not been written yet; the first thing that the next one is to write. */
const char *log_sink_pending(size_t *len);
void log_sink_pend(const char *bytes, size_t len);

/* Whoever makes lines of other's output should wait for on_room(); for a moment only, see above. */
bool log_sink_is_congested(void);

/* on_room: see above. on_lines: there are lines in log_ring.h that were not there when it was last called; from the loop,
 * once for many. NULL: not wanted. */
void log_sink_on_room(void (*on_room)(void));
void log_sink_on_lines(void (*on_lines)(void));

#endif
