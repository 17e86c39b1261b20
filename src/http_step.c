/* WORKER. See http_step.h. */
#include "http_step.h"

#include <assert.h>

#include "blame.h"
#include "hold.h"
#include "http_access.h"
#include "http_file.h"
#include "http_loop.h"
#include "http_parser.h"
#include "http_response.h"
#include "quarantine.h"
#include "worker_figures.h"

static uint64_t now_ms(const struct http_connection *connection) {
    return stream_now_ms(connection->stream);
}

void http_enter(struct http_connection *connection, enum http_state state) {
    connection->state = state;
    connection->state_since_ms = now_ms(connection);
    connection->progress_ms = connection->state_since_ms;
}

static void input_consume(struct http_connection *connection, size_t n) {
    if (n == 0) return; /* there may be no buffer */
    connection->in += n;
    connection->in_len -= n;
}

/* ---- the exchange --------------------------------------------------------------------------------------------- */

void http_exchange_end(struct http_connection *connection, bool complete) {
    struct http_exchange *exchange = connection->exchange;
    if (!exchange) return;
    bool handled = exchange->owner.counted;
    if (handled) {
        connection->hooks->on_ended(exchange, complete);
        exchange->owner.counted = false;
        blame_end(exchange->blame);
        worker_request_end();
        connection->clock_ns = uv_hrtime();
        uint64_t took_ns = connection->clock_ns - exchange->begun_ns;
        worker_request_took(took_ns);
        if (exchange->line_name != 0 || took_ns >= hold.slow_after_ns)
            hold_ended(exchange->line_name, exchange->head.base, http_head_line_len(&exchange->head),
                       exchange->begun_ns, took_ns);
    }
    if (exchange->response == HTTP_RESPONSE_ENDED) worker_answered(exchange->refusal == 101 ? 101 : exchange->status);
    if (http_access_is_on) http_access_end(connection, handled);
    connection->exchange = NULL;
    connection->gone_told = false;
    http_exchange_release(exchange);
}

void http_refuse(struct http_connection *connection, unsigned status) {
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
    http_exchange_end(connection, false);
    http_enter(connection, HTTP_STATE_FLUSHING);
}

void http_fail_request(struct http_exchange *exchange, int failure) {
    if (exchange->request == HTTP_REQUEST_COMPLETE) return;
    exchange->request = HTTP_REQUEST_FAILED;
    exchange->failure = failure;
    exchange->keep_alive = false;
}

/* The stream is broken, the client too slow, or the answer cannot be completed: nothing more can be said. The answers
 * before it are complete, and still owed. */
static void abandon(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    http_enter(connection, HTTP_STATE_CLOSED);
    if (exchange) {
        if (!exchange->bytes_sent && exchange->response != HTTP_RESPONSE_OPEN && connection->out)
            connection->out->len = exchange->out_mark;
        http_fail_request(exchange, connection->error == UV_ETIMEDOUT ? UV_ETIMEDOUT : UV_ECONNRESET);
        if (exchange->owner.counted) {
            connection->hooks->on_readable(exchange);
            connection->hooks->on_writable(exchange);
        }
        http_exchange_end(connection, exchange->response == HTTP_RESPONSE_ENDED && exchange->bytes_sent);
    }
    connection->error = 0; /* who can still write, writes */
    http_connection_flush(connection);
    stream_close(connection->stream);
}

/* The line has killed workers: the reply that its client would get after another death, without the death. */
static bool is_quarantined(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    size_t len;
    const char *reply =
        quarantine_reply(exchange->head.base, http_head_line_len(&exchange->head), now_ms(connection), &len);
    if (!reply) return false;
    http_connection_send(connection, reply, len);
    connection->unread = true;
    http_exchange_end(connection, false);
    http_enter(connection, HTTP_STATE_FLUSHING);
    return true;
}

static void call_handler(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    exchange->owner.counted = true;
    exchange->line_name = hold_knows() ? hold_begins(exchange->head.base, http_head_line_len(&exchange->head)) : 0;
    /* Of requests that were read together, one begins when the one before it has ended: one clock reading for both. */
    exchange->begun_ns = connection->clock_ns ? connection->clock_ns : uv_hrtime();
    exchange->blame = blame_begin(exchange->head.base, http_head_line_len(&exchange->head), exchange->head.len);
    if (connection->turn_requests == 1) connection->turn_began_ns = exchange->begun_ns;
    connection->served = true;
    worker_request_begin();
    uint32_t before = blame_switch(exchange->blame);
    if (exchange->upgrade) {
        connection->hooks->on_upgrade(exchange);
    } else {
        connection->hooks->on_request(exchange);
    }
    blame_switch(before);
}

static bool handle_request(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    if (quarantine_count > 0 && is_quarantined(connection)) return true;
    http_enter(connection, exchange->request == HTTP_REQUEST_COMPLETE ? HTTP_STATE_WAITING : HTTP_STATE_BODY);
    if (exchange->request == HTTP_REQUEST_BODY) {
        uint64_t declared = exchange->chunked ? UINT64_MAX : exchange->parser.content_length;
        if (declared > exchange->body_limit) exchange->body_limit = connection->hooks->on_body_limit(exchange);
        if (!exchange->chunked && declared > exchange->body_limit) {
            http_fail_request(exchange, UV_E2BIG);
            http_refuse(connection, 413);
            return true;
        }
        if (connection->in_len > 0) {
            size_t eaten;
            http_parser_body(exchange, connection->in, connection->in_len, &eaten);
            input_consume(connection, eaten);
            if (eaten > 0) exchange->expects_continue = false; /* it did not wait */
        }
        if (exchange->request == HTTP_REQUEST_FAILED) {
            http_refuse(connection, exchange->refusal);
            return true;
        }
        if (exchange->request == HTTP_REQUEST_COMPLETE) http_enter(connection, HTTP_STATE_WAITING);
    }
    call_handler(connection);
    return true;
}

/* ---- steps ---------------------------------------------------------------------------------------------------- */

/* Requests that have come together are served together, but not without end: others wait for this loop too. */
static bool has_had_its_turn(const struct http_connection *connection) {
    return connection->turn_requests >= HTTP_TURN_REQUESTS ||
           (connection->turn_requests > 0 && connection->clock_ns > connection->turn_began_ns + HTTP_TURN_NS);
}

static bool step_idle(struct http_connection *connection) {
    if (connection->stream->queued_bytes >= HTTP_HIGH_WATER_BYTES) return false; /* it does not read its answers */
    /* RFC 9112 §2.2: empty lines in front of a request line are ignored. */
    while (connection->in_len >= 2 && connection->in[0] == '\r' && connection->in[1] == '\n')
        input_consume(connection, 2);
    if (connection->in_len == 0 || (connection->in_len == 1 && connection->in[0] == '\r')) {
        connection->turn_requests = 0;
        if (!connection->ended) return false;
        http_enter(connection, HTTP_STATE_FLUSHING);
        return true;
    }
    if (has_had_its_turn(connection)) {
        http_loop_settle(connection);
        return false;
    }
    connection->turn_requests++;
    connection->exchange = http_exchange_take(connection, connection->config);
    connection->exchange->head.base = connection->in;
    if (http_access_is_on) http_access_begin(connection);
    http_enter(connection, HTTP_STATE_HEAD);
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
        http_refuse(connection, 400);
        return true;
    case HTTP_REQUEST_FAILED:
        http_refuse(connection, exchange->refusal);
        return true;
    case HTTP_REQUEST_BODY:
    case HTTP_REQUEST_COMPLETE:
        input_consume(connection, exchange->head.len);
        return handle_request(connection);
    }
    return false;
}

static bool step_body(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    assert(exchange);
    if (exchange->response == HTTP_RESPONSE_ENDED) {
        if (!exchange->keep_alive || exchange->expects_continue) {
            connection->unread = true;
            http_exchange_end(connection, true);
            http_enter(connection, HTTP_STATE_FLUSHING);
            return true;
        }
        connection->dropped_bytes = 0;
        http_enter(connection, HTTP_STATE_SKIPPING);
        return true;
    }
    if (connection->in_len > 0 && http_connection_wants_body(exchange)) {
        size_t eaten;
        http_parser_body(exchange, connection->in, connection->in_len, &eaten);
        input_consume(connection, eaten);
        if (eaten > 0) exchange->expects_continue = false;
        connection->progress_ms = now_ms(connection);
        if (exchange->request == HTTP_REQUEST_FAILED) {
            http_refuse(connection, exchange->refusal);
            return true;
        }
        if (exchange->request == HTTP_REQUEST_COMPLETE) http_enter(connection, HTTP_STATE_WAITING);
        connection->hooks->on_readable(exchange);
        return true;
    }
    if (connection->in_len == 0 && connection->ended) { /* RFC 9112 §8: an incomplete request */
        http_fail_request(exchange, UV_ECONNRESET);
        http_refuse(connection, 400);
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
    http_exchange_end(connection, true);
    if (!goes_on) connection->unread = connection->in_len > 0;
    http_enter(connection, goes_on ? HTTP_STATE_IDLE : HTTP_STATE_FLUSHING);
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
        http_exchange_end(connection, true);
        http_enter(connection, HTTP_STATE_IDLE);
    } else if (exchange->request == HTTP_REQUEST_FAILED || connection->dropped_bytes > HTTP_SKIP_BYTES ||
               connection->ended) {
        connection->unread = true;
        http_exchange_end(connection, true);
        http_enter(connection, HTTP_STATE_FLUSHING);
    }
    return true;
}

static bool step_flushing(struct http_connection *connection) {
    input_consume(connection, connection->in_len);
    connection->stream->more_follows = true; /* FIN, in the packet of the last bytes */
    http_connection_flush(connection);
    connection->stream->more_follows = false;
    if (connection->error) return true;
    if (connection->stream->queued_bytes > 0) return false;
    if (!connection->unread || connection->ended || stream_shutdown(connection->stream) < 0) {
        http_enter(connection, HTTP_STATE_CLOSED);
        stream_close(connection->stream);
    } else {
        http_enter(connection, HTTP_STATE_LINGERING);
    }
    return true;
}

bool http_step(struct http_connection *connection) {
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
        http_enter(connection, HTTP_STATE_CLOSED);
        stream_close(connection->stream);
        return false;
    case HTTP_STATE_CLOSED:
        return false;
    }
    return false;
}
