/* BOTH. Packing, sending, receiving and checking packets; see channel.h. */
#include "channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <uv.h>

int channel_pair(int *master_fd, int *worker_fd) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0) return -errno;
    *master_fd = fds[0];
    *worker_fd = fds[1];
    return 0;
}

int channel_send(int fd, const struct channel_message *message, const int *fds, size_t fd_count) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * CHANNEL_LOANS_MAX)];
    } control;
    struct iovec iov = {
        .iov_base = (void *)(uintptr_t)message,
        .iov_len = sizeof message->head + message->head.len,
    };
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd_count > 0) {
        memset(&control, 0, sizeof control);
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_count);
    }
    ssize_t n;
    do {
        n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return errno == ENOBUFS ? UV_EAGAIN : -errno;
    return 0;
}

/* The length that a type's payload must have; `count` of one that is an array has its own limit. */
static bool has_shape(const struct channel_message *message, size_t fd_count) {
    const struct channel_head *head = &message->head;
    if (head->type == CHANNEL_ANSWER ? fd_count > 1
                                     : fd_count > 0 && head->type != CHANNEL_LOANS && head->type != CHANNEL_LOGS)
        return false;
    switch ((enum channel_type)head->type) {
    case CHANNEL_LOANS:
        return head->count > 0 && head->count <= CHANNEL_LOANS_MAX && fd_count <= head->count &&
               head->len == head->count * sizeof message->u.loans[0];
    case CHANNEL_RECALL:
        return head->count <= CHANNEL_LOANS_MAX && head->len == head->count * sizeof message->u.recalled[0];
    case CHANNEL_DRAIN:
    case CHANNEL_DOORBELL:
    case CHANNEL_FIRST:
        return head->len == 0;
    case CHANNEL_DELIVER:
    case CHANNEL_EVALUATE:
        return true;
    case CHANNEL_SETTINGS:
        return head->len == sizeof message->u.settings;
    case CHANNEL_LOGS:
        return head->len == sizeof message->u.logs && fd_count <= 2;
    case CHANNEL_READY:
        return head->len == sizeof message->u.ready;
    case CHANNEL_LEAVE:
        return head->len == sizeof message->u.leave;
    case CHANNEL_BROADCAST:
        return head->len >= 8 && message->u.broadcast.name_len <= head->len - 8;
    case CHANNEL_ANSWER:
    case CHANNEL_ASK:
        return head->len == sizeof message->u.ask;
    case CHANNEL_QUARANTINE:
        return head->len >= 12 && message->u.quarantine.kept <= head->len - 12;
    }
    return false;
}

static size_t collect_fds(struct msghdr *msg, int *fds) {
    size_t count = 0;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) continue;
        size_t here = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < here; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof fd, sizeof fd);
            if (count < CHANNEL_LOANS_MAX) {
                fds[count++] = fd;
            } else {
                close(fd);
            }
        }
    }
    return count;
}

int channel_receive(int fd, struct channel_message *message, int *fds, size_t *fd_count) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * CHANNEL_LOANS_MAX)];
    } control;
    struct iovec iov = {.iov_base = message, .iov_len = sizeof *message};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    *fd_count = 0;
    ssize_t n;
    do {
        n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return errno == EAGAIN ? 0 : errno == ECONNRESET ? UV_EOF : -errno;
    *fd_count = collect_fds(&msg, fds);
    if (n == 0 && *fd_count == 0) return UV_EOF; /* an empty packet looks the same, but may carry descriptors */
    /* MSG_CTRUNC is no error: this process was out of descriptors, the caller gives those loans back. */
    if ((msg.msg_flags & MSG_TRUNC) || (size_t)n < sizeof message->head ||
        (size_t)n - sizeof message->head != message->head.len || !has_shape(message, *fd_count)) {
        for (size_t i = 0; i < *fd_count; i++) close(fds[i]);
        *fd_count = 0;
        return UV_EPROTO;
    }
    return 1;
}
