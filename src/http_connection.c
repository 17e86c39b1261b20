/* WORKER. The life of an HTTP connection; see http_connection.h for the states.
 *
 * Whatever happens (bytes, end, error, deadline, an answer from Lua) is first noted as a fact in the connection, then
 * advance() takes steps until nothing moves any more, and afterwards brings the outside in line with the new state, in
 * this order: output to the kernel, the state of the loan, reading on or off, the deadline. All answers that one read
 * gives rise to therefore leave in one write, and the loan is IDLE only when nothing at all is left here. */
#include "http_connection.h"

#include <assert.h>
#include <stdlib.h>

#include "http_deadline.h"
#include "http_file.h"
#include "http_loop.h"
#include "http_parser.h"
#include "http_response.h"
#include "log.h"
#include "worker.h"

static void advance(struct http_connection *connection);

static uint64_t now_ms(const struct http_connection *connection) {
    return stream_now_ms(connection->stream);
}

/* The one writer of `state`. */
static void enter(struct http_connection *connection, enum http_state state) {
    connection->state = state;
    connection->state_since_ms = now_ms(connection);
    connection->progress_ms = connection->state_since_ms;
}

bool http_connection_can_be_parked(const struct http_connection *connection) {
    const struct stream *stream = connection->stream;
    return stream->loan != STREAM_NO_LOAN && !stream->unowned && !connection->cannot_park;
}

bool http_connection_is_last(const struct http_connection *connection) {
    return connection->last || connection->ended || (worker_draining() && !http_connection_can_be_parked(connection));
}

void http_connection_touch(struct http_connection *connection) {
    if (!connection->running) http_loop_settle(connection);
}

/* ---- input ---------------------------------------------------------------------------------------------------- */

static void input_consume(struct http_connection *connection, size_t n) {
    connection->in += n;
    connection->in_len -= n;
}

/* The read is over, or bytes have been eaten: what is left must stand in `kept`. */
static void input_keep(struct http_connection *connection) {
    struct buffer *kept = &connection->kept;
    bool is_kept = kept->len > 0 && connection->in >= kept->data && connection->in <= kept->data + kept->len;
    if (is_kept) {
        buffer_consume(kept, kept->len - connection->in_len);
    } else {
        kept->len = 0;
        buffer_append(kept, connection->in, connection->in_len);
    }
    if (kept->len == 0 && kept->cap > 0 && connection->state == HTTP_STATE_IDLE) buffer_free(kept);
    connection->in = kept->data;
    connection->in_len = kept->len;
}

/* What of the exchange points into the read buffer moves to memory of its own. */
static void exchange_keep(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    if (!exchange || connection->state == HTTP_STATE_HEAD)
        return; /* its bytes are input still; step_head() finds them again */
    if (exchange->head.base != exchange->head_copy.data) {
        exchange->head_copy.len = 0;
        buffer_append(&exchange->head_copy, exchange->head.base, exchange->head.len);
        exchange->head.base = exchange->head_copy.data;
    }
    buffer_append(&exchange->body, exchange->span, exchange->span_len);
    exchange->span_len = 0;
}

/* ---- the exchange --------------------------------------------------------------------------------------------- */

static void exchange_end(struct http_connection *connection, bool complete) {
    struct http_exchange *exchange = connection->exchange;
    if (!exchange) return;
    if (exchange->owner.counted) {
        connection->hooks->on_ended(exchange, complete);
        exchange->owner.counted = false;
        worker_request_end();
    }
    connection->exchange = NULL;
    connection->gone_told = false;
    http_exchange_release(exchange);
}

/* Answers what cannot be served, and ends the connection behind the answer; closes it when an answer has begun. */
static void refuse(struct http_connection *connection, unsigned status) {
    struct http_exchange *exchange = connection->exchange;
    if (exchange->bytes_sent) {
        connection->error = UV_ECONNRESET;
        return;
    }
    exchange->refusal = status;
    http_response_replace(exchange, status, true);
    /* Readers are told why before the exchange goes. */
    if (exchange->owner.counted) {
        connection->hooks->on_readable(exchange);
        connection->hooks->on_writable(exchange);
    }
    connection->unread = true;
    exchange_end(connection, false);
    enter(connection, HTTP_STATE_FLUSHING);
}

static void fail_request(struct http_exchange *exchange, int failure) {
    if (exchange->request == HTTP_REQUEST_COMPLETE) return;
    exchange->request = HTTP_REQUEST_FAILED;
    exchange->failure = failure;
    exchange->keep_alive = false;
}

/* The stream is broken or the client too slow: nothing more can be said. */
static void abandon(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    enter(connection, HTTP_STATE_CLOSED);
    if (exchange) {
        fail_request(exchange, connection->error == UV_ETIMEDOUT ? UV_ETIMEDOUT : UV_ECONNRESET);
        if (exchange->owner.counted) {
            connection->hooks->on_readable(exchange);
            connection->hooks->on_writable(exchange);
        }
        exchange_end(connection, exchange->response == HTTP_RESPONSE_ENDED && exchange->bytes_sent);
    }
    stream_close(connection->stream);
}

static bool handle_request(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    enter(connection, exchange->request == HTTP_REQUEST_COMPLETE ? HTTP_STATE_WAITING : HTTP_STATE_BODY);
    if (exchange->request == HTTP_REQUEST_BODY) {
        uint64_t declared = exchange->chunked ? UINT64_MAX : exchange->parser.content_length;
        if (declared > exchange->body_limit) exchange->body_limit = connection->hooks->on_body_limit(exchange);
        if (!exchange->chunked && declared > exchange->body_limit) {
            fail_request(exchange, UV_E2BIG);
            refuse(connection, 413);
            return true;
        }
        if (connection->in_len > 0) {
            size_t eaten;
            http_parser_body(exchange, connection->in, connection->in_len, &eaten);
            input_consume(connection, eaten);
            if (eaten > 0) exchange->expects_continue = false; /* it did not wait */
        }
        if (exchange->request == HTTP_REQUEST_FAILED) {
            refuse(connection, exchange->refusal);
            return true;
        }
        if (exchange->request == HTTP_REQUEST_COMPLETE) enter(connection, HTTP_STATE_WAITING);
    }
    exchange->owner.counted = true;
    connection->served = true;
    worker_request_begin();
    if (exchange->upgrade) {
        connection->hooks->on_upgrade(exchange);
    } else {
        connection->hooks->on_request(exchange);
    }
    return true;
}

/* ---- steps ---------------------------------------------------------------------------------------------------- */

static bool step_idle(struct http_connection *connection) {
    if (connection->stream->queued_bytes >= HTTP_HIGH_WATER_BYTES) return false; /* it does not read its answers */
    /* RFC 9112 §2.2: empty lines in front of a request line are ignored. */
    while (connection->in_len >= 2 && connection->in[0] == '\r' && connection->in[1] == '\n')
        input_consume(connection, 2);
    if (connection->in_len == 0 || (connection->in_len == 1 && connection->in[0] == '\r')) {
        if (!connection->ended) return false;
        enter(connection, HTTP_STATE_FLUSHING);
        return true;
    }
    connection->exchange = http_exchange_take(connection, connection->config);
    connection->exchange->head.base = connection->in;
    http_parser_start(connection->exchange);
    enter(connection, HTTP_STATE_HEAD);
    return true;
}

static bool step_head(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    assert(exchange);
    exchange->head.base = connection->in;
    if (connection->in_len > exchange->head.len) http_parser_head(exchange, connection->in_len);
    switch (exchange->request) {
    case HTTP_REQUEST_HEAD:
        if (!connection->ended) return false;
        refuse(connection, 400);
        return true;
    case HTTP_REQUEST_FAILED:
        refuse(connection, exchange->refusal);
        return true;
    case HTTP_REQUEST_BODY:
    case HTTP_REQUEST_COMPLETE:
        input_consume(connection, exchange->head.len);
        return handle_request(connection);
    }
    return false;
}

bool http_connection_wants_body(const struct http_exchange *exchange) {
    return exchange->collecting || http_exchange_body_ready(exchange) < HTTP_HIGH_WATER_BYTES;
}

static bool step_body(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    assert(exchange);
    if (exchange->response == HTTP_RESPONSE_ENDED) {
        if (!exchange->keep_alive || exchange->expects_continue) {
            connection->unread = true;
            exchange_end(connection, true);
            enter(connection, HTTP_STATE_FLUSHING);
            return true;
        }
        connection->dropped_bytes = 0;
        enter(connection, HTTP_STATE_SKIPPING);
        return true;
    }
    if (connection->in_len > 0 && http_connection_wants_body(exchange)) {
        size_t eaten;
        http_parser_body(exchange, connection->in, connection->in_len, &eaten);
        input_consume(connection, eaten);
        if (eaten > 0) exchange->expects_continue = false;
        connection->progress_ms = now_ms(connection);
        if (exchange->request == HTTP_REQUEST_FAILED) {
            refuse(connection, exchange->refusal);
            return true;
        }
        if (exchange->request == HTTP_REQUEST_COMPLETE) enter(connection, HTTP_STATE_WAITING);
        connection->hooks->on_readable(exchange);
        return true;
    }
    if (connection->in_len == 0 && connection->ended) { /* RFC 9112 §8: an incomplete request */
        fail_request(exchange, UV_ECONNRESET);
        refuse(connection, 400);
        return true;
    }
    return false;
}

static bool step_waiting(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    assert(exchange);
    if (exchange->response != HTTP_RESPONSE_ENDED) {
        if (connection->ended && !connection->gone_told) {
            connection->gone_told = true;
            connection->hooks->on_gone(exchange);
            return true;
        }
        return false;
    }
    bool goes_on = exchange->keep_alive;
    exchange_end(connection, true);
    if (!goes_on) connection->unread = connection->in_len > 0;
    enter(connection, goes_on ? HTTP_STATE_IDLE : HTTP_STATE_FLUSHING);
    return true;
}

static bool step_skipping(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    assert(exchange);
    if (connection->in_len == 0 && !connection->ended) return false;
    size_t eaten = 0;
    if (connection->in_len > 0) http_parser_body(exchange, connection->in, connection->in_len, &eaten);
    input_consume(connection, eaten);
    exchange->span_len = 0;
    exchange->body.len = 0;
    connection->dropped_bytes += (uint32_t)eaten;
    if (exchange->request == HTTP_REQUEST_COMPLETE) {
        exchange_end(connection, true);
        enter(connection, HTTP_STATE_IDLE);
    } else if (exchange->request == HTTP_REQUEST_FAILED || connection->dropped_bytes > HTTP_SKIP_BYTES ||
               connection->ended) {
        connection->unread = true;
        exchange_end(connection, true);
        enter(connection, HTTP_STATE_FLUSHING);
    }
    return true;
}

static bool step_flushing(struct http_connection *connection) {
    input_consume(connection, connection->in_len);
    http_connection_flush(connection);
    if (connection->error) return true;
    if (connection->stream->queued_bytes > 0) return false;
    if (!connection->unread || connection->ended || stream_shutdown(connection->stream) < 0) {
        enter(connection, HTTP_STATE_CLOSED);
        stream_close(connection->stream);
    } else {
        enter(connection, HTTP_STATE_LINGERING);
    }
    return true;
}

static bool step(struct http_connection *connection) {
    if (connection->exchange && connection->exchange->file_left > 0 && connection->stream->queued_bytes == 0 &&
        !connection->error)
        http_file_pump(connection);
    if (connection->error && connection->state != HTTP_STATE_CLOSED) {
        abandon(connection);
        return false;
    }
    switch (connection->state) {
    case HTTP_STATE_IDLE:
        return step_idle(connection);
    case HTTP_STATE_HEAD:
        return step_head(connection);
    case HTTP_STATE_BODY:
        return step_body(connection);
    case HTTP_STATE_WAITING:
        return step_waiting(connection);
    case HTTP_STATE_SKIPPING:
        return step_skipping(connection);
    case HTTP_STATE_FLUSHING:
        return step_flushing(connection);
    case HTTP_STATE_LINGERING:
        input_consume(connection, connection->in_len);
        if (!connection->ended) return false;
        enter(connection, HTTP_STATE_CLOSED);
        stream_close(connection->stream);
        return false;
    case HTTP_STATE_CLOSED:
        return false;
    }
    return false;
}

/* ---- bringing the outside in line ----------------------------------------------------------------------------- */

static void publish(struct http_connection *connection) {
    const struct http_exchange *exchange = connection->exchange;
    enum loan_state state = LOAN_IDLE;
    if (connection->stream->loan == STREAM_NO_LOAN) return;
    if (connection->stream->queued_bytes > 0 || connection->state == HTTP_STATE_LINGERING ||
        connection->state == HTTP_STATE_FLUSHING || (exchange && exchange->bytes_sent)) {
        state = LOAN_RESPONDING;
    } else if (exchange || connection->in_len > 0) {
        state = LOAN_READING;
    }
    if (state == LOAN_IDLE && stream_state(connection->stream) == LOAN_UNTOUCHED) return;
    if (!stream_publish(connection->stream, state)) connection->error = UV_ECANCELED;
}

static void read_or_not(struct http_connection *connection) {
    bool wanted = true;
    switch (connection->state) {
    case HTTP_STATE_IDLE:
        wanted = connection->in_len < HTTP_HIGH_WATER_BYTES;
        break;
    case HTTP_STATE_BODY:
        wanted = http_connection_wants_body(connection->exchange);
        break;
    case HTTP_STATE_WAITING:
        wanted = connection->in_len < HTTP_HIGH_WATER_BYTES;
        break;
    case HTTP_STATE_HEAD:
    case HTTP_STATE_SKIPPING:
    case HTTP_STATE_FLUSHING:
    case HTTP_STATE_LINGERING:
        break;
    case HTTP_STATE_CLOSED:
        return;
    }
    if (!wanted) {
        stream_read_stop(connection->stream);
    } else if (!connection->ended) {
        stream_read_start(connection->stream);
    }
}

/* Idle: is there a reason to part now? True when the connection has been given back or closed. */
static bool leave_idle(struct http_connection *connection, bool now) {
    if (connection->stream->queued_bytes > 0 || connection->in_len > 0) return false;
    if (!now && !worker_draining()) return false;
    uint64_t keep = http_deadline_idle_limit_ms(connection), idle = now_ms(connection) - connection->state_since_ms;
    bool expired = keep > 0 && idle >= keep;
    if (!expired && http_connection_can_be_parked(connection)) {
        /* Parked, not given back to be lent at once: an HTTP client speaks first. */
        if (now && stream_state(connection->stream) == LOAN_UNTOUCHED) stream_publish(connection->stream, LOAN_IDLE);
        if (stream_park(connection->stream, keep ? (uint32_t)(keep - idle) : 0)) {
            enter(connection, HTTP_STATE_CLOSED);
            return true;
        }
        connection->cannot_park = true;
    }
    if (!expired && !worker_draining()) return false;
    enter(connection, HTTP_STATE_CLOSED);
    stream_close(connection->stream);
    return true;
}

/* A writer waits, and what it waits for has come. */
static bool may_write_on(const struct http_connection *connection) {
    if (!connection->write_waiting || connection->stream->queued_bytes >= HTTP_HIGH_WATER_BYTES) return false;
    return !connection->exchange || connection->exchange->file_left == 0;
}

static void connection_free(struct http_connection *connection) {
    http_loop_forget(connection);
    if (connection->out) http_loop_buffer_give(connection->out);
    connection->hooks->on_closed(connection);
    buffer_free(&connection->kept);
    free(connection);
}

static void advance(struct http_connection *connection) {
    if (connection->running || connection->state == HTTP_STATE_CLOSED) return;
    connection->running = true;
    do {
        while (step(connection)) continue;
        http_connection_flush(connection);
        if (connection->state == HTTP_STATE_CLOSED) break;
        if (may_write_on(connection)) {
            connection->write_waiting = false;
            if (connection->exchange && connection->exchange->owner.counted)
                connection->hooks->on_writable(connection->exchange);
            continue;
        }
        publish(connection);
        if (!connection->error) break;
    } while (true);
    connection->running = false;
    if (connection->released) {
        exchange_end(connection, true);
        connection_free(connection);
        return;
    }
    if (connection->state == HTTP_STATE_CLOSED) {
        http_loop_deadline(connection, 0);
        return;
    }
    exchange_keep(connection); /* first: it may point into `kept` */
    input_keep(connection);
    if (connection->state == HTTP_STATE_IDLE && leave_idle(connection, false)) return;
    read_or_not(connection);
    http_deadline_set(connection);
}

/* ---- stream hooks --------------------------------------------------------------------------------------------- */

static void on_data(struct stream *stream, char *bytes, size_t len) {
    struct http_connection *connection = stream->owner;
    if (connection->in_len > 0) {
        buffer_append(&connection->kept, bytes, len);
        connection->in = connection->kept.data;
        connection->in_len = connection->kept.len;
    } else {
        connection->in = bytes;
        connection->in_len = len;
    }
    advance(connection);
}

static void on_end(struct stream *stream) {
    struct http_connection *connection = stream->owner;
    connection->ended = true;
    advance(connection);
}

static void on_error(struct stream *stream, int error) {
    struct http_connection *connection = stream->owner;
    connection->ended = true;
    connection->error = error;
    advance(connection);
}

static void on_drain(struct stream *stream) {
    struct http_connection *connection = stream->owner;
    connection->progress_ms = now_ms(connection);
    advance(connection);
}

static void on_recall(struct stream *stream) {
    advance(stream->owner);
}

static void on_closed(struct stream *stream) {
    struct http_connection *connection = stream->owner;
    connection->state = HTTP_STATE_CLOSED;
    if (connection->exchange) {
        fail_request(connection->exchange, UV_ECONNRESET);
        exchange_end(connection, false);
    }
    connection_free(connection);
}

static const struct stream_hooks stream_hooks = {
    .on_data = on_data,
    .on_end = on_end,
    .on_error = on_error,
    .on_drain = on_drain,
    .on_recall = on_recall,
    .on_closed = on_closed,
};

/* ---- deadlines ------------------------------------------------------------------------------------------------ */

static void on_expired(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    if (connection->stream->queued_bytes > 0) {
        /* The kernel took bytes since: the client is slow, not dead. */
        if (uv_stream_get_write_queue_size(&connection->stream->uv.stream) < connection->queued_before) {
            connection->progress_ms = now_ms(connection);
        } else {
            connection->error = UV_ETIMEDOUT;
        }
        advance(connection);
        return;
    }
    switch (connection->state) {
    case HTTP_STATE_IDLE:
        if (leave_idle(connection, true)) return;
        break;
    case HTTP_STATE_HEAD:
        exchange->refusal = 408;
        fail_request(exchange, UV_ETIMEDOUT);
        break;
    case HTTP_STATE_BODY:
        fail_request(exchange, UV_ETIMEDOUT);
        connection->running = true;
        refuse(connection, 408);
        connection->running = false;
        break;
    case HTTP_STATE_SKIPPING:
    case HTTP_STATE_LINGERING:
        connection->error = UV_ETIMEDOUT;
        break;
    case HTTP_STATE_WAITING:
    case HTTP_STATE_FLUSHING:
    case HTTP_STATE_CLOSED:
        break;
    }
    advance(connection);
}

/* ---- the hooks' side ------------------------------------------------------------------------------------------ */

int http_connection_open(struct stream *stream, const struct http_config *config, const struct http_hooks *hooks,
                         void *server) {
    int err = http_loop_open(stream->uv.handle.loop, advance, on_expired);
    struct http_connection *connection = err == 0 ? calloc(1, sizeof *connection) : NULL;
    if (!connection) {
        stream_own(stream, NULL, NULL);
        stream_close(stream);
        return err < 0 ? err : UV_ENOMEM;
    }
    connection->stream = stream;
    connection->config = config;
    connection->hooks = hooks;
    connection->server = server;
    stream_own(stream, &stream_hooks, connection);
    stream->claim = LOAN_READING;
    worker_clients_speak_first();
    enter(connection, HTTP_STATE_IDLE);
    read_or_not(connection);
    http_deadline_set(connection);
    return 0;
}

void http_exchange_failed(struct http_exchange *exchange) {
    if (exchange->response == HTTP_RESPONSE_ENDED) return;
    if (exchange->bytes_sent) {
        http_connection_abort(exchange->connection, UV_ECANCELED);
        return;
    }
    http_response_replace(exchange, 500, exchange->request != HTTP_REQUEST_COMPLETE);
}

void http_connection_abort(struct http_connection *connection, int error) {
    connection->error = error;
    http_connection_touch(connection);
}

int http_body_take(struct http_exchange *exchange, const char **bytes, size_t *len) {
    if (exchange->request == HTTP_REQUEST_FAILED) return exchange->failure;
    if (exchange->span_len > 0) {
        *bytes = exchange->span;
        *len = exchange->span_len;
        exchange->span_len = 0;
    } else if (exchange->body.len > 0) {
        *bytes = exchange->body.data;
        *len = exchange->body.len;
        exchange->body.len = 0;
    } else if (exchange->request == HTTP_REQUEST_COMPLETE) {
        return UV_EOF;
    } else {
        const char *why;
        if (exchange->expects_continue && exchange->response == HTTP_RESPONSE_OPEN)
            http_response_informational(exchange, 100, "", 0, &why);
        http_connection_touch(exchange->connection);
        return 0;
    }
    http_connection_touch(exchange->connection); /* reading may go on */
    return 1;
}

void http_body_collect(struct http_exchange *exchange) {
    const char *why;
    exchange->collecting = true;
    if (exchange->request == HTTP_REQUEST_BODY && exchange->expects_continue &&
        exchange->response == HTTP_RESPONSE_OPEN)
        http_response_informational(exchange, 100, "", 0, &why);
    http_connection_touch(exchange->connection);
}

struct stream *http_connection_release(struct http_connection *connection, const char **rest, size_t *rest_len) {
    struct stream *stream = connection->stream;
    if (!connection->running || connection->state == HTTP_STATE_CLOSED) return NULL;
    http_connection_flush(connection); /* answers to requests in front of this one */
    if (connection->error || !stream_publish(stream, LOAN_HELD)) return NULL;
    stream->claim = LOAN_HELD;
    stream_own(stream, NULL, NULL);
    connection->state = HTTP_STATE_CLOSED;
    connection->released = true;
    connection->exchange->response = HTTP_RESPONSE_ENDED;
    connection->exchange->refusal = 101;
    *rest = connection->in;
    *rest_len = connection->in_len;
    return stream;
}
