/* WORKER. For stream.c and stream_*.c only, each of which knows those before it: life, loan, read, write; connect.
 * Every read and every write looks at the word of its loan, so the look is inline. */
#ifndef CLUA_STREAM_PRIVATE_H
#define CLUA_STREAM_PRIVATE_H

#include "borrow.h"
#include "stream.h"

static inline struct stream *stream_of_handle(uv_handle_t *handle) {
    return (struct stream *)((char *)handle - offsetof(struct stream, uv));
}

/* stream_descriptor() */
static inline int stream_fd(const struct stream *stream) {
    uv_os_fd_t fd = stream->unattached_fd;
    if (fd < 0 && uv_fileno(&stream->uv.handle, &fd) < 0) return -1;
    return fd;
}

/* stream_state() */
static inline enum loan_state stream_word(const struct stream *stream) {
    if (stream->loan == STREAM_NO_LOAN) return LOAN_HELD;
    return (enum loan_state)atomic_load_explicit(borrow_word(stream->loan), memory_order_relaxed);
}

static inline bool stream_can_be_taken(uint32_t state) {
    return state == LOAN_UNTOUCHED || state == LOAN_IDLE;
}

static inline bool stream_is_taken(const struct stream *stream) {
    return stream->loan != STREAM_NO_LOAN && stream_word(stream) == LOAN_TAKEN;
}

/* One without descriptor and owner; domain: AF_UNIX, or any other for TCP. 0 or UV_E*. */
int stream_new(uv_loop_t *loop, int domain, bool outgoing, struct stream **out);

/* Gives the descriptor, which is still unattached, to libuv. 0 or UV_E*. */
int stream_tell_loop(struct stream *stream);

/* Closes handle and descriptor; nothing is said of a loan. on_closed follows, and the stream is freed. */
void stream_end(struct stream *stream);

#endif
