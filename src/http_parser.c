/* WORKER. See http_parser.h. Two tables of callbacks: one for the head, and one for what follows it, where fields are
 * trailers. llhttp is paused at the end of a head with a body, behind every chunk (so that extensions can be taken out in
 * front of it) and at the end of every message. */
#include "http_parser.h"

#include <string.h>
#include <uv.h>

#include "http_head.h"
#include "http_section.h"

static struct http_exchange *exchange_of(llhttp_t *parser) {
    return parser->data;
}

static int refuse(struct http_exchange *exchange, unsigned status) {
    exchange->refusal = status;
    return HPE_USER;
}

/* ---- head ----------------------------------------------------------------------------------------------------- */

static int on_target(llhttp_t *parser, const char *at, size_t len) {
    struct http_exchange *exchange = exchange_of(parser);
    struct http_head *head = &exchange->head;
    uint32_t offset = (uint32_t)(at - head->base);
    if (head->target_len == 0) head->target = offset;
    head->target_len = offset + (uint32_t)len - head->target;
    return head->target_len > exchange->config->max_url_bytes ? refuse(exchange, 414) : 0;
}

static int on_name(llhttp_t *parser, const char *at, size_t len) {
    struct http_exchange *exchange = exchange_of(parser);
    struct http_head *head = &exchange->head;
    uint32_t offset = (uint32_t)(at - head->base);
    if (head->count > 0) {
        /* A name that was cut by the end of a read goes on where it stopped; the next one is behind a line end. */
        struct http_field *last = &head->fields[head->count - 1];
        if (last->name + last->name_len == offset) {
            last->name_len += (uint32_t)len;
            return 0;
        }
    }
    if (head->count == exchange->config->max_headers) return refuse(exchange, 431);
    http_exchange_room(exchange, head->count + 1);
    head->fields[head->count++] = (struct http_field){.name = offset, .name_len = (uint32_t)len};
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t len) {
    struct http_head *head = &exchange_of(parser)->head;
    struct http_field *field = &head->fields[head->count - 1];
    uint32_t offset = (uint32_t)(at - head->base);
    if (field->value_len == 0) field->value = offset;
    field->value_len = offset + (uint32_t)len - field->value;
    return 0;
}

static int on_head(llhttp_t *parser) {
    struct http_exchange *exchange = exchange_of(parser);
    /* RFC 9110 §7.8: Upgrade may be ignored, and is when nobody listens, or when a body would have to be read first; in
     * HTTP/1.0 it must be. */
    bool has_body = (parser->flags & F_CHUNKED) || parser->content_length > 0;
    exchange->upgrade = parser->upgrade && exchange->config->upgrades && !has_body && parser->http_minor > 0 &&
                        parser->method != HTTP_CONNECT;
    parser->upgrade = 0;
    exchange->keep_alive = llhttp_should_keep_alive(parser);
    exchange->request = HTTP_REQUEST_BODY;
    return has_body || (parser->flags & F_TRANSFER_ENCODING) ? HPE_PAUSED : 0;
}

static int on_complete(llhttp_t *parser) {
    exchange_of(parser)->request = HTTP_REQUEST_COMPLETE;
    return HPE_PAUSED;
}

/* ---- body ----------------------------------------------------------------------------------------------------- */

static int on_body(llhttp_t *parser, const char *at, size_t len) {
    struct http_exchange *exchange = exchange_of(parser);
    if (exchange->chunked) {
        size_t framing = (size_t)(at - exchange->framing);
        if (!http_bytes_are_strict(exchange->framing, framing, &exchange->before)) return refuse(exchange, 400);
        exchange->framing = at + len;
        exchange->before = 0;
    }
    exchange->overhead -= len < exchange->overhead ? len : exchange->overhead;
    exchange->body_bytes += len;
    if (exchange->body_bytes > exchange->body_limit) return refuse(exchange, 413);
    if (exchange->span_len == 0 && exchange->body.len == 0) {
        exchange->span = at;
        exchange->span_len = len;
        return 0;
    }
    buffer_append(&exchange->body, exchange->span, exchange->span_len);
    exchange->span_len = 0;
    buffer_append(&exchange->body, at, len);
    return 0;
}

static int on_chunk(llhttp_t *parser) {
    struct http_exchange *exchange = exchange_of(parser);
    exchange->last_chunk = parser->content_length == 0;
    if (parser->content_length > exchange->body_limit - exchange->body_bytes) return refuse(exchange, 413);
    return 0;
}

static int on_chunk_end(llhttp_t *parser) {
    struct http_exchange *exchange = exchange_of(parser);
    if (exchange->last_chunk) return 0;
    exchange->size_line = true;
    return HPE_PAUSED;
}

static int trailer_bytes(struct http_exchange *exchange, const char *at, size_t len) {
    buffer_append(&exchange->trailers, at, len);
    return exchange->trailers.len > exchange->config->max_head_bytes ? refuse(exchange, 431) : 0;
}

static int on_trailer_name(llhttp_t *parser, const char *at, size_t len) {
    return trailer_bytes(exchange_of(parser), at, len);
}

/* RFC 9110 §6.5.1: no field that frames, routes or authenticates the message. */
static bool may_be_trailer(const char *name, size_t len) {
    switch (len) {
    case 0:
        return false;
    case 4:
        return !http_same(name, "host", 4);
    case 6:
        return !http_same(name, "cookie", 6);
    case 13:
        return !http_same(name, "authorization", 13);
    case 14:
        return !http_same(name, "content-length", 14);
    case 17:
        return !http_same(name, "transfer-encoding", 17);
    default:
        return true;
    }
}

static int on_trailer_name_complete(llhttp_t *parser) {
    struct http_exchange *exchange = exchange_of(parser);
    const struct buffer *trailers = &exchange->trailers;
    if (trailers->len == 0) return refuse(exchange, 400); /* the first one has no name, and no byte stands here */
    const char *end = trailers->data + trailers->len, *name = end;
    if (++exchange->trailer_count > exchange->config->max_headers) return refuse(exchange, 431);
    while (name > trailers->data && name[-1] != '\0') name--;
    if (!may_be_trailer(name, (size_t)(end - name))) return refuse(exchange, 400);
    return trailer_bytes(exchange, "", 1);
}

static int on_trailer_value(llhttp_t *parser, const char *at, size_t len) {
    return trailer_bytes(exchange_of(parser), at, len);
}

static int on_trailer_value_complete(llhttp_t *parser) {
    struct buffer *trailers = &exchange_of(parser)->trailers;
    while (trailers->len > 0 && (trailers->data[trailers->len - 1] == ' ' || trailers->data[trailers->len - 1] == '\t'))
        trailers->len--;
    return trailer_bytes(exchange_of(parser), "", 1);
}

static const llhttp_settings_t head_callbacks = {
    .on_url = on_target,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_message_complete = on_complete,
};

static const llhttp_settings_t body_callbacks = {
    .on_body = on_body,
    .on_header_field = on_trailer_name,
    .on_header_field_complete = on_trailer_name_complete,
    .on_header_value = on_trailer_value,
    .on_header_value_complete = on_trailer_value_complete,
    .on_chunk_header = on_chunk,
    .on_chunk_complete = on_chunk_end,
    .on_message_complete = on_complete,
};

/* ---- feeding -------------------------------------------------------------------------------------------------- */

static void fail(struct http_exchange *exchange, unsigned status) {
    exchange->request = HTTP_REQUEST_FAILED;
    exchange->failure = status == 413 ? UV_E2BIG : UV_EPROTO;
    exchange->refusal = status;
    exchange->keep_alive = false;
}

static unsigned head_refusal(struct http_exchange *exchange, llhttp_errno_t err) {
    struct http_head *head = &exchange->head;
    size_t len = (size_t)(exchange->parser.error_pos - head->base);
    if (len > head->checked && !http_head_scan(head, len)) return 400;
    if (exchange->refusal) return exchange->refusal;
    if (err == HPE_INVALID_METHOD) return http_head_method_refusal(head, len);
    if (err == HPE_INVALID_VERSION) return http_head_version_refusal(head, len);
    return err == HPE_PAUSED_H2_UPGRADE ? 505 : 400;
}

static void trim_values(struct http_head *head) {
    for (uint32_t i = 0; i < head->count; i++) {
        struct http_field *field = &head->fields[i];
        const char *value = head->base + field->value;
        while (field->value_len > 0 && (value[field->value_len - 1] == ' ' || value[field->value_len - 1] == '\t'))
            field->value_len--;
    }
}

/* The length of the request line of HTTP/1.1 that is here, 0 for none. */
static size_t line_length(const char *bytes, size_t len) {
    static const char version[] = " HTTP/1.1\r\n";
    const char *end = memchr(bytes, '\n', len);
    size_t line_len = end ? (size_t)(end + 1 - bytes) : 0, behind = sizeof version - 1;
    return line_len > behind && memcmp(bytes + line_len - behind, version, behind) == 0 ? line_len : 0;
}

/* The request line is the one that came with this section last. */
static bool read_same(struct http_exchange *exchange, const struct http_section *section, size_t line_len) {
    struct http_head *head = &exchange->head;
    if (section->line_len != line_len || memcmp(head->base, section->line, line_len) != 0) return false;
    if (section->target_len > exchange->config->max_url_bytes) return false;
    exchange->parser.method = section->method;
    exchange->parser.http_minor = 1;
    exchange->request = HTTP_REQUEST_COMPLETE;
    head->target = head->path = section->target;
    head->target_len = head->path_len = section->target_len;
    http_section_apply(section, exchange, (uint32_t)line_len);
    return true;
}

/* It is another one: llhttp reads it, and an empty line in the place of the section. False for a line with which the
 * section may mean something else; it has been fed then. */
static bool read_line(struct http_exchange *exchange, struct http_section *section, size_t line_len) {
    struct http_head *head = &exchange->head;
    llhttp_errno_t err = llhttp_execute(&exchange->parser, head->base, line_len);
    if (err != HPE_OK) {
        fail(exchange, head_refusal(exchange, err));
        return true;
    }
    head->len = (uint32_t)line_len;
    if (http_head_section(head) != line_len || head->base[head->target] != '/') return false;
    err = llhttp_execute(&exchange->parser, "\r\n", 2);
    /* Not for PRI, behind whose line llhttp wants the rest of the preface of HTTP/2: no section is right then. */
    bool complete = err == HPE_PAUSED && exchange->request == HTTP_REQUEST_COMPLETE;
    /* It looks at every byte of the line: no scan is needed. */
    unsigned refusal = complete ? http_head_check_line(exchange) : 400;
    if (refusal) {
        fail(exchange, refusal);
        return true;
    }
    http_section_apply(section, exchange, (uint32_t)line_len);
    http_section_keep_line(section, exchange);
    return true;
}

/* A new head, from its first byte. True when its section is known, and so is all that has to be known of it; else *key
 * is that of the section, as far as there is one. */
static bool read_known(struct http_exchange *exchange, size_t upto, struct http_section_key *key) {
    const struct http_head *head = &exchange->head;
    size_t line_len = line_length(head->base, upto);
    struct http_section *section = NULL;
    if (line_len > 0) {
        *key = http_section_key(head->base + line_len, upto - line_len);
        section = http_section_find(key, head->base + line_len);
        /* Another server may allow more of them. */
        if (section && section->count > exchange->config->max_headers) section = NULL;
        if (section && read_same(exchange, section, line_len)) return true;
    }
    llhttp_init(&exchange->parser, HTTP_REQUEST, &head_callbacks);
    exchange->parser.data = exchange;
    return section && read_line(exchange, section, line_len);
}

void http_parser_head(struct http_exchange *exchange, size_t avail) {
    struct http_head *head = &exchange->head;
    size_t limit = exchange->config->max_head_bytes, upto = avail < limit ? avail : limit;
    struct http_section_key key = {0};
    if (head->len == 0 && read_known(exchange, upto, &key)) return;
    llhttp_errno_t err = llhttp_execute(&exchange->parser, head->base + head->len, upto - head->len);
    if (err == HPE_OK) {
        head->len = (uint32_t)upto;
        if (!http_head_scan(head, upto)) {
            fail(exchange, 400);
        } else if (upto == limit) {
            /* No header yet: it is the request line that is too long. */
            fail(exchange, head->count == 0 ? 414 : 431);
        }
        return;
    }
    if (err != HPE_PAUSED) {
        fail(exchange, head_refusal(exchange, err));
        return;
    }
    head->len = (uint32_t)(exchange->parser.error_pos - head->base);
    trim_values(head);
    unsigned refusal = http_head_check(exchange);
    if (refusal) {
        fail(exchange, refusal);
        return;
    }
    if (exchange->request == HTTP_REQUEST_COMPLETE) {
        http_section_learn(&key, exchange);
        return;
    }
    exchange->size_line = exchange->chunked;
    exchange->parser.settings = (void *)(uintptr_t)&body_callbacks;
    llhttp_resume(&exchange->parser);
}

/* Bytes for llhttp alone; returns those that it has taken. */
static size_t feed_body(struct http_exchange *exchange, const char *bytes, size_t len) {
    exchange->framing = bytes;
    llhttp_errno_t err = llhttp_execute(&exchange->parser, bytes, len);
    size_t taken = err == HPE_OK ? len : (size_t)(exchange->parser.error_pos - bytes);
    bool strict = true;
    if (exchange->chunked) {
        const char *end = bytes + taken;
        if (exchange->framing < end)
            strict = http_bytes_are_strict(exchange->framing, (size_t)(end - exchange->framing), &exchange->before);
    }
    exchange->framing = NULL;
    if (exchange->refusal) {
        fail(exchange, exchange->refusal);
    } else if (!strict || (err != HPE_OK && err != HPE_PAUSED)) {
        fail(exchange, 400);
    } else if (err == HPE_PAUSED && exchange->request == HTTP_REQUEST_BODY) {
        llhttp_resume(&exchange->parser); /* behind a chunk */
    }
    return taken;
}

/* A limit on what a client may make us look at for nothing: leading zeros, extensions. */
static void add_overhead(struct http_exchange *exchange, size_t n) {
    exchange->overhead += n;
    if (exchange->overhead > exchange->config->max_head_bytes) fail(exchange, 400);
}

/* The bytes of a size in front of its extensions or its line end. */
static size_t feed_size(struct http_exchange *exchange, const char *bytes, size_t len) {
    size_t n = 0;
    while (n < len && bytes[n] != ';' && bytes[n] != '\r') n++;
    if (n > 0) feed_body(exchange, bytes, n);
    add_overhead(exchange, n);
    if (n == len || exchange->request != HTTP_REQUEST_BODY) return n;
    exchange->size_line = false;
    if (bytes[n] != ';') return n;
    exchange->extension = HTTP_EXTENSION_BEGIN;
    return n + 1;
}

static size_t pass_extension(struct http_exchange *exchange, const char *bytes, size_t len) {
    size_t n = http_chunk_extension(&exchange->extension, bytes, len);
    add_overhead(exchange, n);
    if (exchange->extension == HTTP_EXTENSION_BAD) fail(exchange, 400);
    return n;
}

void http_parser_body(struct http_exchange *exchange, const char *bytes, size_t len, size_t *eaten) {
    size_t at = 0;
    while (at < len && exchange->request == HTTP_REQUEST_BODY) {
        if (exchange->extension != HTTP_EXTENSION_NONE) {
            at += pass_extension(exchange, bytes + at, len - at);
        } else if (exchange->size_line) {
            at += feed_size(exchange, bytes + at, len - at);
        } else {
            at += feed_body(exchange, bytes + at, len - at);
        }
    }
    *eaten = at;
}
