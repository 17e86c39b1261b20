/* MASTER. The way to a service manager: datagrams as in sd_notify(3), and the sockets that it has handed over
 * (sd_listen_fds(3)). What is said, and when: lua/clua/systemd.lua. */
#ifndef CLUA_SYSTEMD_H
#define CLUA_SYSTEMD_H

#include <stdbool.h>
#include <stddef.h>

/* Where to send to: an absolute path, or "@name" of an abstract socket. 0 or UV_E*; UV_EINVAL for any other address. */
int systemd_notify_open(const char *address);

/* Sends one datagram, without ever waiting. 0 or UV_E*: UV_EAGAIN when the receiver's queue is full. */
int systemd_notify(const char *text, size_t len);

/* Is this descriptor the journal's, as JOURNAL_STREAM says? */
bool systemd_is_journal(int fd);

/* Makes an inherited descriptor CLOEXEC. 0 when it is a stream socket that listens; UV_EBADF, UV_ENOTSOCK, UV_EINVAL. */
int systemd_take(int fd);

/* Whether a descriptor that was taken survives execve(), as it must in an upgrade. */
void systemd_keep(int fd, bool keep);

#endif
