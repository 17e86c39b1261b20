/* WORKER. See http_deadline.h. What happens when a deadline passes is in http_connection.c. */
#include "http_deadline.h"

#include "http_loop.h"
#include "worker_state.h"

uint64_t http_deadline_idle_limit_ms(const struct http_connection *connection) {
    const struct http_config *config = connection->config;
    return connection->served ? config->keep_alive_timeout_ms : config->head_timeout_ms;
}

static uint64_t idle_deadline(const struct http_connection *connection) {
    uint64_t keep = http_deadline_idle_limit_ms(connection), deadline = 0;
    if (keep) deadline = connection->state_since_ms + keep;
    if (connection->in_len == 0 && http_connection_can_be_parked(connection)) {
        uint64_t park = connection->state_since_ms + worker_linger_ms();
        if (!deadline || park < deadline) deadline = park;
    }
    return deadline;
}

void http_deadline_set(struct http_connection *connection) {
    const struct http_config *config = connection->config;
    uint64_t deadline = 0;
    if (connection->stream->queued_bytes > 0) {
        connection->queued_before = uv_stream_get_write_queue_size(&connection->stream->uv.stream);
        if (config->write_timeout_ms) deadline = connection->progress_ms + config->write_timeout_ms;
        http_loop_deadline(connection, deadline);
        return;
    }
    switch (connection->state) {
    case HTTP_STATE_IDLE:
        deadline = idle_deadline(connection);
        break;
    case HTTP_STATE_HEAD:
        if (config->head_timeout_ms) deadline = connection->state_since_ms + config->head_timeout_ms;
        break;
    case HTTP_STATE_BODY: /* the handler may take its time, the client may not */
        if (!http_connection_wants_body(connection->exchange) || connection->exchange->expects_continue) break;
        if (config->body_timeout_ms) deadline = connection->progress_ms + config->body_timeout_ms;
        break;
    case HTTP_STATE_SKIPPING:
    case HTTP_STATE_LINGERING:
        deadline = connection->state_since_ms + HTTP_LINGER_MS;
        break;
    case HTTP_STATE_WAITING:
    case HTTP_STATE_FLUSHING:
    case HTTP_STATE_CLOSED:
        break;
    }
    http_loop_deadline(connection, deadline);
}
