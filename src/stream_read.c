/* WORKER. See stream.h: what is read from a stream.
 *
 * The race with the master, which may take back an UNTOUCHED or IDLE loan of a worker that it believes stuck:
 *
 *     worker: swap(IDLE -> READING), then read(2)        master: swap(IDLE -> TAKEN), then lend to another worker
 *
 * Only one of the two swaps succeeds. libuv asks for a buffer before it reads, so the swap is made in the alloc
 * callback; a lost one answers with no buffer, and libuv then reads nothing (UV_ENOBUFS). */
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "borrow.h"
#include "hold.h"
#include "stream_private.h"

static char shared_buffer[64 * 1024];

static void alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    struct stream *stream = stream_of_handle(handle);
    borrow_busy(uv_now(handle->loop));
    *buf = uv_buf_init(NULL, 0);
    if (stream->loan != STREAM_NO_LOAN) {
        uint32_t state = stream_word(stream);
        if (hold_knows() && stream_can_be_taken(state) && stream->hooks->on_come && !stream->hooks->on_come(stream))
            return;
        if (state == LOAN_TAKEN ||
            (stream_can_be_taken(state) && !stream_publish(stream, (enum loan_state)stream->claim)))
            return;
        stream->woken_from = stream_can_be_taken(state) ? (uint8_t)state : 0;
    }
    if (stream->hooks->on_alloc) {
        stream->hooks->on_alloc(stream, buf);
    } else {
        *buf = uv_buf_init(shared_buffer, sizeof shared_buffer);
    }
}

static void received(uv_stream_t *handle, ssize_t nread, const uv_buf_t *buf) {
    struct stream *stream = stream_of_handle((uv_handle_t *)handle);
    if (stream->closing) return;
    if (nread > 0) {
        if (stream->hooks->on_data) stream->hooks->on_data(stream, buf->base, (size_t)nread);
        return;
    }
    if (nread == 0) { /* EAGAIN: nothing was read, so the loan is what it was */
        if (stream->woken_from) stream_publish(stream, (enum loan_state)stream->woken_from);
        return;
    }
    if (nread == UV_ENOBUFS) { /* alloc() has given no buffer */
        stream_drop_taken(stream);
        if (!stream->closing) stream_read_stop(stream);
        return;
    }
    stream_read_stop(stream);
    stream->ended = true;
    if (nread == UV_EOF) {
        if (stream->hooks->on_end) stream->hooks->on_end(stream);
    } else if (stream->hooks->on_error) {
        stream->hooks->on_error(stream, (int)nread);
    }
}

int stream_read_start(struct stream *stream) {
    if (stream->reading) return 0;
    if (stream->closing || stream->ended) return UV_EOF;
    int err = stream->unattached_fd < 0 ? uv_read_start(&stream->uv.stream, alloc, received) : 0;
    stream->reading = err == 0;
    return err;
}

int stream_attach(struct stream *stream) {
    if (stream->unattached_fd < 0 || stream->closing) return 0;
    int err = stream_tell_loop(stream);
    if (err < 0 || !stream->reading) return err;
    stream->reading = false;
    return stream_read_start(stream);
}

bool stream_read_now(struct stream *stream) {
    uv_buf_t buf;
    if (!stream->reading || stream->closing) return false;
    alloc(&stream->uv.handle, sizeof shared_buffer, &buf);
    if (buf.len == 0) {
        received(&stream->uv.stream, UV_ENOBUFS, &buf);
        return false;
    }
    ssize_t n;
    do {
        n = recv(stream_fd(stream), buf.base, buf.len, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        n = errno == EAGAIN ? 0 : -errno;
    else if (n == 0)
        n = UV_EOF;
    received(&stream->uv.stream, n, &buf);
    return n != 0;
}

int stream_peek(const struct stream *stream, char *bytes, size_t size) {
    ssize_t n;
    do {
        n = recv(stream_fd(stream), bytes, size, MSG_PEEK | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (int)n;
}

bool stream_has_unread(const struct stream *stream) {
    int count = 0;
    return !stream->closing && ioctl(stream_fd(stream), FIONREAD, &count) == 0 && count > 0;
}
