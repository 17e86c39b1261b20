/* WORKER. See http_access.h. What the log does not take is kept up to WAITING_BYTES, then counted as lost. */
#include "http_access.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <uv.h>

#include "http_access_format.h"
#include "http_connection.h"
#include "http_head.h"
#include "http_response.h"
#include "log.h"
#include "log_file.h"

enum { BATCH_BYTES = 64 * 1024, WAITING_BYTES = 1024 * 1024, GONE_STATUS = 499, COMPLAIN_S = 60 };

bool http_access_is_on;

static struct {
    int fd;
    struct http_access_format format;
    char worker_id[16], pid[16], name[256];
    struct buffer lines;
    unsigned long lost;
    int64_t complained_s;
    bool torn, waits;
} access_log = {.fd = -1};

/* ---- writing -------------------------------------------------------------------------------------------------- */

static void lose(size_t from, int err) {
    struct buffer *lines = &access_log.lines;
    for (size_t i = from; i < lines->len; i++) access_log.lost += lines->data[i] == '\n';
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (access_log.complained_s && now.tv_sec - access_log.complained_s < COMPLAIN_S) return;
    access_log.complained_s = now.tv_sec;
    log_write(CLUA_LOG_ERROR, "cannot write to the access log: %s: %lu lines are lost", uv_strerror(err),
              access_log.lost);
    access_log.lost = 0;
}

bool http_access_flush(void) {
    struct buffer *lines = &access_log.lines;
    size_t done;
    if (lines->len == 0) return true;
    if (access_log.torn && log_file_write(access_log.fd, "\n", 1, &done) == 0) access_log.torn = false;
    int err = log_file_write(access_log.fd, lines->data, lines->len, &done);
    access_log.waits = err == UV_EAGAIN && lines->len - done <= WAITING_BYTES;
    if (access_log.waits) {
        buffer_consume(lines, done);
        return false;
    }
    if (err < 0) {
        access_log.torn = access_log.torn || (done > 0 && lines->data[done - 1] != '\n');
        lose(done, err);
    }
    lines->len = 0;
    if (lines->cap > 2 * BATCH_BYTES) buffer_free(lines);
    return true;
}

/* The end of the process, by whatever way it comes. */
static void flush_at_exit(void) {
    http_access_flush();
}

int http_access_open(int fd, const char *format, bool json, uint32_t worker_id, const char *name) {
    char why[128];
    int err = http_access_compile(&access_log.format, format, json, why, sizeof why);
    if (err < 0) return err;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    access_log.fd = fd;
    snprintf(access_log.worker_id, sizeof access_log.worker_id, "%u", worker_id);
    snprintf(access_log.pid, sizeof access_log.pid, "%d", (int)getpid());
    snprintf(access_log.name, sizeof access_log.name, "%s", name);
    http_access_is_on = true;
    atexit(flush_at_exit);
    return 0;
}

void http_access_reopen(int fd) {
    if (!http_access_is_on) {
        close(fd);
        return;
    }
    if (!http_access_flush()) lose(0, UV_EAGAIN);
    access_log.lines.len = 0;
    access_log.torn = false;
    dup3(fd, access_log.fd, O_CLOEXEC);
    close(fd);
}

/* ---- values --------------------------------------------------------------------------------------------------- */

struct span {
    const char *at;
    size_t len;
};

static struct span span_of(const char *text) {
    return (struct span){text, strlen(text)};
}

/* Who the client is, asked for once a connection: "address port". */
static const char *peer_of(struct http_connection *connection) {
    char host[STREAM_HOST_BYTES], both[STREAM_HOST_BYTES + 8];
    uint16_t port;
    if (connection->peer) return connection->peer;
    if (stream_address(connection->stream, true, host, &port) < 0) return " ";
    if (port > 0) {
        snprintf(both, sizeof both, "%s %u", host, (unsigned)port);
    } else {
        snprintf(both, sizeof both, "%s: ", host);
    }
    connection->peer = strdup(both);
    return connection->peer ? connection->peer : " ";
}

/* The request line as it was sent: of a request that was refused, what has come of it. */
static struct span line_of(const struct http_connection *connection, const struct http_exchange *exchange) {
    const char *base = exchange->head.base;
    size_t len = connection->state == HTTP_STATE_HEAD ? connection->in_len : exchange->head.len, n = 0;
    if (len > HTTP_ACCESS_VALUE_BYTES) len = HTTP_ACCESS_VALUE_BYTES;
    while (n < len && base[n] != '\n') n++;
    if (n > 0 && base[n - 1] == '\r') n--;
    return (struct span){base, n};
}

/* Method, target and protocol are what the first and the last space separate. */
static struct span part_of_line(struct span line, enum http_access_variable which) {
    const char *first = memchr(line.at, ' ', line.len), *last = first ? memrchr(line.at, ' ', line.len) : NULL;
    const char *end = line.at + line.len;
    if (!first) return which == HTTP_ACCESS_REQUEST_METHOD ? line : span_of("");
    if (which == HTTP_ACCESS_REQUEST_METHOD) return (struct span){line.at, (size_t)(first - line.at)};
    bool has_protocol = last > first && end - last > 5 && memcmp(last + 1, "HTTP/", 5) == 0;
    if (which == HTTP_ACCESS_SERVER_PROTOCOL)
        return has_protocol ? (struct span){last + 1, (size_t)(end - last - 1)} : span_of("");
    return (struct span){first + 1, (size_t)((has_protocol ? last : end) - first - 1)};
}

static struct span field_of(const struct http_exchange *exchange, const char *name, size_t len) {
    const struct http_field *field = http_head_find(&exchange->head, name, len);
    return field ? (struct span){exchange->head.base + field->value, field->value_len} : span_of("");
}

static struct span sent_field_of(const struct http_exchange *exchange, const char *name, size_t len) {
    struct span value = {"", 0};
    http_response_get_header(exchange, name, len, 0, &value.at, &value.len);
    return value;
}

/* Times are of the end of the request. */
static struct span time_of(enum http_access_variable which, const struct timespec *now) {
    static time_t formatted;
    static char local[40], iso[40], text[48];
    if (now->tv_sec != formatted) {
        struct tm tm;
        formatted = now->tv_sec;
        localtime_r(&now->tv_sec, &tm);
        strftime(local, sizeof local, "%d/%b/%Y:%H:%M:%S %z", &tm);
        gmtime_r(&now->tv_sec, &tm);
        strftime(iso, sizeof iso, "%Y-%m-%dT%H:%M:%S", &tm);
    }
    if (which == HTTP_ACCESS_TIME_LOCAL) return span_of(local);
    int ms = (int)(now->tv_nsec / 1000000);
    if (which == HTTP_ACCESS_MSEC) {
        snprintf(text, sizeof text, "%lld.%03d", (long long)now->tv_sec, ms);
    } else {
        snprintf(text, sizeof text, "%s.%03dZ", iso, ms);
    }
    return span_of(text);
}

static struct span number(unsigned long long n) {
    static char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    return (struct span){digits + at, sizeof digits - at};
}

static struct span request_time(const struct http_exchange *exchange) {
    static char text[32];
    uint64_t us = (uv_hrtime() - exchange->came_ns) / 1000;
    int len = snprintf(text, sizeof text, "%llu.%06u", (unsigned long long)(us / 1000000), (unsigned)(us % 1000000));
    return (struct span){text, (size_t)len};
}

/* ---- lines ---------------------------------------------------------------------------------------------------- */

static unsigned status_of(const struct http_exchange *exchange) {
    if (exchange->response == HTTP_RESPONSE_OPEN) return GONE_STATUS;
    return exchange->refusal == 101 ? 101
                                    : exchange->status; /* the script has the connection, and has said so itself */
}

static bool is_complete(const struct http_connection *connection) {
    const struct http_exchange *exchange = connection->exchange;
    return exchange->response == HTTP_RESPONSE_ENDED && exchange->file_left == 0 && !connection->error;
}

static struct span value_of(struct http_connection *connection, const struct http_access_part *part,
                            const struct timespec *now) {
    const struct http_exchange *exchange = connection->exchange;
    const char *name = access_log.format.text + part->at, *peer;
    switch ((enum http_access_variable)part->variable) {
    case HTTP_ACCESS_REMOTE_ADDR:
        peer = peer_of(connection);
        return (struct span){peer, strcspn(peer, " ")};
    case HTTP_ACCESS_REMOTE_PORT:
        return span_of(strchr(peer_of(connection), ' ') + 1);
    case HTTP_ACCESS_REQUEST:
        return line_of(connection, exchange);
    case HTTP_ACCESS_REQUEST_METHOD:
    case HTTP_ACCESS_REQUEST_URI:
    case HTTP_ACCESS_SERVER_PROTOCOL:
        return part_of_line(line_of(connection, exchange), (enum http_access_variable)part->variable);
    case HTTP_ACCESS_REQUEST_TIME:
        return request_time(exchange);
    case HTTP_ACCESS_REQUEST_COMPLETION:
        return span_of(is_complete(connection) ? "OK" : "");
    case HTTP_ACCESS_STATUS:
        return number(status_of(exchange));
    case HTTP_ACCESS_BODY_BYTES_SENT:
        return number(exchange->written - exchange->file_left);
    case HTTP_ACCESS_TIME_LOCAL:
    case HTTP_ACCESS_TIME_ISO8601:
    case HTTP_ACCESS_MSEC:
        return time_of((enum http_access_variable)part->variable, now);
    case HTTP_ACCESS_HOST:
        return field_of(exchange, "host", 4);
    case HTTP_ACCESS_HTTP:
        return field_of(exchange, name, part->len);
    case HTTP_ACCESS_SENT_HTTP:
        return sent_field_of(exchange, name, part->len);
    case HTTP_ACCESS_SERVER_PORT:
        return connection->stream->port ? number(connection->stream->port) : span_of("");
    case HTTP_ACCESS_WORKER_ID:
        return span_of(access_log.worker_id);
    case HTTP_ACCESS_PID:
        return span_of(access_log.pid);
    case HTTP_ACCESS_NAME:
        return span_of(access_log.name);
    case HTTP_ACCESS_TEXT:
    case HTTP_ACCESS_VARIABLE_COUNT:
        break;
    }
    return (struct span){name, part->len};
}

void http_access_begin(struct http_connection *connection) {
    connection->exchange->came_ns = uv_hrtime();
    peer_of(connection); /* while it is there */
}

void http_access_end(struct http_connection *connection, bool handled) {
    const struct http_access_format *format = &access_log.format;
    struct buffer *lines = &access_log.lines;
    struct timespec now;
    if (!handled && connection->exchange->response == HTTP_RESPONSE_OPEN) return; /* hung up before the end of a head */
    if (lines->len > WAITING_BYTES) {
        lose(0, UV_EAGAIN);
        lines->len = 0;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    for (uint32_t i = 0; i < format->count; i++) {
        const struct http_access_part *part = &format->parts[i];
        struct span value = value_of(connection, part, &now);
        if (part->variable == HTTP_ACCESS_TEXT) {
            buffer_append(lines, value.at, value.len);
        } else {
            http_access_put(lines, value.at, value.len, format->json);
        }
    }
    buffer_append(lines, "\n", 1);
    if (lines->len >= BATCH_BYTES && !access_log.waits) http_access_flush();
}
