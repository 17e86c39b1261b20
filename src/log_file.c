/* BOTH. See log_file.h. */
#include "log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

enum { MODE = 0640 };

int log_file_open(const char *path, int *fd) {
    int standard = strcmp(path, "/dev/stdout") == 0   ? STDOUT_FILENO
                   : strcmp(path, "/dev/stderr") == 0 ? STDERR_FILENO
                                                      : -1;
    if (standard >= 0) {
        *fd = fcntl(standard, F_DUPFD_CLOEXEC, 0);
    } else {
        /* NONBLOCK: a FIFO without a reader is refused, not waited for. */
        *fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, MODE);
    }
    return *fd < 0 ? -errno : 0;
}

int log_file_check(const char *path) {
    char folder[PATH_MAX];
    struct stat st;
    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode)) return UV_EISDIR;
        return access(path, W_OK) < 0 ? -errno : 0;
    }
    const char *slash = strrchr(path, '/');
    if (errno != ENOENT) return -errno;
    if (snprintf(folder, sizeof folder, "%.*s/.", slash ? (int)(slash - path) : 1, slash ? path : ".") >= PATH_MAX)
        return UV_ENAMETOOLONG;
    return access(folder, W_OK | X_OK) < 0 ? -errno : 0;
}

/* Room for as much as is written at once: what is full would make a descriptor wait that is not ours to change. */
static bool has_room(int fd) {
    struct pollfd one = {.fd = fd, .events = POLLOUT};
    return poll(&one, 1, 0) > 0;
}

int log_file_write(int fd, const char *bytes, size_t len, size_t *done) {
    struct stat st;
    bool is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    *done = 0;
    while (*done < len) {
        size_t some = len - *done;
        if (!is_file) {
            if (some > PIPE_BUF) some = PIPE_BUF;
            if (!has_room(fd)) return UV_EAGAIN;
        }
        ssize_t n = write(fd, bytes + *done, some);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -errno;
        *done += (size_t)n;
    }
    return 0;
}
