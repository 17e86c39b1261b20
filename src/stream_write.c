/* WORKER. See stream.h: what is written to a stream. What the kernel does not take at once waits in libuv's queue.
 *
 * The first byte that is written wins the loan, as the first one that is read does (stream_read.c). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "borrow.h"
#include "stream_private.h"

struct queued_write {
    uv_write_t request;
    struct stream *stream;
    size_t len;
    char bytes[];
};

static void shut_down_now(struct stream *stream) {
    shutdown(stream_fd(stream), SHUT_WR);
    stream->shut = true;
}

static void written(uv_write_t *request, int status) {
    struct queued_write *queued = (struct queued_write *)request;
    struct stream *stream = queued->stream;
    stream->queued_bytes -= queued->len;
    stream->written += (uint32_t)queued->len;
    free(queued);
    if (stream->closing) return;
    if (status < 0) {
        if (stream->hooks->on_error) stream->hooks->on_error(stream, status);
        return;
    }
    if (stream->queued_bytes > 0) return;
    if (stream->shut_after_write && !stream->shut) shut_down_now(stream);
    if (stream->hooks->on_drain) stream->hooks->on_drain(stream);
}

static int queue_write(struct stream *stream, const char *bytes, size_t len) {
    int err = stream_attach(stream);
    struct queued_write *queued = err == 0 ? malloc(sizeof *queued + len) : NULL;
    if (!queued) return err < 0 ? err : UV_ENOMEM;
    queued->stream = stream;
    queued->len = len;
    memcpy(queued->bytes, bytes, len);
    uv_buf_t buf = uv_buf_init(queued->bytes, (unsigned)len);
    err = uv_write(&queued->request, &stream->uv.stream, &buf, 1, written);
    if (err < 0) {
        free(queued);
        return err;
    }
    stream->queued_bytes += len;
    return 0;
}

/* Wins the loan for writing. 0, UV_EPIPE or UV_ECANCELED. */
static int begin_write(struct stream *stream) {
    if (stream->closing || stream->shut || stream->shut_after_write) return UV_EPIPE;
    if (stream->loan == STREAM_NO_LOAN) return 0;
    uint32_t state = stream_word(stream);
    if (state == LOAN_TAKEN) return UV_ECANCELED;
    if (!stream_can_be_taken(state)) return 0;
    return stream_publish(stream, stream->claim == LOAN_HELD ? LOAN_HELD : LOAN_RESPONDING) ? 0 : UV_ECANCELED;
}

/* Not uv_try_write(), which knows no MSG_MORE and wants the stream attached. */
static int send_now(const struct stream *stream, const char *bytes, size_t len) {
    int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (stream->more_follows ? MSG_MORE : 0);
    ssize_t n;
    do {
        n = send(stream_fd(stream), bytes, len, flags);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (int)n;
}

/* What the kernel takes now; 0 when something is queued already. Number of bytes or UV_E*. */
static int try_write(struct stream *stream, const char *bytes, size_t len) {
    if (stream->queued_bytes > 0) return 0;
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);
    /* One of our own may be connecting still, which libuv knows. */
    int n = stream->outgoing ? uv_try_write(&stream->uv.stream, &buf, 1) : send_now(stream, bytes, len);
    if (n == UV_EAGAIN) return 0;
    if (n > 0) stream->written += (uint32_t)n;
    return n;
}

int stream_write(struct stream *stream, const char *bytes, size_t len) {
    int err = begin_write(stream);
    if (err < 0) return err;
    int n = try_write(stream, bytes, len);
    if (n < 0) return n;
    return (size_t)n < len ? queue_write(stream, bytes + n, len - (size_t)n) : 0;
}

int stream_answer(struct stream *stream, const char *bytes, size_t len) {
    if (stream->loan == STREAM_NO_LOAN || stream->queued_bytes > 0) return stream_write(stream, bytes, len);
    int err = begin_write(stream);
    if (err < 0) return err;
    if (stream_word(stream) == LOAN_READING) borrow_begun(stream->loan, stream->written);
    borrow_answered(stream->loan, stream->written + (uint32_t)len);
    int n = try_write(stream, bytes, len);
    if (n >= 0 && (size_t)n == len) {
        stream_publish(stream, LOAN_IDLE);
        return 0;
    }
    stream_publish(stream, LOAN_RESPONDING);
    return n < 0 ? n : queue_write(stream, bytes + n, len - (size_t)n);
}

int stream_shutdown(struct stream *stream) {
    if (stream->closing) return UV_EPIPE;
    if (stream_is_taken(stream)) return UV_ECANCELED;
    if (stream_can_be_taken(stream_word(stream)) && !stream_publish(stream, (enum loan_state)stream->claim))
        return UV_ECANCELED;
    stream->shut_after_write = true;
    if (stream->queued_bytes == 0 && !stream->shut) shut_down_now(stream);
    return 0;
}
