/* MASTER. What a worker logs and, unless it inherits them (`output`), what it or a child of it writes to its standard
 * output and error: read line by line from a pipe and written to the log with the worker's name and pid.
 *
 * A line with <N> of sd-daemon(3) in front, such as log.h of a worker makes, has that level; any other is of level OUT.
 * A capture lives as long as somebody holds the other end, which may be longer than the worker does. */
#ifndef CLUA_CAPTURE_H
#define CLUA_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

enum {
    CAPTURE_LINE_BYTES = 8192
}; /* a longer line is cut into several, all but the last with a backslash at the end */

struct capture {
    struct capture *next, **back, **owner;
    uv_poll_t poll;
    int fd, pid;
    char role[320];
    unsigned long count; /* of its last line; see log_write_as() */
    int level;           /* of the event that lines with a tab in front belong to; -1: none */
    bool paused, ended;
    char *line; /* the beginning of a line whose end has not come yet */
    size_t len;
};

/* The pipe: [0] for capture_open(), [1] for the worker. CLOEXEC; writing waits for the reader. 0 or UV_E*. */
int capture_pipe(int fds[2]);

/* Reads from now on and owns fd, on failure too. *owner is set, and NULL again when the capture has ended; owner may be
 * NULL. 0 or UV_E*. */
int capture_open(uv_loop_t *loop, int fd, const char *role, int pid, struct capture **owner);

/* The worker is gone: writes what is left of its words, for a moment at most, and does without an owner. */
void capture_last_words(struct capture *capture);

/* All of them; NULL: the first. */
struct capture *capture_after(struct capture *capture);

/* What one before an upgrade had read of a line. */
void capture_continue(struct capture *capture, const char *rest, size_t len, int level);

#endif
