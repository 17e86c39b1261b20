/* WORKER. See http_file.h. The socket's handle belongs to libuv, which alone may watch it: when the socket is full, a
 * little of the file goes through the ordinary write queue, and its on_drain says that there is room again. */
#include "http_file.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "http_loop.h"
#include "log.h"

static void count(struct http_connection *connection, size_t n) {
    struct http_exchange *exchange = connection->exchange;
    exchange->file_offset += n;
    exchange->file_left -= n;
    connection->progress_ms = stream_now_ms(connection->stream);
}

static void shrunk(struct http_connection *connection) {
    const struct http_exchange *exchange = connection->exchange;
    log_write(CLUA_LOG_WARN, "a file has shrunk while it was sent: %llu bytes are missing",
              (unsigned long long)exchange->file_left);
    connection->error = UV_EOF;
}

/* True when bytes have been queued or sent. */
static bool copy(struct http_connection *connection, size_t most) {
    static char bytes[HTTP_FILE_COPY_BYTES];
    struct http_exchange *exchange = connection->exchange;
    size_t wanted = exchange->file_left < most ? (size_t)exchange->file_left : most;
    ssize_t n = pread(exchange->file_fd, bytes, wanted, (off_t)exchange->file_offset);
    if (n == 0) shrunk(connection);
    if (n < 0) connection->error = -errno;
    if (n <= 0) return false;
    http_connection_send(connection, bytes, (size_t)n);
    http_connection_flush(connection);
    if (!connection->error) count(connection, (size_t)n);
    return !connection->error;
}

bool http_file_gather(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    if (exchange->file_left > HTTP_FILE_SMALL_BYTES || connection->stream->queued_bytes > 0) return false;
    size_t wanted = (size_t)exchange->file_left;
    if (http_connection_unsent(connection) + wanted > HTTP_BATCH_BYTES) http_connection_flush(connection);
    while (exchange->file_left > 0 && !connection->error) {
        char *room = http_connection_room(connection, (size_t)exchange->file_left);
        ssize_t n = pread(exchange->file_fd, room, (size_t)exchange->file_left, (off_t)exchange->file_offset);
        if (n > 0) {
            http_connection_sent(connection, (size_t)n);
            count(connection, (size_t)n);
        } else if (n == 0) {
            shrunk(connection);
        } else if (errno != EINTR) {
            connection->error = -errno;
        }
    }
    return true;
}

void http_file_pump(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    size_t turn = HTTP_FILE_TURN_BYTES;
    connection->stream->more_follows = true; /* the file, behind the head */
    http_connection_flush(connection);
    connection->stream->more_follows = false;
    if (connection->error) return;
    int socket_fd = stream_descriptor(connection->stream);
    while (exchange->file_left > 0 && connection->stream->queued_bytes == 0) {
        if (turn == 0) {
            http_loop_settle(connection);
            return;
        }
        off_t offset = (off_t)exchange->file_offset;
        size_t wanted = exchange->file_left < turn ? (size_t)exchange->file_left : turn;
        ssize_t n = sendfile(socket_fd, exchange->file_fd, &offset, wanted);
        if (n > 0) {
            connection->stream->written += (uint32_t)n; /* past the stream, but the kernel counts it too */
            count(connection, (size_t)n);
            turn -= (size_t)n;
        } else if (n == 0) {
            shrunk(connection);
            return;
        } else if (errno == EAGAIN) {
            if (!copy(connection, HTTP_FILE_WAIT_BYTES)) return;
        } else if (errno == EINVAL) { /* a file system without sendfile */
            if (!copy(connection, HTTP_FILE_COPY_BYTES)) return;
        } else if (errno != EINTR) {
            connection->error = -errno;
            return;
        }
    }
}
