/* BOTH. One event a line: time, role, pid, level, text. A line is one write, so that lines of several processes never
 * mix; a full disk or a closed pipe loses lines, never the process.
 *
 * Lines go to standard error, in a master through log_sink.h; in a worker into a pipe to the master (capture.h), which
 * adds what a line begins with, so the worker writes only LOG_MARK, <N> of sd-daemon(3) and the text. */
#ifndef CLUA_LOG_H
#define CLUA_LOG_H

#include <stdbool.h>
#include <stddef.h>

/* In front of a line of log.h: whatever was printed before it, and has no end of its own, ends there. */
#define LOG_MARK '\x1e'

/* OUT is not a level that can be chosen: what a worker has written to its standard output or error, always shown. */
enum log_level { CLUA_LOG_DEBUG, CLUA_LOG_INFO, CLUA_LOG_WARN, CLUA_LOG_ERROR, CLUA_LOG_OUT };

/* Who speaks: "clua", "master", "worker 3 of 8080". Copied. */
void log_role(const char *role);
void log_set_level(enum log_level level);
enum log_level log_level_get(void);

/* 0 and the level for one of "debug", "info", "warn", "error"; UV_EINVAL otherwise. */
int log_level_parse(const char *name, enum log_level *out);
const char *log_level_name(enum log_level level);

/* Control bytes in the text are shown as \xNN, but newlines are kept: a traceback is one event of several lines. All but
 * its first begin with a tab, so that no text can look like another event. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* MASTER. A line of another process; continues: of the event before, which it stands right behind if nothing else has
 * been written since. *count: of the last line, the caller's to keep. */
void log_write_as(enum log_level level, const char *role, int pid, const char *text, size_t len, bool continues,
                  unsigned long *count);

/* Where whole lines go. Default, and with NULL: write(2) to standard error. */
void log_set_output(void (*output)(const char *bytes, size_t len));

/* Lines begin with the priority of sd-daemon(3) in place of the time. */
void log_set_priorities(bool priorities);

/* <N> of sd-daemon(3) at the beginning of a line: the level, and 3 bytes of it; CLUA_LOG_OUT when there is none. */
enum log_level log_priority_parse(const char *line, size_t len);

/* WORKER. Lines go to capture_fd, which the master reads, as what is printed usually does. own_fd, the log itself: where
 * both go, lines in their full form, once the master is gone. */
void log_set_captured(int capture_fd, int own_fd);
void log_end_capture(void);

/* WORKER. This is the log itself from now on. Closes fd. */
void log_reopened(int fd);

#endif
