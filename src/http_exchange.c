/* WORKER. The pool of exchanges: last in, first out, so that requests answered within their read share one. */
#include "http_exchange.h"

#include <stdlib.h>
#include <string.h>

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
        if (exchange) exchange->fields = malloc(FIELDS_AT_FIRST * sizeof *exchange->fields);
        if (!exchange || !exchange->fields) {
            log_write(CLUA_LOG_ERROR, "cannot read a request: out of memory");
            abort();
        }
        exchange->fields_cap = FIELDS_AT_FIRST;
    }
    exchange->head.fields = exchange->fields;
    exchange->connection = connection;
    exchange->config = config;
    exchange->body_limit = config->max_body_bytes;
    exchange->status = 200;
    exchange->keep_alive = true;
    return exchange;
}

void http_exchange_room(struct http_exchange *exchange, uint32_t count) {
    uint32_t cap = exchange->fields_cap;
    if (count <= cap) return;
    while (cap < count) cap *= 2;
    struct http_field *fields = realloc(exchange->fields, cap * sizeof *fields);
    if (!fields) {
        log_write(CLUA_LOG_ERROR, "cannot read a request with %u headers: out of memory", count);
        abort();
    }
    exchange->fields = exchange->head.fields = fields;
    exchange->fields_cap = cap;
}

static void recycle(struct buffer *buffer) {
    if (buffer->cap > BUFFER_KEPT_BYTES) buffer_free(buffer);
    buffer->len = 0;
}

static void exchange_free(struct http_exchange *exchange) {
    free(exchange->fields);
    buffer_free(&exchange->head_copy);
    buffer_free(&exchange->body);
    buffer_free(&exchange->trailers);
    buffer_free(&exchange->lines);
    buffer_free(&exchange->reason);
    buffer_free(&exchange->trailer_lines);
    free(exchange);
}

void http_exchange_release(struct http_exchange *exchange) {
    if (pooled >= POOL_KEPT) {
        exchange_free(exchange);
        return;
    }
    memset(exchange, 0, offsetof(struct http_exchange, fields));
    recycle(&exchange->head_copy);
    recycle(&exchange->body);
    recycle(&exchange->trailers);
    recycle(&exchange->lines);
    recycle(&exchange->reason);
    recycle(&exchange->trailer_lines);
    exchange->next = pool;
    pool = exchange;
    pooled++;
}
