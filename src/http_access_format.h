/* BOTH. The format of access lines: text with $variables, as nginx has them. Compiled by the master to check it, by the
 * worker to use it. Pure. */
#ifndef CLUA_HTTP_ACCESS_FORMAT_H
#define CLUA_HTTP_ACCESS_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

enum { HTTP_ACCESS_FORMAT_BYTES = 1024, HTTP_ACCESS_PARTS_MAX = 64, HTTP_ACCESS_VALUE_BYTES = 8192 };

#define HTTP_ACCESS_VARIABLES(X)                                                                                       \
    X(BODY_BYTES_SENT, "body_bytes_sent")                                                                              \
    X(HOST, "host")                                                                                                    \
    X(MSEC, "msec")                                                                                                    \
    X(NAME, "name")                                                                                                    \
    X(PID, "pid")                                                                                                      \
    X(REMOTE_ADDR, "remote_addr")                                                                                      \
    X(REMOTE_PORT, "remote_port")                                                                                      \
    X(REQUEST, "request")                                                                                              \
    X(REQUEST_COMPLETION, "request_completion")                                                                        \
    X(REQUEST_METHOD, "request_method")                                                                                \
    X(REQUEST_TIME, "request_time")                                                                                    \
    X(REQUEST_URI, "request_uri")                                                                                      \
    X(SERVER_PORT, "server_port")                                                                                      \
    X(SERVER_PROTOCOL, "server_protocol")                                                                              \
    X(STATUS, "status")                                                                                                \
    X(TIME_ISO8601, "time_iso8601")                                                                                    \
    X(TIME_LOCAL, "time_local")                                                                                        \
    X(WORKER_ID, "worker_id")                                                                                          \
    X(HTTP, "http_")           /* with the name of a field of the request behind it */                                 \
    X(SENT_HTTP, "sent_http_") /* of the answer, as the handler has set it */

enum http_access_variable {
    HTTP_ACCESS_TEXT,
#define X(name, text) HTTP_ACCESS_##name,
    HTTP_ACCESS_VARIABLES(X)
#undef X
        HTTP_ACCESS_VARIABLE_COUNT
};

struct http_access_part {
    uint16_t variable; /* enum http_access_variable */
    uint16_t at, len;  /* in `text`: of TEXT, and the name of a field */
};

struct http_access_format {
    char text[HTTP_ACCESS_FORMAT_BYTES];
    struct http_access_part parts[HTTP_ACCESS_PARTS_MAX];
    uint32_t count;
    bool json; /* values are escaped as in JSON strings */
};

/* 0; or UV_EINVAL with the reason in why, which for an unknown variable is its name with the $ in front. */
int http_access_compile(struct http_access_format *out, const char *format, bool json, char *why, size_t size);

/* The n-th variable's name, or NULL. */
const char *http_access_variable_name(unsigned n);

/* Appends a value so that no client can end a line, a quoted value or a JSON string: control bytes, quotes, backslashes
 * and bytes above 126 as \xHH; in JSON as JSON wants it, bytes that are no UTF-8 as \u00HH. An empty value is "-", in
 * JSON nothing. */
void http_access_put(struct buffer *line, const char *value, size_t len, bool json);

#endif
