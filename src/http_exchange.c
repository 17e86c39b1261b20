/* WORKER. The pool of exchanges: last in, first out, so that requests answered within their read share one. */
#include "http_exchange.h"

#include <stdlib.h>

#include "log.h"

enum { POOL_KEPT = 64, FIELDS_AT_FIRST = 32, BUFFER_KEPT_BYTES = 4096 };

static struct http_exchange *pool;
static unsigned pooled;

struct http_exchange *http_exchange_take(struct http_connection *connection, const struct http_config *config) {
    struct http_exchange *exchange = pool;
    if (exchange) {
        pool = exchange->next;
        pooled--;
    } else {
        exchange = calloc(1, sizeof *exchange);
        if (exchange) exchange->head.fields = malloc(FIELDS_AT_FIRST * sizeof *exchange->head.fields);
        if (!exchange || !exchange->head.fields) {
            log_write(CLUA_LOG_ERROR, "cannot read a request: out of memory");
            abort();
        }
        exchange->head.cap = FIELDS_AT_FIRST;
    }
    exchange->connection = connection;
    exchange->config = config;
    exchange->body_limit = config->max_body_bytes;
    exchange->status = 200;
    exchange->keep_alive = true;
    return exchange;
}

static void recycle(struct buffer *buffer) {
    if (buffer->cap > BUFFER_KEPT_BYTES) buffer_free(buffer);
    buffer->len = 0;
}

void http_exchange_release(struct http_exchange *exchange) {
    struct http_exchange keep = {
        .head = {.fields = exchange->head.fields, .cap = exchange->head.cap},
        .head_copy = exchange->head_copy,
        .body = exchange->body,
        .trailers = exchange->trailers,
        .lines = exchange->lines,
        .reason = exchange->reason,
        .trailer_lines = exchange->trailer_lines,
    };
    if (pooled >= POOL_KEPT) {
        free(keep.head.fields);
        buffer_free(&keep.head_copy);
        buffer_free(&keep.body);
        buffer_free(&keep.trailers);
        buffer_free(&keep.lines);
        buffer_free(&keep.reason);
        buffer_free(&keep.trailer_lines);
        free(exchange);
        return;
    }
    recycle(&keep.head_copy);
    recycle(&keep.body);
    recycle(&keep.trailers);
    recycle(&keep.lines);
    recycle(&keep.reason);
    recycle(&keep.trailer_lines);
    *exchange = keep;
    exchange->next = pool;
    pool = exchange;
    pooled++;
}
