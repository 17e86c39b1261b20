/* BOTH. One line an event on stderr: time, role, pid, level, text. A line is one write(2), so that lines of several
 * processes never mix; a full disk or a closed pipe loses lines, never the process. */
#ifndef CLUA_LOG_H
#define CLUA_LOG_H

enum log_level { CLUA_LOG_DEBUG, CLUA_LOG_INFO, CLUA_LOG_WARN, CLUA_LOG_ERROR };

/* Who speaks: "clua", "master", "worker 3". Copied. */
void log_role(const char *role);
void log_set_level(enum log_level level);
enum log_level log_level_get(void);

/* 0 and the level for one of "debug", "info", "warn", "error"; UV_EINVAL otherwise. */
int log_level_parse(const char *name, enum log_level *out);

/* Control bytes in the text are shown as \xNN, but newlines are kept: a traceback is one event of several lines. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
