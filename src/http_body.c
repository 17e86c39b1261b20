/* WORKER. What the hooks' side does to an exchange, beside answering it (http_response.c): takes its body, gives up. */
#include "http_connection.h"
#include "http_response.h"

bool http_connection_wants_body(const struct http_exchange *exchange) {
    return exchange->collecting || http_exchange_body_ready(exchange) < HTTP_HIGH_WATER_BYTES;
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
