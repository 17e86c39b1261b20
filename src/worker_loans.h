/* WORKER. Takes the loans that the master sends, and begins to serve them. */
#ifndef CLUA_WORKER_LOANS_H
#define CLUA_WORKER_LOANS_H

#include <stddef.h>
#include <uv.h>

struct channel_message;
struct stream;

/* A packet of loans and their descriptors, which may be fewer: what cannot be taken, or comes while the worker drains, is
 * given back. on_loan gets each stream, which has no hooks yet, before any of its bytes are read. */
void worker_loans_take(uv_loop_t *loop, const struct channel_message *message, const int *fds, size_t fd_count,
                       void (*on_loan)(struct stream *stream));

/* The master has taken these back: they are closed here, if that has not been noticed already. */
void worker_loans_drop(const struct channel_message *message);

#endif
