/* MASTER. See tcp_half_open.h. */
#include "tcp_half_open.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdalign.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

/* The answer begins with one of them, or with its end. */
static bool is_any(int fd) {
    alignas(struct nlmsghdr) char bytes[8192];
    ssize_t n;
    do n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT); /* the kernel answers while it is asked */
    while (n < 0 && errno == EINTR);
    const struct nlmsghdr *head = (const struct nlmsghdr *)(const void *)bytes;
    return n >= (ssize_t)sizeof *head && head->nlmsg_type == SOCK_DIAG_BY_FAMILY;
}

bool tcp_half_open(int family, uint16_t port) {
    const struct {
        struct nlmsghdr head;
        struct inet_diag_req_v2 body;
    } request = {
        .head = {.nlmsg_len = sizeof request,
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .body = {.sdiag_family = (uint8_t)family,
                 .sdiag_protocol = IPPROTO_TCP,
                 .idiag_states = 1U << TCP_SYN_RECV,
                 .id.idiag_sport = htons(port)},
    };
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd < 0) return false;
    bool found = send(fd, &request, sizeof request, 0) == (ssize_t)sizeof request && is_any(fd);
    close(fd);
    return found;
}
