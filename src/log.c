/* BOTH. Makes lines of events and hands them on; see log.h. */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <uv.h>

enum { TEXT_BYTES = 8192, PREFIX_BYTES = 512, LINE_BYTES = 2 * TEXT_BYTES + PREFIX_BYTES, PIPE_PATIENCE_MS = 1000 };

static const struct {
    const char *name;
    char priority;
} levels[] = {
    [CLUA_LOG_DEBUG] = {"debug", '7'}, [CLUA_LOG_INFO] = {"info", '6'}, [CLUA_LOG_WARN] = {"warn", '4'},
    [CLUA_LOG_ERROR] = {"error", '3'}, [CLUA_LOG_OUT] = {"out", '6'},
};

static char log_role_name[320] = "clua";
static enum log_level log_threshold = CLUA_LOG_INFO;
static bool has_priorities;
static int capture_fd = -1; /* -1: nobody reads what this process writes */
static int own_fd = STDERR_FILENO;
static unsigned long line_count;

void log_role(const char *role) {
    snprintf(log_role_name, sizeof log_role_name, "%s", role);
}

void log_set_level(enum log_level level) {
    log_threshold = level;
}

enum log_level log_level_get(void) {
    return log_threshold;
}

void log_set_priorities(bool priorities) {
    has_priorities = priorities;
}

int log_level_parse(const char *name, enum log_level *out) {
    for (size_t i = 0; i <= CLUA_LOG_ERROR; i++) {
        if (strcmp(name, levels[i].name) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return UV_EINVAL;
}

const char *log_level_name(enum log_level level) {
    return levels[level].name;
}

enum log_level log_priority_parse(const char *line, size_t len) {
    if (len < 3 || line[0] != '<' || line[1] < '0' || line[1] > '7' || line[2] != '>') return CLUA_LOG_OUT;
    if (line[1] <= '3') return CLUA_LOG_ERROR;
    if (line[1] == '4') return CLUA_LOG_WARN;
    return line[1] == '7' ? CLUA_LOG_DEBUG : CLUA_LOG_INFO;
}

/* ---- where lines go ------------------------------------------------------------------------------------------- */

static void to_own(const char *bytes, size_t len) {
    ssize_t written = write(own_fd, bytes, len);
    (void)written; /* nowhere to report that the log itself cannot be written */
}

/* The pipe is full when the worker writes more than the master reads: that it may wait for. A master that reads nothing
 * at all is stopped, and must not stop its workers. False: the master is gone. */
static bool to_master(const char *bytes, size_t len) {
    static bool stuck;
    while (len > 0) {
        struct pollfd pipe = {.fd = capture_fd, .events = POLLOUT};
        int ready = poll(&pipe, 1, stuck ? 0 : PIPE_PATIENCE_MS);
        if (ready < 0 && errno == EINTR) continue;
        stuck = ready <= 0;
        if (stuck) return true;
        ssize_t n = write(capture_fd, bytes, len < PIPE_BUF ? len : PIPE_BUF); /* so much never waits */
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno != EPIPE;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

static void (*output)(const char *bytes, size_t len) = to_own;

void log_set_output(void (*given)(const char *bytes, size_t len)) {
    output = given ? given : to_own;
}

void log_set_captured(int pipe_fd, int log_fd) {
    capture_fd = pipe_fd;
    own_fd = log_fd;
}

/* What the script prints goes elsewhere, if it has gone where `before` goes: the script may have a place of its own. */
static void move_output(int before, int after) {
    struct stat one, other;
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fstat(before, &one) < 0 || fstat(fd, &other) < 0) continue;
        if (one.st_dev == other.st_dev && one.st_ino == other.st_ino) dup2(after, fd);
    }
}

void log_end_capture(void) {
    if (capture_fd < 0) return;
    move_output(capture_fd, own_fd);
    capture_fd = -1;
}

void log_reopened(int fd) {
    move_output(own_fd, fd);
    dup3(fd, own_fd, O_CLOEXEC);
    close(fd);
}

/* ---- making lines --------------------------------------------------------------------------------------------- */

static bool is_control(unsigned char byte) {
    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

static char *put_time(char *p) {
    static time_t formatted;
    static char text[32];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != formatted) {
        struct tm tm;
        formatted = now.tv_sec;
        gmtime_r(&now.tv_sec, &tm);
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    }
    return p + sprintf(p, "%s.%03ldZ ", text, now.tv_nsec / 1000000);
}

static char *put_priority(char *p, enum log_level level) {
    *p++ = '<';
    *p++ = levels[level].priority;
    *p++ = '>';
    return p;
}

static char *put_prefix(char *p, enum log_level level, const char *role, int pid) {
    p = has_priorities ? put_priority(p, level) : put_time(p);
    return p + snprintf(p, PREFIX_BYTES - 64, "%.320s[%d] %s: ", role, pid, levels[level].name);
}

/* Text with its last newline; whoever reads lines alone finds the priority in front of each. */
static char *put_text(char *p, const char *end, enum log_level level, const char *text, size_t len) {
    while (len > 0 && text[len - 1] == '\n') len--;
    for (size_t i = 0; i < len && end - p > 8; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '\n') {
            *p++ = '\n';
            if (has_priorities) p = put_priority(p, level);
            if (text[i + 1] != '\t') *p++ = '\t';
        } else if (is_control(byte)) {
            p += sprintf(p, "\\x%02x", byte);
        } else {
            *p++ = (char)byte;
        }
    }
    *p++ = '\n';
    return p;
}

static void write_line(enum log_level level, const char *text, size_t len) {
    char line[LINE_BYTES], *p = line, *end = line + sizeof line;
    if (capture_fd >= 0) {
        *p++ = LOG_MARK;
        p = put_text(put_priority(p, level), end, level, text, len);
        if (to_master(line, (size_t)(p - line))) return;
        log_end_capture();
        p = line;
    }
    p = put_text(put_prefix(p, level, log_role_name, (int)getpid()), end, level, text, len);
    line_count++;
    output(line, (size_t)(p - line));
}

void log_write(enum log_level level, const char *format, ...) {
    if (level < log_threshold) return;
    int kept_errno = errno;
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len >= 0) write_line(level, text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1);
    errno = kept_errno;
}

void log_write_as(enum log_level level, const char *role, int pid, const char *text, size_t len, bool continues,
                  unsigned long *count) {
    char line[LINE_BYTES], *p = line;
    if (level < log_threshold) return;
    if (!continues || *count != line_count) {
        p = put_prefix(p, level, role, pid);
    } else if (has_priorities) {
        p = put_priority(p, level);
    }
    p = put_text(p, line + sizeof line, level, text, len);
    *count = ++line_count;
    output(line, (size_t)(p - line));
}
