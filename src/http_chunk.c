/* WORKER. See http_chunk.h. */
#include "http_chunk.h"

#include "http_head.h"

static bool is_space(unsigned char c) {
    return c == ' ' || c == '\t';
}

/* HTAB, SP, VCHAR, obs-text */
static bool is_text(unsigned char c) {
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

/* What may follow a name or a value: `space` for blanks, a semicolon, the end of the line. */
static enum http_extension follow(unsigned char c, enum http_extension space) {
    if (is_space(c)) return space;
    return c == ';' ? HTTP_EXTENSION_BEGIN : c == '\r' ? HTTP_EXTENSION_NONE : HTTP_EXTENSION_BAD;
}

static enum http_extension next(enum http_extension state, unsigned char c) {
    switch (state) {
    case HTTP_EXTENSION_BEGIN:
        if (is_space(c)) return state;
        return http_is_token_byte(c) ? HTTP_EXTENSION_NAME : HTTP_EXTENSION_BAD;
    case HTTP_EXTENSION_NAME:
        if (http_is_token_byte(c)) return state;
        return c == '=' ? HTTP_EXTENSION_EQUALS : follow(c, HTTP_EXTENSION_NAME_SPACE);
    case HTTP_EXTENSION_NAME_SPACE:
        if (c == '=') return HTTP_EXTENSION_EQUALS;
        return c == '\r' ? HTTP_EXTENSION_BAD : follow(c, state);
    case HTTP_EXTENSION_EQUALS:
        if (is_space(c)) return state;
        if (c == '"') return HTTP_EXTENSION_QUOTED;
        return http_is_token_byte(c) ? HTTP_EXTENSION_TOKEN : HTTP_EXTENSION_BAD;
    case HTTP_EXTENSION_TOKEN:
        return http_is_token_byte(c) ? state : follow(c, HTTP_EXTENSION_VALUE_SPACE);
    case HTTP_EXTENSION_QUOTED:
        if (c == '"') return HTTP_EXTENSION_QUOTED_END;
        if (c == '\\') return HTTP_EXTENSION_ESCAPED;
        return is_text(c) ? state : HTTP_EXTENSION_BAD;
    case HTTP_EXTENSION_ESCAPED:
        return is_text(c) ? HTTP_EXTENSION_QUOTED : HTTP_EXTENSION_BAD;
    case HTTP_EXTENSION_QUOTED_END:
        return follow(c, HTTP_EXTENSION_VALUE_SPACE);
    case HTTP_EXTENSION_VALUE_SPACE:
        return c == '\r' ? HTTP_EXTENSION_BAD : follow(c, state);
    case HTTP_EXTENSION_NONE:
    case HTTP_EXTENSION_BAD:
        break;
    }
    return HTTP_EXTENSION_BAD;
}

size_t http_chunk_extension(enum http_extension *state, const char *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        *state = next(*state, (unsigned char)bytes[i]);
        if (*state == HTTP_EXTENSION_NONE || *state == HTTP_EXTENSION_BAD) return i;
    }
    return len;
}
