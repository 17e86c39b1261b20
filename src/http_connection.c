/* WORKER. The life of an HTTP connection; see http_connection.h for the states, http_step.c for how they change.
 *
 * Whatever happens (bytes, end, error, deadline, an answer from Lua) is first noted as a fact in the connection, then
 * advance() takes steps until nothing moves any more, and afterwards brings the outside in line with the new state, in
 * this order: output to the kernel, the state of the loan, reading on or off, the deadline. All answers that one read
 * gives rise to therefore leave in one write, and the loan is IDLE only when nothing at all is left here. */
#include "http_connection.h"

#include <stddef.h>
#include <stdlib.h>

#include "http_deadline.h"
#include "http_loop.h"
#include "http_response.h"
#include "http_step.h"
#include "log.h"
#include "worker_send.h"
#include "worker_state.h"

static void advance(struct http_connection *connection);

static uint64_t now_ms(const struct http_connection *connection) {
    return stream_now_ms(connection->stream);
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
    /* Half of the empty line that may stand before a request: no request has begun, but no other worker has this CR. */
    bool has_cr = connection->in_len == 1 && connection->in[0] == '\r';
    if (connection->stream->queued_bytes > 0 || (connection->in_len > 0 && !has_cr)) return false;
    if (!now && !worker_draining()) return false;
    /* A request that was sent before the worker was told to finish is served here: in a stop there is no other. */
    if (worker_draining() && stream_has_unread(connection->stream)) return false;
    uint64_t keep = http_deadline_idle_limit_ms(connection), idle = now_ms(connection) - connection->state_since_ms;
    bool expired = keep > 0 && idle >= keep;
    if (!expired && !has_cr && http_connection_can_be_parked(connection)) {
        /* Parked, not given back to be lent at once: an HTTP client speaks first. */
        if (now && stream_state(connection->stream) == LOAN_UNTOUCHED) stream_publish(connection->stream, LOAN_IDLE);
        if (stream_park(connection->stream, keep ? (uint32_t)(keep - idle) : 0)) {
            http_enter(connection, HTTP_STATE_CLOSED);
            return true;
        }
        connection->cannot_park = true;
    }
    if (!expired && !worker_draining()) return false;
    http_enter(connection, HTTP_STATE_CLOSED);
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
    hold_forget(&connection->held);
    if (connection->out) http_loop_buffer_give(connection->out);
    connection->hooks->on_closed(connection);
    buffer_free(&connection->kept);
    free(connection->peer);
    free(connection);
}

static void advance(struct http_connection *connection) {
    if (connection->running || connection->state == HTTP_STATE_CLOSED) return;
    connection->running = true;
    do {
        while (http_step(connection)) continue;
        connection->clock_ns = 0; /* writing takes time */
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
        http_exchange_end(connection, true);
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

static void resume(struct held *held) {
    struct http_connection *connection =
        (struct http_connection *)((char *)held - offsetof(struct http_connection, held));
    read_or_not(connection);
    http_deadline_set(connection);
    stream_read_now(connection->stream);
}

static bool on_come(struct stream *stream) {
    struct http_connection *connection = stream->owner;
    if (connection->state != HTTP_STATE_IDLE || hold_admit(&connection->held, stream_descriptor(stream), resume))
        return true;
    http_loop_deadline(connection, 0); /* it is not idle: neither late nor to be parked */
    return false;
}

static void on_turn(struct http_connection *connection) {
    connection->turn_requests = 0;
    advance(connection);
}

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
    http_enter(connection, HTTP_STATE_CLOSED);
    if (connection->exchange) {
        http_fail_request(connection->exchange, UV_ECONNRESET);
        http_exchange_end(connection, false);
    }
    connection_free(connection);
}

static const struct stream_hooks stream_hooks = {
    .on_come = on_come,
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
        http_fail_request(exchange, UV_ETIMEDOUT);
        break;
    case HTTP_STATE_BODY:
        http_fail_request(exchange, UV_ETIMEDOUT);
        connection->running = true;
        http_refuse(connection, 408);
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
    int err = http_loop_open(stream->uv.handle.loop, on_turn, on_expired);
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
    uv_update_time(stream->uv.handle.loop); /* its time begins now, however long this turn has taken so far */
    http_enter(connection, HTTP_STATE_IDLE);
    read_or_not(connection);
    http_deadline_set(connection);
    return 0;
}

struct stream *http_connection_release(struct http_connection *connection, const char **rest, size_t *rest_len) {
    struct stream *stream = connection->stream;
    if (!connection->running || connection->state == HTTP_STATE_CLOSED) return NULL;
    http_connection_flush(connection); /* answers to requests in front of this one */
    if (connection->error || !stream_publish(stream, LOAN_HELD)) return NULL;
    stream->claim = LOAN_HELD;
    stream_own(stream, NULL, NULL);
    http_enter(connection, HTTP_STATE_CLOSED);
    connection->released = true;
    connection->exchange->response = HTTP_RESPONSE_ENDED;
    connection->exchange->refusal = 101;
    *rest = connection->in;
    *rest_len = connection->in_len;
    return stream;
}
