/* MASTER. See systemd.h. The protocol is a datagram of lines; a library for it would be larger than all that is here. */
#include "systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <uv.h>

/* Kept open: a master that is out of descriptors must still be able to say that it lives. Not connected: a manager that
 * was started anew has another socket at the same address. */
static int notify_fd = -1;
static struct sockaddr_un notify_address;
static socklen_t notify_address_len;

int systemd_notify_open(const char *address) {
    size_t len = strlen(address);
    if ((address[0] != '/' && address[0] != '@') || len < 2) return UV_EINVAL;
    if (len >= sizeof notify_address.sun_path) return UV_ENAMETOOLONG;
    if (notify_fd < 0) notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (notify_fd < 0) return -errno;
    notify_address.sun_family = AF_UNIX;
    memcpy(notify_address.sun_path, address, len + 1);
    notify_address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    if (address[0] == '@') {
        notify_address.sun_path[0] = '\0';
        notify_address_len--; /* an abstract name has no end but its length */
    }
    return 0;
}

int systemd_notify(const char *text, size_t len) {
    ssize_t n;
    if (notify_fd < 0) return UV_ENOTCONN;
    do {
        n = sendto(notify_fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&notify_address,
                   notify_address_len);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

bool systemd_is_journal(int fd) {
    unsigned long long device, inode;
    struct stat st;
    const char *stream = getenv("JOURNAL_STREAM");
    if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2 || fstat(fd, &st) < 0) return false;
    return st.st_dev == device && st.st_ino == inode;
}

int systemd_take(int fd) {
    int type = 0, listens = 0;
    socklen_t len = sizeof type;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return -errno;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0) return -errno;
    len = sizeof listens;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0) return -errno;
    return type == SOCK_STREAM && listens ? 0 : UV_EINVAL;
}

void systemd_keep(int fd, bool keep) {
    fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}
