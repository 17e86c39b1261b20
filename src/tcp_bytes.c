/* MASTER. See tcp_bytes.h. A file of its own: the kernel's struct tcp_info has the field, the C library's need not, and the
 * two headers cannot be included together. */
#include "tcp_bytes.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/in.h>
#include <linux/sockios.h>
#include <linux/tcp.h>

bool tcp_bytes_written(int fd, uint32_t *out) {
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    int unacknowledged = 0;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0) return false;
    if (ioctl(fd, SIOCOUTQ, &unacknowledged) < 0) return false;
    *out = (uint32_t)info.tcpi_bytes_acked + (uint32_t)unacknowledged;
    return true;
}
