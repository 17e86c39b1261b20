/* BOTH. Reads the answers of HTTP servers: llhttp at work on one message after the other, strict about what frames them.
 *
 * What an answer says is kept here until the next one starts; body bytes are kept until the next feed, or point into the
 * bytes that were fed. The parser does no I/O and knows no time. */
#ifndef CLUA_HTTP_RESPONSE_PARSER_H
#define CLUA_HTTP_RESPONSE_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llhttp.h>

#include "buffer.h"
#include "http_chunk.h"

enum http_answer_state { HTTP_ANSWER_HEAD, HTTP_ANSWER_BODY, HTTP_ANSWER_COMPLETE, HTTP_ANSWER_FAILED };

/* Offsets into parser.text. */
struct http_answer_field {
    uint32_t name, name_len, value, value_len;
};

struct http_response_parser {
    llhttp_t llhttp;
    uint32_t max_head_bytes, max_fields; /* of head and trailers together */
    enum http_answer_state state;
    const char *why; /* FAILED: what was wrong, and its UV_E* */
    int error;
    struct buffer text; /* reason, names, values */
    uint32_t reason_len;
    struct http_answer_field *fields; /* first those of the head, then trailers */
    uint32_t count, head_count, cap;
    unsigned status;
    bool without_body; /* the next answer is one to HEAD */
    bool reusable;     /* COMPLETE: another request may follow on the connection */
    bool begun;        /* a byte of the answer has come */

    const char *body; /* body bytes of the last feed */
    size_t body_len;

    struct buffer pieces; /* they, when they came in pieces */
    size_t framing_bytes; /* since the last byte of body: bytes that make us look at nothing */
    char before;          /* the last byte of the head that was looked at */
    enum http_extension extension;
    bool chunked, size_line, last_chunk, paused;
};

/* The limits count for every answer. Zeroed memory is a valid argument, http_response_parser_free undoes. */
void http_response_parser_init(struct http_response_parser *parser, uint32_t max_head_bytes, uint32_t max_fields);
void http_response_parser_free(struct http_response_parser *parser);

/* Begins with the next answer; without_body: to a request by HEAD. */
void http_response_parser_start(struct http_response_parser *parser, bool without_body);

/* Feeds bytes; returns how many belong to this answer. All of them, unless it is COMPLETE or FAILED then. */
size_t http_response_parser_feed(struct http_response_parser *parser, const char *bytes, size_t len);

/* The server has ended the connection: COMPLETE, for an answer that lasts until then, or FAILED (UV_EOF). */
void http_response_parser_end(struct http_response_parser *parser);

#endif
