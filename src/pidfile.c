/* MASTER. See pidfile.h. The lock (flock(2)) says whether the owner lives: unlike a pid it cannot be used again by a
 * stranger, and the kernel drops it at any death. */
#include "pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

static int file = -1;
static char file_path[PATH_MAX];

static bool is_at_path(int fd, const char *path) {
    struct stat ours, there;
    return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

static int live(int fd, const char *path, char *why, size_t why_len) {
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? strcspn(text, "\n") : 0] = '\0';
    snprintf(why, why_len, "pid file %s belongs to a running master%s%s", path, text[0] ? ", pid " : "", text);
    return UV_EEXIST;
}

int pidfile_open(const char *path, char *why, size_t why_len) {
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        int err = fd < 0 ? -errno : 0;
        if (err == 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
            err = errno == EWOULDBLOCK ? live(fd, path, why, why_len) : -errno;
            close(fd);
            if (err == UV_EEXIST) return err;
        }
        if (err < 0) {
            snprintf(why, why_len, "cannot write pid file %s: %s", path, uv_strerror(err));
            return err;
        }
        if (!is_at_path(fd, path)) { /* its last owner removed it between our open and our lock */
            close(fd);
            continue;
        }
        if (ftruncate(fd, 0) < 0) {
            err = -errno;
            snprintf(why, why_len, "cannot write pid file %s: %s", path, uv_strerror(err));
            close(fd);
            return err;
        }
        pidfile_close(); /* another one, before an upgrade */
        file = fd;
        snprintf(file_path, sizeof file_path, "%s", path);
        return 0;
    }
}

int pidfile_publish(void) {
    char text[32];
    int len = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (file < 0) return 0;
    ssize_t n = pwrite(file, text, (size_t)len, 0);
    return n == len ? 0 : n < 0 ? -errno : UV_ENOSPC;
}

int pidfile_fd(void) {
    return file;
}

void pidfile_adopt(int fd, const char *path) {
    file = fd;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    snprintf(file_path, sizeof file_path, "%s", path);
}

void pidfile_close(void) {
    if (file < 0) return;
    if (is_at_path(file, file_path)) unlink(file_path);
    close(file);
    file = -1;
}
