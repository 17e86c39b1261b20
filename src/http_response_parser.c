/* BOTH. See http_response_parser.h. llhttp is paused at the end of a head that a chunked body follows and behind every
 * chunk, so that chunk extensions, about which llhttp 8.1 is wrong (see http_chunk.h), can be taken out in front of it. */
#include "http_response_parser.h"

#include <stdlib.h>
#include <uv.h>

#include "http_head.h"
#include "log.h"

static struct http_response_parser *parser_of(llhttp_t *llhttp) {
    return llhttp->data;
}

static int fail(struct http_response_parser *parser, int error, const char *why) {
    parser->state = HTTP_ANSWER_FAILED;
    parser->error = error;
    parser->why = why;
    return HPE_USER;
}

static int keep(struct http_response_parser *parser, const char *at, size_t len) {
    if (parser->text.len + len > parser->max_head_bytes)
        return fail(parser, UV_EMSGSIZE, "the head of the response is too long");
    buffer_append(&parser->text, at, len);
    return 0;
}

/* ---- head ----------------------------------------------------------------------------------------------------- */

static int on_reason(llhttp_t *llhttp, const char *at, size_t len) {
    struct http_response_parser *parser = parser_of(llhttp);
    parser->reason_len += (uint32_t)len;
    return keep(parser, at, len);
}

static void fields_grow(struct http_response_parser *parser) {
    uint32_t cap = parser->cap ? parser->cap * 2 : 16;
    struct http_answer_field *fields = realloc(parser->fields, cap * sizeof *fields);
    if (!fields) {
        log_write(CLUA_LOG_ERROR, "cannot read a response with %u headers: out of memory", parser->cap);
        abort();
    }
    parser->fields = fields;
    parser->cap = cap;
}

/* A field begins with the first piece of its name, behind a value that has been completed. */
static int on_name(llhttp_t *llhttp, const char *at, size_t len) {
    struct http_response_parser *parser = parser_of(llhttp);
    struct http_answer_field *field = parser->count > 0 ? &parser->fields[parser->count - 1] : NULL;
    if (!field || field->value > 0) {
        if (parser->count == parser->max_fields) return fail(parser, UV_EMSGSIZE, "the response has too many headers");
        if (!parser->fields || parser->count == parser->cap) fields_grow(parser);
        field = &parser->fields[parser->count++];
        *field = (struct http_answer_field){.name = (uint32_t)parser->text.len};
    }
    field->name_len += (uint32_t)len;
    return keep(parser, at, len);
}

static int on_name_complete(llhttp_t *llhttp) {
    struct http_response_parser *parser = parser_of(llhttp);
    struct http_answer_field *field = &parser->fields[parser->count - 1];
    field->value = field->name + field->name_len;
    return field->name_len > 0 ? 0 : fail(parser, UV_EPROTO, "a header of the response has no name");
}

static int on_value(llhttp_t *llhttp, const char *at, size_t len) {
    struct http_response_parser *parser = parser_of(llhttp);
    parser->fields[parser->count - 1].value_len += (uint32_t)len;
    return keep(parser, at, len);
}

static int on_value_complete(llhttp_t *llhttp) {
    struct http_response_parser *parser = parser_of(llhttp);
    struct http_answer_field *field = &parser->fields[parser->count - 1];
    const char *value = parser->text.data + field->value;
    while (field->value_len > 0 && (value[field->value_len - 1] == ' ' || value[field->value_len - 1] == '\t'))
        field->value_len--;
    return 0;
}

/* RFC 9112 §6.1: chunked, once, as the only coding (we have asked for no other), from a server of HTTP/1.1. */
static bool coding_is_chunked(const struct http_response_parser *parser) {
    static const char name[] = "transfer-encoding", chunked[] = "chunked";
    unsigned found = 0;
    for (uint32_t i = 0; i < parser->count; i++) {
        const struct http_answer_field *field = &parser->fields[i];
        if (field->name_len != sizeof name - 1) continue;
        if (!http_same(parser->text.data + field->name, name, sizeof name - 1)) continue;
        if (field->value_len != sizeof chunked - 1) return false;
        if (!http_same(parser->text.data + field->value, chunked, sizeof chunked - 1)) return false;
        found++;
    }
    return found == 1 && parser->llhttp.http_minor >= 1;
}

static int on_head(llhttp_t *llhttp) {
    struct http_response_parser *parser = parser_of(llhttp);
    bool coded = (llhttp->flags & F_TRANSFER_ENCODING) != 0, says_body = coded || llhttp->content_length > 0;
    bool interim = llhttp->status_code / 100 == 1, bodyless = interim || llhttp->status_code == 204;
    parser->status = llhttp->status_code;
    parser->head_count = parser->count;
    parser->state = HTTP_ANSWER_BODY;
    llhttp->upgrade = 0; /* a 101 ends here as every head does; what follows is not for us */
    if (llhttp->http_major != 1) return fail(parser, UV_EPROTO, "the server does not speak HTTP/1");
    if (parser->status < 100) return fail(parser, UV_EPROTO, "the response has no valid status");
    if (coded && (llhttp->flags & F_CONTENT_LENGTH))
        return fail(parser, UV_EPROTO, "the response has both Content-Length and Transfer-Encoding");
    if (interim && says_body) return fail(parser, UV_EPROTO, "an interim response has a body");
    bool skip = bodyless || parser->status == 304 || parser->without_body;
    if (skip) llhttp->flags |= F_SKIPBODY;
    /* A 204 that says that it has a body may be followed by one. */
    parser->reusable = llhttp_should_keep_alive(llhttp) && !(bodyless && says_body);
    if (skip || !coded) return 0;
    if (!coding_is_chunked(parser)) return fail(parser, UV_EPROTO, "the response has an unknown Transfer-Encoding");
    parser->chunked = parser->size_line = parser->paused = true;
    return HPE_PAUSED;
}

static int on_complete(llhttp_t *llhttp) {
    parser_of(llhttp)->state = HTTP_ANSWER_COMPLETE;
    return HPE_PAUSED;
}

/* ---- body ----------------------------------------------------------------------------------------------------- */

static int on_body(llhttp_t *llhttp, const char *at, size_t len) {
    struct http_response_parser *parser = parser_of(llhttp);
    parser->framing_bytes = 0;
    if (parser->body_len == 0) {
        parser->body = at;
        parser->body_len = len;
        return 0;
    }
    if (parser->pieces.len == 0) buffer_append(&parser->pieces, parser->body, parser->body_len);
    buffer_append(&parser->pieces, at, len);
    parser->body = parser->pieces.data;
    parser->body_len = parser->pieces.len;
    return 0;
}

static int on_chunk(llhttp_t *llhttp) {
    parser_of(llhttp)->last_chunk = llhttp->content_length == 0;
    return 0;
}

static int on_chunk_end(llhttp_t *llhttp) {
    struct http_response_parser *parser = parser_of(llhttp);
    if (parser->last_chunk) return 0;
    parser->size_line = parser->paused = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t callbacks = {
    .on_status = on_reason,
    .on_header_field = on_name,
    .on_header_field_complete = on_name_complete,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_chunk_header = on_chunk,
    .on_chunk_complete = on_chunk_end,
    .on_message_complete = on_complete,
};

/* ---- feeding -------------------------------------------------------------------------------------------------- */

void http_response_parser_init(struct http_response_parser *parser, uint32_t max_head_bytes, uint32_t max_fields) {
    *parser = (struct http_response_parser){.max_head_bytes = max_head_bytes, .max_fields = max_fields};
    http_response_parser_start(parser, false);
}

void http_response_parser_free(struct http_response_parser *parser) {
    free(parser->fields);
    buffer_free(&parser->text);
    buffer_free(&parser->pieces);
    *parser = (struct http_response_parser){0};
}

void http_response_parser_start(struct http_response_parser *parser, bool without_body) {
    struct http_response_parser fresh = {
        .max_head_bytes = parser->max_head_bytes,
        .max_fields = parser->max_fields,
        .text = parser->text,
        .pieces = parser->pieces,
        .fields = parser->fields,
        .cap = parser->cap,
        .without_body = without_body,
    };
    fresh.text.len = fresh.pieces.len = 0;
    *parser = fresh;
    llhttp_init(&parser->llhttp, HTTP_RESPONSE, &callbacks);
    parser->llhttp.data = parser;
}

/* Bytes for llhttp; returns those that it has taken. */
static size_t feed(struct http_response_parser *parser, const char *bytes, size_t len) {
    bool in_head = parser->state == HTTP_ANSWER_HEAD;
    llhttp_errno_t err = llhttp_execute(&parser->llhttp, bytes, len);
    size_t taken = err == HPE_OK ? len : (size_t)(parser->llhttp.error_pos - bytes);
    if (parser->paused) {
        parser->paused = false;
        llhttp_resume(&parser->llhttp);
        err = HPE_OK;
    }
    if (parser->state == HTTP_ANSWER_FAILED) return taken;
    size_t head_len =
        in_head && parser->state != HTTP_ANSWER_HEAD && parser->body_len > 0 ? (size_t)(parser->body - bytes) : taken;
    if (in_head && !http_bytes_are_strict(bytes, head_len, &parser->before)) {
        fail(parser, UV_EPROTO, "the head of the response is malformed");
    } else if (err != HPE_OK && parser->state != HTTP_ANSWER_COMPLETE) {
        fail(parser, UV_EPROTO, llhttp_get_error_reason(&parser->llhttp));
    }
    return taken;
}

/* The bytes of a chunk's size, in front of its extensions or its line end. */
static size_t feed_size(struct http_response_parser *parser, const char *bytes, size_t len) {
    size_t n = 0;
    while (n < len && bytes[n] != ';' && bytes[n] != '\r') n++;
    if (n > 0) feed(parser, bytes, n);
    if (n == len || parser->state != HTTP_ANSWER_BODY) return n;
    parser->size_line = false;
    if (bytes[n] != ';') return n;
    parser->extension = HTTP_EXTENSION_BEGIN;
    return n + 1;
}

static size_t feed_some(struct http_response_parser *parser, const char *bytes, size_t len) {
    if (parser->extension != HTTP_EXTENSION_NONE) {
        size_t n = http_chunk_extension(&parser->extension, bytes, len);
        if (parser->extension == HTTP_EXTENSION_BAD) fail(parser, UV_EPROTO, "a chunk extension is malformed");
        return n;
    }
    return parser->size_line ? feed_size(parser, bytes, len) : feed(parser, bytes, len);
}

size_t http_response_parser_feed(struct http_response_parser *parser, const char *bytes, size_t len) {
    size_t at = 0;
    parser->body_len = parser->pieces.len = 0;
    parser->begun = parser->begun || len > 0;
    while (at < len && (parser->state == HTTP_ANSWER_HEAD || parser->state == HTTP_ANSWER_BODY)) {
        size_t body_before = parser->body_len, taken = feed_some(parser, bytes + at, len - at);
        at += taken;
        if (parser->body_len == body_before) parser->framing_bytes += taken;
        bool framing = parser->state == HTTP_ANSWER_HEAD || parser->state == HTTP_ANSWER_BODY;
        if (framing && parser->framing_bytes > parser->max_head_bytes)
            fail(parser, UV_EMSGSIZE, "the head of the response is too long");
    }
    return at;
}

void http_response_parser_end(struct http_response_parser *parser) {
    parser->body_len = parser->pieces.len = 0;
    if (parser->state == HTTP_ANSWER_COMPLETE || parser->state == HTTP_ANSWER_FAILED) return;
    if (parser->state == HTTP_ANSWER_BODY && !parser->chunked) llhttp_finish(&parser->llhttp);
    if (parser->state != HTTP_ANSWER_COMPLETE) {
        const char *why = "the server has closed the connection in the middle of its response";
        fail(parser, UV_EOF, parser->begun ? why : "the server has closed the connection without a response");
    }
    parser->reusable = false;
}
