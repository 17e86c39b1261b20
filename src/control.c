/* MASTER, and the commands that look for one. See control.h.
 *
 * Whoever replaces a stale file holds a lock on the folder: of two masters that start at once, the later one must not
 * take the socket of the earlier one, which is bound and does not listen yet, for a stale one. */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <uv.h>

enum { BACKLOG = 64, LOCK_TRIES = 200, LOCK_PAUSE_US = 10000 };

static struct {
    int fd;
    dev_t dev;
    ino_t ino;
    char path[PATH_MAX], link[PATH_MAX];
} control = {.fd = -1};

static bool is_stale(int err) {
    return err == ECONNREFUSED || err == ENOENT;
}

/* 0 when somebody listens, else errno. A full backlog (EAGAIN) is somebody. */
static int probe(const struct sockaddr_un *address) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    int err = connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 ? errno : 0;
    close(fd);
    return err == EAGAIN ? 0 : err;
}

static int address_of(const char *path, struct sockaddr_un *address) {
    if (strlen(path) >= sizeof address->sun_path) return UV_ENAMETOOLONG;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, strlen(path) + 1);
    return 0;
}

/* Closing the descriptor unlocks. Without the right to read the folder it goes without a lock: then -1. */
static int lock_folder(const char *path, int *fd) {
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash && slash > path ? (int)(slash - path) : 1, slash ? path : ".");
    *fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0) return errno == EACCES ? 0 : -errno;
    for (int i = 0; flock(*fd, LOCK_EX | LOCK_NB) < 0; i++) {
        if (errno == EWOULDBLOCK && i < LOCK_TRIES) {
            usleep(LOCK_PAUSE_US);
            continue;
        }
        int err = -errno;
        close(*fd);
        return err;
    }
    return 0;
}

static void unlock(int fd) {
    if (fd >= 0) close(fd);
}

/* fchmod before bind: the file never has another mode, whatever the umask allows. The umask may have taken more. */
static int bind_private(int fd, const struct sockaddr_un *address) {
    if (fchmod(fd, 0600) < 0) return -errno;
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) < 0) return -errno;
    if (chmod(address->sun_path, 0600) < 0) return -errno;
    return listen(fd, BACKLOG) < 0 ? -errno : 0;
}

static int make_way(const struct sockaddr_un *address) {
    struct stat st;
    if (lstat(address->sun_path, &st) < 0) return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode)) return UV_EEXIST;
    int err = probe(address);
    if (err == 0) return UV_EADDRINUSE;
    if (!is_stale(err)) return -err;
    return unlink(address->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

static void remember(int fd, const char *path, const char *link) {
    struct stat st = {0};
    control.fd = fd;
    snprintf(control.path, sizeof control.path, "%s", path);
    snprintf(control.link, sizeof control.link, "%s", link);
    if (lstat(path, &st) < 0) control.path[0] = '\0';
    control.dev = st.st_dev;
    control.ino = st.st_ino;
}

static int refuse(int err, const char *path, char *why, size_t why_len) {
    const char *reason = err == UV_EADDRINUSE ? "another master listens there"
                         : err == UV_EEXIST   ? "there is a file that is no socket"
                         : err == UV_EAGAIN   ? "its folder is locked by somebody else"
                                              : uv_strerror(err);
    snprintf(why, why_len, "cannot open the control socket %s: %s", path, reason);
    return err;
}

int control_open(const char *path, char *why, size_t why_len) {
    struct sockaddr_un address;
    int lock = -1, fd = -1;
    int err = address_of(path, &address);
    if (err == 0) err = lock_folder(path, &lock);
    if (err < 0) return refuse(err, path, why, why_len);
    err = make_way(&address);
    if (err == 0) {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        err = fd < 0 ? -errno : bind_private(fd, &address);
    }
    if (err == 0) {
        remember(fd, path, "");
    } else if (fd >= 0) {
        close(fd);
    }
    unlock(lock);
    return err == 0 ? fd : refuse(err, path, why, why_len);
}

void control_adopt(int fd, const char *path, const char *link) {
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    remember(fd, path, link);
}

int control_fd(void) {
    return control.fd;
}

int control_link(const char *link) {
    if (unlink(link) < 0 && errno != ENOENT) return -errno;
    if (symlink(control.path, link) < 0) return -errno;
    snprintf(control.link, sizeof control.link, "%s", link);
    return 0;
}

void control_remove(void) {
    struct stat st;
    char target[PATH_MAX];
    if (control.link[0]) {
        ssize_t n = readlink(control.link, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        if (strcmp(target, control.path) == 0) unlink(control.link);
    }
    if (control.path[0] && lstat(control.path, &st) == 0 && st.st_dev == control.dev && st.st_ino == control.ino)
        unlink(control.path);
    control.path[0] = control.link[0] = '\0';
    control.fd = -1;
}

int control_peer(int fd, uid_t *uid, pid_t *pid) {
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) return -errno;
    *uid = peer.uid;
    *pid = peer.pid;
    return 0;
}

int control_sweep(const char *path) {
    struct sockaddr_un address;
    struct stat st;
    int lock = -1;
    int err = address_of(path, &address);
    if (err < 0) return err;
    int state = probe(&address);
    if (state == 0) return 1;
    if (!is_stale(state)) return -state;
    err = lock_folder(path, &lock);
    if (err < 0) return err;
    state = probe(&address);
    if (lstat(path, &st) < 0) {
        err = -errno;
    } else if (state == 0) {
        err = 1;
    } else if (!is_stale(state) || !(S_ISSOCK(st.st_mode) || S_ISLNK(st.st_mode))) {
        err = -state;
    } else {
        err = unlink(path) < 0 ? -errno : 0;
    }
    unlock(lock);
    return err;
}
