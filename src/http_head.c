/* WORKER. The strict side of reading a request; see http_head.h. llhttp has split the head into spans; here the whole
 * is looked over once, in one pass that the compiler turns into vector instructions, and the few fields that decide on
 * framing and routing are read. */
#include "http_head.h"

#include <string.h>

/* RFC 9110 §5.6.2 */
static const char token_bytes[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,
    ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

/* RFC 3986 §3.2.2: reg-name, and what stands between the brackets of an IP-literal. */
static const char host_bytes[256] = {
    ['-'] = 1, ['.'] = 1, ['_'] = 1, ['~'] = 1, ['%'] = 1, ['!'] = 1, ['$'] = 1, ['&'] = 1, ['\''] = 1, ['('] = 1,
    [')'] = 1, ['*'] = 1, ['+'] = 1, [','] = 1, [';'] = 1, ['='] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1,
    ['a' ... 'z'] = 1,
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

static unsigned breaks_line(unsigned char previous, unsigned char c) {
    unsigned control = (c < 0x20 && c != '\t' && c != '\r' && c != '\n') | (c == 0x7f);
    unsigned bare = (previous == '\r') != (c == '\n');
    unsigned folded = previous == '\n' && (c == ' ' || c == '\t');
    return control | bare | folded;
}

__attribute__((optimize("O3"))) static bool scan(const unsigned char *bytes, size_t len) {
    unsigned bad = 0;
    for (size_t i = 1; i < len; i++) {
        unsigned char previous = bytes[i - 1], c = bytes[i];
        unsigned char control = (unsigned char)((c < 0x20) & (c != '\t') & (c != '\r') & (c != '\n')) | (c == 0x7f);
        unsigned char bare = (unsigned char)((previous == '\r') ^ (c == '\n'));
        unsigned char folded = (unsigned char)((previous == '\n') & ((c == ' ') | (c == '\t')));
        bad |= (unsigned)(control | bare | folded);
    }
    return !bad;
}

bool http_bytes_are_strict(const char *bytes, size_t len, char *before) {
    if (len == 0) return true;
    if (breaks_line((unsigned char)*before, (unsigned char)bytes[0])) return false;
    *before = bytes[len - 1];
    return scan((const unsigned char *)bytes, len);
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
    const char *end = head->base + len;
    if (!http_is_token(head->base, len)) return 400;
    return http_is_token_byte((unsigned char)*end) || *end == ' ' ? 501 : 400;
}

unsigned http_head_version_refusal(const struct http_head *head, size_t len) {
    /* llhttp stops behind the minor digit, or in front of it when the major one has no such minor. */
    static const char prefix[] = "HTTP/";
    const char *version = head->base + head->target + head->target_len + 1, *end = head->base + len;
    if (end - version < 7 || memcmp(version, prefix, 5) != 0) return 400;
    bool digits = version[5] >= '0' && version[5] <= '9' && version[6] == '.' && version[7] >= '0' && version[7] <= '9';
    bool ours = version[5] == '1' && (version[7] == '0' || version[7] == '1');
    return digits && !ours ? 505 : 400;
}

/* Host = uri-host [ ":" port ] (RFC 9110 §7.2); an empty value is valid (RFC 9112 §3.2). */
static bool authority_is_valid(const char *bytes, size_t len) {
    size_t i = 0;
    if (len > 0 && bytes[0] == '[') {
        for (i = 1; i < len && bytes[i] != ']'; i++)
            if (!host_bytes[(unsigned char)bytes[i]] && bytes[i] != ':') return false;
        if (i == len || i == 1) return false;
        i++;
    } else {
        while (i < len && host_bytes[(unsigned char)bytes[i]]) {
            if (bytes[i] == ',') return false; /* two values joined by a proxy */
            i++;
        }
    }
    if (i == len) return true;
    if (bytes[i++] != ':' || i == 1) return false;
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
    size_t scheme = len > 7 && http_same(target, "http://", 7) ? 7 : len > 8 && http_same(target, "https://", 8) ? 8 : 0;
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

static bool request_line_is_valid(const struct http_head *head) {
    /* One space on each side of the target (RFC 9112 §3), and no protocol but HTTP: llhttp also reads RTSP and ICE. */
    const char *base = head->base, *behind = base + head->target + head->target_len;
    if (head->target < 2 || base[head->target - 1] != ' ') return false;
    if (!http_is_token(base, head->target - 1)) return false;
    if (head->len < head->target + head->target_len + 11) return false;
    return memcmp(behind, " HTTP/1.", 8) == 0 && (behind[8] == '0' || behind[8] == '1') && behind[9] == '\r';
}

/* RFC 9112 §6.1, §6.3: chunked, once, last. 0, 400 or 501. */
static unsigned check_transfer_encoding(const struct http_head *head, unsigned *codings, bool *chunked) {
    unsigned unknown = 0;
    bool last_is_chunked = false;
    for (uint32_t i = 0; i < head->count; i++) {
        const struct http_field *field = &head->fields[i];
        if (field->name_len != 17 || !http_same(head->base + field->name, "transfer-encoding", 17)) continue;
        const char *rest = head->base + field->value, *coding;
        size_t rest_len = field->value_len, len;
        while (http_next_element(&rest, &rest_len, &coding, &len)) {
            if (last_is_chunked) return 400;
            last_is_chunked = len == 7 && http_same(coding, "chunked", 7);
            if (!last_is_chunked) unknown++;
            if (!http_is_token(coding, len)) return 400;
            ++*codings;
        }
    }
    *chunked = last_is_chunked;
    if (!last_is_chunked) return 400;
    return unknown ? 501 : 0;
}

struct seen {
    unsigned hosts, lengths, encodings;
    const struct http_field *expect;
};

static bool look_at_field(struct http_head *head, const struct http_field *field, struct seen *seen) {
    const char *base = head->base, *name = base + field->name;
    if (name[field->name_len] != ':') return false; /* RFC 9112 §5.1: no space in front of the colon */
    switch (field->name_len) {
    case 4:
        if (!http_same(name, "host", 4)) break;
        if (seen->hosts++ || !authority_is_valid(base + field->value, field->value_len)) return false;
        if (head->absolute) break;
        head->host = field->value;
        head->host_len = field->value_len;
        break;
    case 6:
        if (http_same(name, "expect", 6)) seen->expect = field;
        break;
    case 14:
        if (http_same(name, "content-length", 14)) {
            seen->lengths++;
            if (field->value_len == 0) return false;
            for (uint32_t i = 0; i < field->value_len; i++)
                if (base[field->value + i] < '0' || base[field->value + i] > '9') return false;
        }
        break;
    case 17:
        if (http_same(name, "transfer-encoding", 17)) seen->encodings++;
        break;
    default:
        break;
    }
    return true;
}

unsigned http_head_check(struct http_exchange *exchange) {
    struct http_head *head = &exchange->head;
    struct seen seen = {0};
    if (!http_head_scan(head, head->len)) return 400;
    if (!request_line_is_valid(head)) return 400;
    if (exchange->parser.method == HTTP_CONNECT) return 501;
    if (!target_is_valid(exchange)) return 400;
    for (uint32_t i = 0; i < head->count; i++)
        if (!look_at_field(head, &head->fields[i], &seen)) return 400;
    bool http10 = http_exchange_is_http10(exchange);
    if (seen.hosts == 0 && !http10) return 400; /* RFC 9112 §3.2 */
    head->has_host = seen.hosts > 0 || head->absolute;
    if (seen.lengths > 1) return 400;
    if (seen.encodings) {
        unsigned codings = 0, refusal;
        if (http10 || seen.lengths) return 400; /* RFC 9112 §6.1, §6.3: the classic ways to smuggle */
        refusal = check_transfer_encoding(head, &codings, &exchange->chunked);
        if (refusal) return refusal;
    }
    if (seen.expect && !http10) { /* RFC 9110 §10.1.1: ignored from HTTP/1.0 */
        if (seen.expect->value_len != 12 || !http_same(head->base + seen.expect->value, "100-continue", 12)) return 417;
        exchange->expects_continue = exchange->chunked || exchange->parser.content_length > 0;
    }
    return 0;
}
