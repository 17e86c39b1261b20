/* WORKER. One request and its answer: what the parser has found, what the answer is so far.
 *
 * An exchange is taken from a pool at the first byte of a request and goes back when the answer has ended and the
 * request is read (or given up). Nothing of the request is copied while it is complete in the buffer that it was read
 * into: spans are offsets from head.base, and `base` moves when the bytes must outlive the read. */
#ifndef CLUA_HTTP_EXCHANGE_H
#define CLUA_HTTP_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llhttp.h>

#include "buffer.h"
#include "http_chunk.h"

struct http_connection;

/* What a server allows; the options of createServer. 0 for a time: no limit. */
struct http_config {
    uint32_t max_head_bytes, max_url_bytes, max_headers;
    uint64_t max_body_bytes;
    uint32_t head_timeout_ms, body_timeout_ms, keep_alive_timeout_ms, write_timeout_ms;
    bool upgrades; /* somebody listens for upgrade: requests with Upgrade are handed over */
};

struct http_field {
    uint32_t name, name_len, value, value_len; /* offsets from head.base */
};

struct http_head {
    const char *base;
    uint32_t len;     /* fed to the parser; when complete: up to and with the empty line */
    uint32_t checked; /* bytes that the strict scan has passed */
    uint32_t target, target_len;
    uint32_t path, path_len; /* origin-form: all of the target; absolute-form: from the path on */
    uint32_t host, host_len; /* authority: Host, or that of an absolute-form target, which wins */
    uint32_t count;
    struct http_field *fields;
    bool absolute;
};

enum http_request_state { HTTP_REQUEST_HEAD, HTTP_REQUEST_BODY, HTTP_REQUEST_COMPLETE, HTTP_REQUEST_FAILED };

/* OPEN: nothing formatted. STARTED: the head stands in the output. ENDED: no byte of it is missing. */
enum http_response_state { HTTP_RESPONSE_OPEN, HTTP_RESPONSE_STARTED, HTTP_RESPONSE_ENDED };

enum http_framing { HTTP_FRAMING_LENGTH, HTTP_FRAMING_CHUNKED, HTTP_FRAMING_CLOSE, HTTP_FRAMING_NONE };

/* For whoever implements the hooks of the connection; the rest of http_* never looks inside. */
struct http_owner {
    void *request, *response;
    void *reader, *writer; /* coroutines that wait, and their anchors */
    int reader_ref, writer_ref;
    bool counted, whole;
};

struct http_exchange {
    struct http_connection *connection;
    const struct http_config *config;
    struct http_exchange *next; /* pool */
    llhttp_t parser;
    struct http_head head;

    /* request */
    enum http_request_state request;
    unsigned refusal; /* status that answers a bad request; 0: none */
    int failure;      /* UV_E* that readers of the body get once the request has FAILED */
    const char *span; /* body bytes where they were read to; not yet in `body` */
    size_t span_len;
    uint64_t body_bytes, body_limit;
    const char *framing;           /* chunked: where the bytes begin that are no body and not yet checked */
    size_t overhead;               /* chunked: bytes of size lines for which no body bytes have come */
    enum http_extension extension; /* chunked: inside the extensions of a chunk */
    bool size_line, last_chunk;    /* chunked: a size comes next; the size was 0 */
    uint32_t trailer_count;
    char before; /* the last byte checked before `framing` */
    bool chunked, expects_continue, collecting, upgrade;
    uint32_t blame;     /* ticket, once the handler was called */
    uint64_t begun_ns;  /* when it was called */
    uint64_t line_name; /* of hold_begins(), or 0 */
    uint64_t came_ns;   /* for the access log, if there is one: when its first byte was here */

    /* response */
    enum http_response_state response;
    enum http_framing framing_out;
    uint16_t status;
    uint8_t header_flags; /* enum http_response_header of http_response.c */
    bool keep_alive, bytes_sent, length_known;
    uint64_t length, written; /* Content-Length that was declared, body bytes so far */
    size_t out_mark;          /* where this answer begins in the output not yet flushed */
    int file_fd;              /* the rest of the body piece under way comes from there */
    uint64_t file_offset, file_left;

    struct http_owner owner;

    /* Memory that the pool keeps for the next exchange; the buffers are emptied. */
    struct http_field *fields;
    uint32_t fields_cap;
    struct buffer head_copy; /* holds head.base once the exchange outlives its read */
    struct buffer body;      /* body bytes that nobody has taken yet */
    struct buffer trailers;  /* name NUL value NUL ... */
    struct buffer lines;     /* header lines set by the handler, each ended by CRLF */
    struct buffer reason, trailer_lines;
};

struct http_exchange *http_exchange_take(struct http_connection *connection, const struct http_config *config);
void http_exchange_release(struct http_exchange *exchange);

/* Makes room for so many fields in exchange->fields, which head.fields is; those that are there stay. */
void http_exchange_room(struct http_exchange *exchange, uint32_t count);

static inline bool http_exchange_is_http10(const struct http_exchange *exchange) {
    return exchange->parser.http_minor == 0;
}

/* Method, space and target as they were sent stand at the beginning of the head. */
static inline size_t http_head_line_len(const struct http_head *head) {
    return (size_t)head->target + head->target_len;
}

/* Where the header section of a complete head of HTTP/1.x begins: behind a space, the version and the line end. */
static inline uint32_t http_head_section(const struct http_head *head) {
    return head->target + head->target_len + (uint32_t)(sizeof " HTTP/1.1\r\n" - 1);
}

/* Bytes of the body that have arrived and are not taken: in the span, in `body`, never in both. */
static inline size_t http_exchange_body_ready(const struct http_exchange *exchange) {
    return exchange->span_len + exchange->body.len;
}

#endif
