/* WORKER. The strict side of reading a request; see http_head.h. llhttp has split the head into spans; here the whole
 * is looked over once, in one pass of vector instructions, and the few fields that decide on
 * framing and routing are read. */
#include "http_head.h"

#include <arpa/inet.h>
#include <string.h>

#include "block.h"

/* RFC 9110 §5.6.2 */
static const char token_bytes[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
    ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
    ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

/* RFC 3986 §3.2.2: reg-name, and what stands between the brackets of an IP-literal. */
static const char host_bytes[256] = {
    ['-'] = 1, ['.'] = 1,  ['_'] = 1,         ['~'] = 1,         ['%'] = 1,         ['!'] = 1, ['$'] = 1,
    ['&'] = 1, ['\''] = 1, ['('] = 1,         [')'] = 1,         ['*'] = 1,         ['+'] = 1, [','] = 1,
    [';'] = 1, ['='] = 1,  ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

bool http_is_token_byte(unsigned char byte) {
    return token_bytes[byte];
}

bool http_is_token(const char *bytes, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (!token_bytes[(unsigned char)bytes[i]]) return false;
    return len > 0;
}

bool http_same(const char *bytes, const char *lower, size_t len) {
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= 'A' && c <= 'Z') c |= 0x20;
        if (c != (unsigned char)lower[i]) return false;
    }
    return true;
}

/* Nonzero where byte c must not follow byte p. */
#define BREAKS_LINE(p, c)                                                                                              \
    ((((c) < 0x20) & ((c) != '\t') & ((c) != '\r') & ((c) != '\n')) | ((c) == 0x7f) |                                  \
     (((p) == '\r') ^ ((c) == '\n')) | (((p) == '\n') & (((c) == ' ') | ((c) == '\t'))))

static inline block look(const char *bytes) {
    block previous = block_load(bytes), c = block_load(bytes + 1);
    return (block)BREAKS_LINE(previous, c);
}

/* All bytes but the first, each with the one in front of it. */
static bool scan(const char *bytes, size_t len) {
    size_t at = 0;
    if (len > sizeof(block)) {
        block bad = look(bytes + len - sizeof(block) - 1); /* the last ones, some of which the loop sees again */
        for (; at + sizeof(block) < len; at += sizeof(block)) bad |= look(bytes + at);
        return block_is_zero(bad);
    }
    for (at = 1; at < len; at++) {
        unsigned char previous = (unsigned char)bytes[at - 1], c = (unsigned char)bytes[at];
        if (BREAKS_LINE(previous, c)) return false;
    }
    return true;
}

/* Nonzero for a byte that is no text. */
#define IS_CONTROL(c) ((((c) < 0x20) & ((c) != '\t')) | ((c) == 0x7f))

static inline block look_for_control(const char *bytes) {
    block c = block_load(bytes);
    return (block)IS_CONTROL(c);
}

bool http_is_text(const char *bytes, size_t len) {
    if (len >= sizeof(block)) {
        block bad = look_for_control(bytes + len - sizeof(block)); /* as in scan() */
        for (size_t at = 0; at + sizeof(block) < len; at += sizeof(block)) bad |= look_for_control(bytes + at);
        return block_is_zero(bad);
    }
    for (size_t at = 0; at < len; at++) {
        unsigned char c = (unsigned char)bytes[at];
        if (IS_CONTROL(c)) return false;
    }
    return true;
}

bool http_bytes_are_strict(const char *bytes, size_t len, char *before) {
    if (len == 0) return true;
    unsigned char previous = (unsigned char)*before, first = (unsigned char)bytes[0];
    if (BREAKS_LINE(previous, first)) return false;
    *before = bytes[len - 1];
    return scan(bytes, len);
}

bool http_head_scan(struct http_head *head, size_t len) {
    char before = head->checked ? head->base[head->checked - 1] : 0;
    bool strict = http_bytes_are_strict(head->base + head->checked, len - head->checked, &before);
    head->checked = (uint32_t)len;
    return strict;
}

bool http_next_element(const char **rest, size_t *rest_len, const char **element, size_t *len) {
    const char *p = *rest, *end = p + *rest_len;
    while (p < end && (*p == ' ' || *p == '\t' || *p == ',')) p++;
    if (p == end) return false;
    const char *comma = memchr(p, ',', (size_t)(end - p)), *stop = comma ? comma : end;
    *rest = stop;
    *rest_len = (size_t)(end - stop);
    while (stop > p && (stop[-1] == ' ' || stop[-1] == '\t')) stop--;
    *element = p;
    *len = (size_t)(stop - p);
    return true;
}

const struct http_field *http_head_find(const struct http_head *head, const char *name, size_t len) {
    for (uint32_t i = 0; i < head->count; i++) {
        const struct http_field *field = &head->fields[i];
        if (field->name_len == len && http_same(head->base + field->name, name, len)) return field;
    }
    return NULL;
}

unsigned http_head_method_refusal(const struct http_head *head, size_t len) {
    unsigned char next = (unsigned char)head->base[len];
    if (len > 0 && !http_is_token(head->base, len)) return 400;
    return http_is_token_byte(next) || (next == ' ' && len > 0) ? 501 : 400;
}

/* Is this "HTTP/", a digit, a dot, a digit? Then the version is one that we do not speak, rather than none. */
static bool is_version(const char *version, size_t len) {
    return len >= 8 && memcmp(version, "HTTP/", 5) == 0 && version[5] >= '0' && version[5] <= '9' &&
           version[6] == '.' && version[7] >= '0' && version[7] <= '9';
}

unsigned http_head_version_refusal(const struct http_head *head, size_t len) {
    /* llhttp stops at the minor digit that its major one does not have, or behind both. */
    const char *version = head->base + head->target + head->target_len + 1;
    if (!is_version(version, (size_t)(head->base + len + 1 - version))) return 400;
    bool ours = version[5] == '1' && (version[7] == '0' || version[7] == '1');
    return ours ? 400 : 505;
}

static bool is_hex(unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* The length of an IP-literal with its brackets (RFC 3986 §3.2.2), 0 when it is none. That of the future is none yet. */
static size_t ip_literal(const char *bytes, size_t len) {
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    const char *end = memchr(bytes, ']', len);
    size_t n = end ? (size_t)(end - bytes) - 1 : 0;
    if (n == 0 || n >= sizeof text) return 0;
    memcpy(text, bytes + 1, n);
    text[n] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1 ? n + 2 : 0;
}

/* The length of a reg-name or IPv4 address at the beginning, 0 when there is none. */
static size_t reg_name(const char *bytes, size_t len) {
    size_t i = 0;
    while (i < len && host_bytes[(unsigned char)bytes[i]]) {
        if (bytes[i] == ',') return 0; /* two values joined by a proxy */
        if (bytes[i] != '%') {
            i++;
        } else if (len - i > 2 && is_hex((unsigned char)bytes[i + 1]) && is_hex((unsigned char)bytes[i + 2])) {
            i += 3;
        } else {
            return 0;
        }
    }
    return i;
}

/* Host = uri-host [ ":" port ] (RFC 9110 §7.2). An empty one is refused: http and https need a host (RFC 9110 §4.2.1),
 * and a server may say so (RFC 9112 §3.3). */
static bool authority_is_valid(const char *bytes, size_t len) {
    size_t i = len > 0 && bytes[0] == '[' ? ip_literal(bytes, len) : reg_name(bytes, len);
    if (i == 0) return false;
    if (i == len) return true;
    if (bytes[i++] != ':') return false;
    if (len - i > 5) return false;
    for (; i < len; i++)
        if (bytes[i] < '0' || bytes[i] > '9') return false;
    return true;
}

/* RFC 9112 §3.2: origin-form, absolute-form, asterisk-form; the authority-form of CONNECT is not served. */
static bool target_is_valid(struct http_exchange *exchange) {
    struct http_head *head = &exchange->head;
    const char *target = head->base + head->target;
    size_t len = head->target_len;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)target[i];
        if (c <= 0x20 || c >= 0x7f || c == '#') return false;
    }
    head->path = head->target;
    head->path_len = head->target_len;
    if (target[0] == '/') return true;
    if (target[0] == '*') return len == 1 && exchange->parser.method == HTTP_OPTIONS;
    size_t scheme = len > 7 && http_same(target, "http://", 7)    ? 7
                    : len > 8 && http_same(target, "https://", 8) ? 8
                                                                  : 0;
    if (!scheme) return false;
    size_t end = scheme;
    while (end < len && target[end] != '/' && target[end] != '?') end++;
    if (end == scheme || !authority_is_valid(target + scheme, end - scheme)) return false;
    head->absolute = true;
    head->host = head->target + (uint32_t)scheme;
    head->host_len = (uint32_t)(end - scheme);
    head->path = head->target + (uint32_t)end;
    head->path_len = (uint32_t)(len - end);
    return true;
}

static unsigned check_request_line(const struct http_head *head) {
    /* One space on each side of the target (RFC 9112 §3), and no protocol but HTTP: llhttp also reads RTSP and ICE. */
    const char *base = head->base, *behind = base + head->target + head->target_len;
    if (head->target < 2 || base[head->target - 1] != ' ') return 400;
    if (!http_is_token(base, head->target - 1)) return 400;
    if (head->len < head->target + head->target_len + 11) return 400;
    if (memcmp(behind, " HTTP/1.", 8) == 0 && (behind[8] == '0' || behind[8] == '1') && behind[9] == '\r') return 0;
    return behind[0] == ' ' && behind[9] == '\r' && is_version(behind + 1, 8) ? 505 : 400;
}

/* RFC 9112 §6.1, §6.3: chunked, once, last. 0, 400 or 501. Empty elements, which a list may have (RFC 9110 §5.6.1), are
 * refused: nobody sends them but who hopes that another server does not see the coding behind them. */
static unsigned check_transfer_encoding(const struct http_head *head, bool *chunked) {
    unsigned unknown = 0;
    bool last_is_chunked = false;
    for (uint32_t i = 0; i < head->count; i++) {
        const struct http_field *field = &head->fields[i];
        if (field->name_len != 17 || !http_same(head->base + field->name, "transfer-encoding", 17)) continue;
        const char *rest = head->base + field->value, *coding;
        size_t rest_len = field->value_len, len;
        uint32_t commas = 0, elements = 0;
        for (uint32_t n = 0; n < field->value_len; n++) commas += rest[n] == ',';
        while (http_next_element(&rest, &rest_len, &coding, &len)) {
            if (last_is_chunked) return 400;
            elements++;
            last_is_chunked = len == 7 && http_same(coding, "chunked", 7);
            if (!last_is_chunked) unknown++;
            if (!http_is_token(coding, len)) return 400;
        }
        if (elements != commas + 1) return 400;
    }
    *chunked = last_is_chunked;
    if (!last_is_chunked) return 400;
    return unknown ? 501 : 0;
}

/* Equal but for case, and for an underscore at `dash`: many gateways map both bytes to the same name. */
static bool is_alike(const char *name, const char *lower, size_t len, size_t dash) {
    return (name[dash] == '-' || name[dash] == '_') && http_same(name, lower, dash) &&
           http_same(name + dash + 1, lower + dash + 1, len - dash - 1);
}

struct seen {
    unsigned hosts, lengths, encodings, types, expectations;
    bool unexpected; /* an expectation that is not 100-continue */
};

static bool look_at_field(struct http_head *head, const struct http_field *field, struct seen *seen) {
    const char *base = head->base, *name = base + field->name;
    /* RFC 9112 §5.1: no space in front of the colon, and a name in front of that. */
    if (field->name_len == 0 || name[field->name_len] != ':') return false;
    switch (field->name_len) {
    case 4:
        if (!http_same(name, "host", 4)) break;
        if (seen->hosts++) return false;
        if (head->absolute && field->value_len == 0) break; /* it is not looked at (RFC 9112 §3.2.2) */
        if (!authority_is_valid(base + field->value, field->value_len)) return false;
        if (head->absolute) break;
        head->host = field->value;
        head->host_len = field->value_len;
        break;
    case 6:
        if (!http_same(name, "expect", 6)) break;
        seen->expectations++;
        if (field->value_len != 12 || !http_same(base + field->value, "100-continue", 12)) seen->unexpected = true;
        break;
    case 12: /* one value, no list (RFC 9110 §8.3) */
        if (http_same(name, "content-type", 12) && seen->types++) return false;
        break;
    case 14:
        if (!is_alike(name, "content-length", 14, 7)) break;
        seen->lengths++;
        if (name[7] == '_' || field->value_len == 0) return false;
        for (uint32_t i = 0; i < field->value_len; i++)
            if (base[field->value + i] < '0' || base[field->value + i] > '9') return false;
        break;
    case 17:
        if (!is_alike(name, "transfer-encoding", 17, 8)) break;
        if (name[8] == '_') return false;
        seen->encodings++;
        break;
    default:
        break;
    }
    return true;
}

unsigned http_head_check_line(struct http_exchange *exchange) {
    unsigned refusal = check_request_line(&exchange->head);
    if (refusal) return refusal;
    if (exchange->parser.method == HTTP_CONNECT) return 501;
    return target_is_valid(exchange) ? 0 : 400;
}

unsigned http_head_check(struct http_exchange *exchange) {
    struct http_head *head = &exchange->head;
    struct seen seen = {0};
    if (!http_head_scan(head, head->len)) return 400;
    unsigned refusal = http_head_check_line(exchange);
    if (refusal) return refusal;
    for (uint32_t i = 0; i < head->count; i++)
        if (!look_at_field(head, &head->fields[i], &seen)) return 400;
    bool http10 = http_exchange_is_http10(exchange);
    if (seen.hosts == 0 && !http10) return 400; /* RFC 9112 §3.2 */
    if (seen.lengths > 1) return 400;
    if (seen.encodings) {
        if (http10 || seen.lengths) return 400; /* RFC 9112 §6.1, §6.3: the classic ways to smuggle */
        refusal = check_transfer_encoding(head, &exchange->chunked);
        if (refusal) return refusal;
    }
    if (seen.expectations && !http10) { /* RFC 9110 §10.1.1: ignored from HTTP/1.0 */
        if (seen.unexpected) return 417;
        exchange->expects_continue = exchange->chunked || exchange->parser.content_length > 0;
    }
    return 0;
}
