/* BOTH. Log lines on stderr; see log.h. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <uv.h>

static const char *const level_names[] = {
    [CLUA_LOG_DEBUG] = "debug",
    [CLUA_LOG_INFO] = "info",
    [CLUA_LOG_WARN] = "warn",
    [CLUA_LOG_ERROR] = "error",
};

static char log_role_name[64] = "clua";
static enum log_level log_threshold = CLUA_LOG_INFO;

void log_role(const char *role) {
    snprintf(log_role_name, sizeof log_role_name, "%s", role);
}

void log_set_level(enum log_level level) {
    log_threshold = level;
}

enum log_level log_level_get(void) {
    return log_threshold;
}

int log_level_parse(const char *name, enum log_level *out) {
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return UV_EINVAL;
}

static bool is_control(unsigned char byte) {
    return (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f;
}

void log_write(enum log_level level, const char *format, ...) {
    if (level < log_threshold) return;
    int kept_errno = errno;
    char text[8192], line[sizeof text + 256];
    va_list args;
    va_start(args, format);
    int text_len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (text_len < 0) return;
    if ((size_t)text_len >= sizeof text) text_len = sizeof text - 1;

    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t len = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
    len += (size_t)snprintf(line + len, sizeof line - len, ".%03ldZ %s[%d] %s: ", now.tv_nsec / 1000000, log_role_name,
                            (int)getpid(), level_names[level]);
    for (int i = 0; i < text_len && len < sizeof line - 6; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (is_control(byte)) {
            len += (size_t)snprintf(line + len, sizeof line - len, "\\x%02x", byte);
        } else {
            line[len++] = (char)byte;
        }
    }
    line[len++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, len);
    (void)written; /* nowhere to report that the log itself cannot be written */
    errno = kept_errno;
}
