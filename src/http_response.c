/* WORKER. See http_response.h. The answer that most handlers give (status 200, no header set, one body) has its own
 * short way through begin(): one copy of a prepared block, the digits of the length, the body. */
#include "http_response.h"

#include <llhttp.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "hex.h"
#include "http_connection.h"
#include "http_date.h"
#include "http_file.h"
#include "http_head.h"
#include "http_reason.h"

/* Fields that the framing depends on; which of them the handler has set. */
enum http_response_header { HAS_DATE = 1, HAS_LENGTH = 2, HAS_CONNECTION = 4, HAS_ENCODING = 8 };

enum { STATUS_BYTES = 64, FRAMING_BYTES = 128 };

/* ---- checks --------------------------------------------------------------------------------------------------- */

static int misuse(const char **why, const char *text) {
    *why = text;
    return UV_EINVAL;
}

bool http_header_is_valid(const char *name, size_t name_len, const char *value, size_t value_len, const char **why) {
    if (!http_is_token(name, name_len)) {
        *why = "header name must be a token: letters, digits and !#$%&'*+-.^_`|~";
    } else if (!http_is_text(value, value_len)) {
        *why = "header value must not contain CR, LF, NUL or another control character";
    } else {
        return true;
    }
    return false;
}

static bool is(const char *name, size_t len, const char *lower) {
    return strlen(lower) == len && http_same(name, lower, len);
}

static unsigned flag_of(const char *name, size_t len) {
    switch (len) {
    case 4:
        return is(name, len, "date") ? HAS_DATE : 0;
    case 10:
        return is(name, len, "connection") ? HAS_CONNECTION : 0;
    case 14:
        return is(name, len, "content-length") ? HAS_LENGTH : 0;
    case 17:
        return is(name, len, "transfer-encoding") ? HAS_ENCODING : 0;
    default:
        return 0;
    }
}

bool http_header_frames(const char *name, size_t len) {
    return (flag_of(name, len) & (HAS_LENGTH | HAS_ENCODING)) != 0;
}

static bool parse_length(const char *value, size_t len, uint64_t *out) {
    uint64_t n = 0;
    if (len == 0 || len > 18) return false;
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9') return false;
        n = n * 10 + (uint64_t)(value[i] - '0');
    }
    *out = n;
    return true;
}

static bool has_no_body(const struct http_exchange *exchange) {
    return exchange->status == 204 || exchange->status == 304 || exchange->status == 205 ||
           exchange->parser.method == HTTP_HEAD;
}

static int check_open(const struct http_exchange *exchange, const char **why) {
    if (exchange->response == HTTP_RESPONSE_ENDED) return UV_EALREADY;
    if (exchange->response != HTTP_RESPONSE_OPEN) return misuse(why, "the head of the response has been sent already");
    return 0;
}

/* ---- header lines --------------------------------------------------------------------------------------------- */

int http_response_set_status(struct http_exchange *exchange, long status, const char *reason, size_t reason_len,
                             const char **why) {
    int err = check_open(exchange, why);
    if (err < 0) return err;
    if (status < 200 || status > 599) return misuse(why, "status must be a number from 200 to 599");
    if (reason && !http_is_text(reason, reason_len))
        return misuse(why, "reason must not contain CR, LF, NUL or another control character");
    exchange->status = (uint16_t)status;
    exchange->reason.len = 0;
    if (reason) buffer_append(&exchange->reason, reason, reason_len);
    return 0;
}

/* One line of `lines` from *at on: name and value; *at moves behind it. */
static bool next_line(const struct buffer *lines, size_t *at, const char **name, size_t *name_len, const char **value,
                      size_t *value_len) {
    if (*at >= lines->len) return false;
    const char *line = lines->data + *at;
    const char *end = memchr(line, '\r', lines->len - *at), *colon = memchr(line, ':', (size_t)(end - line));
    *name = line;
    *name_len = (size_t)(colon - line);
    *value = colon + 2;
    *value_len = (size_t)(end - *value);
    *at += (size_t)(end - line) + 2;
    return true;
}

static void remove_lines(struct http_exchange *exchange, const char *wanted, size_t wanted_len) {
    struct buffer *lines = &exchange->lines;
    const char *name, *value;
    size_t at = 0, start = 0, name_len, value_len;
    while (next_line(lines, &at, &name, &name_len, &value, &value_len)) {
        bool same = name_len == wanted_len && strncasecmp(name, wanted, name_len) == 0;
        if (same) {
            memmove(lines->data + start, lines->data + at, lines->len - at);
            lines->len -= at - start;
            at = start;
        }
        start = at;
    }
    unsigned flag = flag_of(wanted, wanted_len);
    exchange->header_flags &= (uint8_t)~flag;
    if (flag == HAS_LENGTH) exchange->length_known = false;
}

int http_response_remove_header(struct http_exchange *exchange, const char *name, size_t name_len, const char **why) {
    int err = check_open(exchange, why);
    if (err == 0) remove_lines(exchange, name, name_len);
    return err;
}

static void put_line(struct buffer *lines, const char *name, size_t name_len, const char *value, size_t value_len) {
    char *p = buffer_room(lines, name_len + value_len + 4);
    memcpy(p, name, name_len);
    p += name_len;
    *p++ = ':';
    *p++ = ' ';
    memcpy(p, value, value_len);
    p += value_len;
    *p++ = '\r';
    *p++ = '\n';
    lines->len = (size_t)(p - lines->data);
}

int http_response_set_header(struct http_exchange *exchange, const char *name, size_t name_len, const char *value,
                             size_t value_len, bool replace, const char **why) {
    int err = check_open(exchange, why);
    if (err < 0) return err;
    if (!http_header_is_valid(name, name_len, value, value_len, why)) return UV_EINVAL;
    unsigned flag = flag_of(name, name_len);
    uint64_t length = 0;
    if (flag == HAS_LENGTH && !parse_length(value, value_len, &length))
        return misuse(why, "Content-Length must be a number of bytes");
    if (flag == HAS_ENCODING && !is(value, value_len, "chunked"))
        return misuse(why, "Transfer-Encoding can be nothing but chunked");
    bool is_there = flag ? (exchange->header_flags & flag) != 0 : replace && exchange->lines.len > 0;
    if (is_there) remove_lines(exchange, name, name_len);
    if (flag == HAS_LENGTH) {
        exchange->length = length;
        exchange->length_known = true;
    }
    put_line(&exchange->lines, name, name_len, value, value_len);
    exchange->header_flags |= (uint8_t)flag;
    return 0;
}

/* In the first `within` bytes of the lines. */
static bool find_header(const struct http_exchange *exchange, const char *name, size_t name_len, size_t within,
                        unsigned n, const char **value, size_t *value_len) {
    const char *line_name;
    size_t at = 0, line_len;
    while (at < within && next_line(&exchange->lines, &at, &line_name, &line_len, value, value_len)) {
        if (line_len != name_len || strncasecmp(line_name, name, name_len) != 0) continue;
        if (n-- == 0) return true;
    }
    return false;
}

bool http_response_get_header(const struct http_exchange *exchange, const char *name, size_t name_len, unsigned n,
                              const char **value, size_t *value_len) {
    return find_header(exchange, name, name_len, exchange->lines.len, n, value, value_len);
}

bool http_response_has_header(const struct http_exchange *exchange, const char *name, size_t name_len, size_t within) {
    const char *value;
    size_t value_len;
    return find_header(exchange, name, name_len, within, 0, &value, &value_len);
}

int http_response_add_trailer(struct http_exchange *exchange, const char *name, size_t name_len, const char *value,
                              size_t value_len, const char **why) {
    if (exchange->response == HTTP_RESPONSE_ENDED) return UV_EALREADY;
    if (!http_header_is_valid(name, name_len, value, value_len, why)) return UV_EINVAL;
    if (flag_of(name, name_len)) return misuse(why, "a field that frames the message cannot be a trailer");
    put_line(&exchange->trailer_lines, name, name_len, value, value_len);
    return 0;
}

/* ---- head ----------------------------------------------------------------------------------------------------- */

static char *put(char *p, const char *bytes, size_t len) {
    memcpy(p, bytes, len);
    return p + len;
}

#define PUT(p, literal) put(p, literal, sizeof(literal) - 1)

static char *put_number(char *p, uint64_t n) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    return put(p, digits + at, sizeof digits - at);
}

static char *put_date(char *p, const struct http_exchange *exchange) {
    p = PUT(p, "Date: ");
    p = put(p, http_date(stream_now_ms(exchange->connection->stream)), HTTP_DATE_LEN);
    return PUT(p, "\r\n");
}

/* Is the handler's Content-Length, of all fields that frame the message the only one, what we would write ourselves? It
 * then goes out where it stands and as it is spelt. */
static bool length_is_theirs(const struct http_exchange *exchange) {
    return (exchange->header_flags & (HAS_LENGTH | HAS_CONNECTION | HAS_ENCODING)) == HAS_LENGTH &&
           exchange->framing_out == HTTP_FRAMING_LENGTH && exchange->status != 205;
}

/* Header lines of the handler, but for those that we write ourselves. */
static char *put_lines(char *p, const struct http_exchange *exchange) {
    const struct buffer *lines = &exchange->lines;
    unsigned ours = exchange->header_flags & (HAS_LENGTH | HAS_CONNECTION | HAS_ENCODING);
    if (!ours || length_is_theirs(exchange)) return lines->len > 0 ? put(p, lines->data, lines->len) : p;
    const char *name, *value;
    size_t at = 0, start = 0, name_len, value_len;
    while (next_line(lines, &at, &name, &name_len, &value, &value_len)) {
        unsigned flag = flag_of(name, name_len);
        bool connection_option =
            flag == HAS_CONNECTION && !is(value, value_len, "close") && !is(value, value_len, "keep-alive");
        if (!(flag & (HAS_LENGTH | HAS_CONNECTION | HAS_ENCODING)) || connection_option)
            p = put(p, lines->data + start, at - start);
        start = at;
    }
    return p;
}

static bool says_close(const struct http_exchange *exchange) {
    const char *rest, *element;
    size_t rest_len, len;
    if (!(exchange->header_flags & HAS_CONNECTION)) return false;
    for (unsigned n = 0; http_response_get_header(exchange, "connection", 10, n, &rest, &rest_len); n++)
        while (http_next_element(&rest, &rest_len, &element, &len))
            if (is(element, len, "close")) return true;
    return false;
}

static void choose_keep_alive(struct http_exchange *exchange) {
    if (says_close(exchange) || http_connection_is_last(exchange->connection)) exchange->keep_alive = false;
    if (exchange->framing_out == HTTP_FRAMING_CLOSE) exchange->keep_alive = false;
    /* A client that waits for 100 may send the body or not: the next bytes could be either (RFC 9110 §10.1.1). */
    if (exchange->request == HTTP_REQUEST_BODY && exchange->expects_continue) exchange->keep_alive = false;
}

static char *put_framing(char *p, const struct http_exchange *exchange) {
    switch (exchange->framing_out) {
    case HTTP_FRAMING_LENGTH:
        if (length_is_theirs(exchange)) break;
        p = PUT(p, "Content-Length: ");
        p = put_number(p, exchange->length);
        p = PUT(p, "\r\n");
        break;
    case HTTP_FRAMING_CHUNKED:
        p = PUT(p, "Transfer-Encoding: chunked\r\n");
        break;
    case HTTP_FRAMING_CLOSE:
    case HTTP_FRAMING_NONE:
        break;
    }
    if (!exchange->keep_alive) return PUT(p, "Connection: close\r\n");
    return http_exchange_is_http10(exchange) ? PUT(p, "Connection: keep-alive\r\n") : p;
}

static void put_head(struct http_exchange *exchange) {
    struct http_connection *connection = exchange->connection;
    const char *reason = exchange->reason.len ? exchange->reason.data : http_reason(exchange->status);
    size_t reason_len = exchange->reason.len ? exchange->reason.len : strlen(reason);
    size_t most = STATUS_BYTES + reason_len + exchange->lines.len + FRAMING_BYTES;
    exchange->out_mark = http_connection_unsent(connection);
    char *start = http_connection_room(connection, most), *p = start;
    choose_keep_alive(exchange);
    if (exchange->status == 200 && exchange->reason.len == 0) {
        p = PUT(p, "HTTP/1.1 200 OK\r\n");
    } else {
        p = PUT(p, "HTTP/1.1 ");
        p = put_number(p, exchange->status);
        *p++ = ' ';
        p = put(p, reason, reason_len);
        p = PUT(p, "\r\n");
    }
    if (!(exchange->header_flags & HAS_DATE)) p = put_date(p, exchange);
    p = put_lines(p, exchange);
    p = put_framing(p, exchange);
    p = PUT(p, "\r\n");
    http_connection_sent(connection, (size_t)(p - start));
    exchange->response = HTTP_RESPONSE_STARTED;
}

/* Chooses the framing and formats the head. whole: all of the body is known, and `len` long. */
static int begin(struct http_exchange *exchange, bool whole, bool given, size_t len, const char **why) {
    bool length_unknown = exchange->status == 304 || (whole && !given && exchange->parser.method == HTTP_HEAD);
    if (exchange->status == 204 || (length_unknown && !exchange->length_known)) {
        /* 204 has neither field (RFC 9110 §8.6, RFC 9112 §6.1); for 304 and HEAD the length is what GET would have. */
        exchange->framing_out = HTTP_FRAMING_NONE;
    } else if (exchange->status == 205) {
        exchange->framing_out = HTTP_FRAMING_LENGTH; /* RFC 9110 §15.3.6 */
        exchange->length = 0;
    } else if (exchange->length_known) {
        if (whole && !has_no_body(exchange) && exchange->length != len)
            return misuse(why, "the body is not as long as its Content-Length says");
        exchange->framing_out = HTTP_FRAMING_LENGTH;
    } else if (whole && exchange->trailer_lines.len == 0) {
        exchange->framing_out = HTTP_FRAMING_LENGTH;
        exchange->length = len;
    } else {
        exchange->framing_out = http_exchange_is_http10(exchange) ? HTTP_FRAMING_CLOSE : HTTP_FRAMING_CHUNKED;
    }
    put_head(exchange);
    return 0;
}

/* ---- body ----------------------------------------------------------------------------------------------------- */

static void put_body(struct http_exchange *exchange, const char *bytes, size_t len) {
    if (len == 0 || has_no_body(exchange)) return;
    exchange->written += len;
    if (exchange->framing_out != HTTP_FRAMING_CHUNKED) {
        http_connection_send(exchange->connection, bytes, len);
        return;
    }
    char *start = http_connection_room(exchange->connection, HEX_BYTES + 2), *p = hex_put(start, len);
    p = PUT(p, "\r\n");
    http_connection_sent(exchange->connection, (size_t)(p - start));
    http_connection_send(exchange->connection, bytes, len);
    http_connection_send(exchange->connection, "\r\n", 2);
}

static int check_room(const struct http_exchange *exchange, uint64_t len, const char **why) {
    if (exchange->framing_out == HTTP_FRAMING_LENGTH && !has_no_body(exchange) &&
        len > exchange->length - exchange->written)
        return misuse(why, "the body is longer than its Content-Length says");
    return 0;
}

int http_response_start(struct http_exchange *exchange, const char **why) {
    int err = check_open(exchange, why);
    if (err == 0) err = begin(exchange, false, false, 0, why);
    http_connection_touch(exchange->connection);
    return err;
}

/* Nothing may stand between the bytes of a file that is being sent. */
static int check_no_file(const struct http_exchange *exchange, const char **why) {
    return exchange->file_left > 0 ? misuse(why, "a file is being sent by another coroutine") : 0;
}

int http_response_write(struct http_exchange *exchange, const char *bytes, size_t len, const char **why) {
    if (exchange->response == HTTP_RESPONSE_ENDED) return UV_EALREADY;
    if (check_no_file(exchange, why) < 0) return UV_EINVAL;
    if (exchange->response == HTTP_RESPONSE_OPEN) {
        int err = begin(exchange, false, true, 0, why);
        if (err < 0) return err;
    }
    int err = check_room(exchange, len, why);
    if (err < 0) return err;
    put_body(exchange, bytes, len);
    http_connection_touch(exchange->connection);
    return 0;
}

int http_response_send_file(struct http_exchange *exchange, int fd, uint64_t offset, uint64_t len, const char **why) {
    if (exchange->response == HTTP_RESPONSE_ENDED) return UV_EALREADY;
    if (exchange->response == HTTP_RESPONSE_OPEN) {
        if (!exchange->length_known) return misuse(why, "a file needs a Content-Length");
        int err = begin(exchange, false, true, 0, why);
        if (err < 0) return err;
    }
    if (exchange->framing_out == HTTP_FRAMING_CHUNKED) return misuse(why, "a file needs a Content-Length");
    int err = check_room(exchange, len, why);
    if (err < 0 || len == 0 || has_no_body(exchange)) return err;
    exchange->written += len;
    exchange->file_fd = fd;
    exchange->file_offset = offset;
    exchange->file_left = len;
    if (!http_file_gather(exchange->connection)) http_file_pump(exchange->connection);
    http_connection_touch(exchange->connection);
    return exchange->connection->error ? UV_ECONNRESET : 0;
}

int http_response_end(struct http_exchange *exchange, const char *bytes, size_t len, const char **why) {
    if (exchange->response == HTTP_RESPONSE_ENDED) return UV_EALREADY;
    if (check_no_file(exchange, why) < 0) return UV_EINVAL;
    if (exchange->response == HTTP_RESPONSE_OPEN) {
        int err = begin(exchange, true, bytes != NULL, len, why);
        if (err < 0) return err;
    }
    int err = check_room(exchange, len, why);
    if (err < 0) return err;
    put_body(exchange, bytes, len);
    if (exchange->framing_out == HTTP_FRAMING_CHUNKED && exchange->parser.method != HTTP_HEAD) {
        http_connection_send(exchange->connection, "0\r\n", 3);
        http_connection_send(exchange->connection, exchange->trailer_lines.data, exchange->trailer_lines.len);
        http_connection_send(exchange->connection, "\r\n", 2);
    }
    exchange->response = HTTP_RESPONSE_ENDED;
    http_connection_touch(exchange->connection);
    bool is_short =
        exchange->framing_out == HTTP_FRAMING_LENGTH && !has_no_body(exchange) && exchange->written < exchange->length;
    if (!is_short) return 0;
    /* The client waits for bytes that will never come: only the end of the connection tells it so. */
    http_connection_abort(exchange->connection, UV_ECANCELED);
    return misuse(why, "the body is shorter than its Content-Length says: the connection is closed");
}

int http_response_informational(struct http_exchange *exchange, unsigned status, const char *lines, size_t len,
                                const char **why) {
    int err = check_open(exchange, why);
    if (err < 0) return err;
    if (status < 100 || status > 199 || status == 101) return misuse(why, "an interim status is 100, 102 to 199");
    if (http_exchange_is_http10(exchange)) return 0; /* RFC 9110 §15.2: never to an HTTP/1.0 client */
    const char *reason = http_reason(status);
    char *start = http_connection_room(exchange->connection, STATUS_BYTES + strlen(reason) + len + 4), *p = start;
    p = PUT(p, "HTTP/1.1 ");
    p = put_number(p, status);
    *p++ = ' ';
    p = put(p, reason, strlen(reason));
    p = PUT(p, "\r\n");
    if (len > 0) p = put(p, lines, len);
    p = PUT(p, "\r\n");
    http_connection_sent(exchange->connection, (size_t)(p - start));
    if (status == 100) exchange->expects_continue = false;
    http_connection_touch(exchange->connection);
    return 0;
}

void http_response_replace(struct http_exchange *exchange, unsigned status, bool close) {
    const char *why, *reason = http_reason(status);
    if (exchange->response != HTTP_RESPONSE_OPEN) exchange->connection->out->len = exchange->out_mark;
    exchange->response = HTTP_RESPONSE_OPEN;
    exchange->lines.len = 0;
    exchange->trailer_lines.len = 0;
    exchange->reason.len = 0;
    exchange->header_flags = 0;
    exchange->written = 0;
    exchange->length_known = false;
    exchange->status = (uint16_t)status;
    if (close) exchange->keep_alive = false;
    http_response_set_header(exchange, "Content-Type", 12, "text/plain", 10, true, &why);
    char body[64];
    int len = snprintf(body, sizeof body, "%s\n", reason);
    http_response_end(exchange, body, (size_t)len, &why);
}
