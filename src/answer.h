/* BOTH. An answer of the master to a worker that has asked (CHANNEL_ASK): a memfd that travels with one packet, so that an
 * answer of any length is one message, and a worker that does not read its channel holds up nobody. */
#ifndef CLUA_ANSWER_H
#define CLUA_ANSWER_H

#include <stddef.h>
#include <stdint.h>

/* MASTER. 0; UV_EAGAIN when much that was sent has not been read yet: it would keep answers in memory; UV_E*. Never blocks. */
int answer_send(int channel_fd, uint32_t what, const char *bytes, size_t len);

/* WORKER. All bytes of the memfd, malloc'ed; closes it. 0 or UV_E*. */
int answer_read(int fd, char **bytes, size_t *len);

#endif
