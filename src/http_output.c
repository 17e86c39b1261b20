/* WORKER. The output of a connection: gathered in a pooled buffer, and handed to the stream in as few writes as can be.
 * The state of the loan is RESPONDING before the first byte goes. */
#include "http_connection.h"
#include "http_loop.h"

size_t http_connection_unsent(const struct http_connection *connection) {
    return connection->out ? connection->out->len : 0;
}

char *http_connection_room(struct http_connection *connection, size_t len) {
    if (!connection->out) connection->out = http_loop_buffer_take();
    return buffer_room(connection->out, len);
}

void http_connection_sent(struct http_connection *connection, size_t len) {
    connection->out->len += len;
}

/* After these bytes nothing is owed to the client, and nothing of another request has come. */
static bool is_last_answer(const struct http_connection *connection) {
    return connection->state == HTTP_STATE_IDLE && !connection->exchange && connection->in_len == 0;
}

static void write_now(struct http_connection *connection, const char *bytes, size_t len) {
    if (connection->error) return;
    bool last = is_last_answer(connection); /* then stream_answer() publishes */
    if (!last && !stream_publish(connection->stream, LOAN_RESPONDING)) {
        connection->error = UV_ECANCELED;
        return;
    }
    struct http_exchange *exchange = connection->exchange;
    if (exchange && exchange->response != HTTP_RESPONSE_OPEN) exchange->bytes_sent = true;
    size_t queued = connection->stream->queued_bytes;
    int err = last ? stream_answer(connection->stream, bytes, len) : stream_write(connection->stream, bytes, len);
    if (err < 0) {
        connection->error = err;
    } else if (connection->stream->queued_bytes < queued + len) {
        connection->progress_ms = stream_now_ms(connection->stream);
    }
}

void http_connection_flush(struct http_connection *connection) {
    struct buffer *out = connection->out;
    if (!out) return;
    connection->out = NULL;
    if (out->len > 0) write_now(connection, out->data, out->len);
    http_loop_buffer_give(out);
}

void http_connection_send(struct http_connection *connection, const char *bytes, size_t len) {
    size_t unsent = http_connection_unsent(connection);
    size_t fits = unsent < HTTP_BATCH_BYTES ? HTTP_BATCH_BYTES - unsent : 0;
    if (fits > len) fits = len;
    if (fits > 0) {
        memcpy(http_connection_room(connection, fits), bytes, fits);
        http_connection_sent(connection, fits);
    }
    if (fits == len) return;
    http_connection_flush(connection);
    write_now(connection, bytes + fits, len - fits);
}

bool http_connection_is_congested(struct http_connection *connection) {
    if (http_connection_unsent(connection) >= HTTP_HIGH_WATER_BYTES) http_connection_flush(connection);
    return !connection->error && connection->stream->queued_bytes >= HTTP_HIGH_WATER_BYTES;
}
