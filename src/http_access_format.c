/* BOTH. See http_access_format.h. */
#include "http_access_format.h"

#include <stdio.h>
#include <string.h>

#include <uv.h>

static const char *const names[] = {
#define X(name, text) [HTTP_ACCESS_##name] = text,
    HTTP_ACCESS_VARIABLES(X)
#undef X
};

const char *http_access_variable_name(unsigned n) {
    return n + 1 < HTTP_ACCESS_VARIABLE_COUNT ? names[n + 1] : NULL;
}

/* ---- compiling ------------------------------------------------------------------------------------------------ */

static bool is_name_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static int refuse(char *why, size_t size, const char *text) {
    snprintf(why, size, "%s", text);
    return UV_EINVAL;
}

/* *prefix: bytes of the name in front of that of a field, else 0. */
static enum http_access_variable find(const char *name, size_t len, size_t *prefix) {
    *prefix = 0;
    for (unsigned i = 1; i < HTTP_ACCESS_HTTP; i++)
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0) return (enum http_access_variable)i;
    for (unsigned i = HTTP_ACCESS_HTTP; i < HTTP_ACCESS_VARIABLE_COUNT; i++) {
        size_t own = strlen(names[i]);
        if (len <= own || memcmp(names[i], name, own) != 0) continue;
        *prefix = own;
        return (enum http_access_variable)i;
    }
    return HTTP_ACCESS_TEXT;
}

static struct http_access_part *add(struct http_access_format *format, enum http_access_variable variable, size_t at,
                                    size_t len) {
    if (format->count == HTTP_ACCESS_PARTS_MAX) return NULL;
    struct http_access_part *part = &format->parts[format->count++];
    *part = (struct http_access_part){.variable = (uint16_t)variable, .at = (uint16_t)at, .len = (uint16_t)len};
    return part;
}

/* $user_agent names User-Agent. */
static void name_field(char *name, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (name[i] == '_') name[i] = '-';
        if (name[i] >= 'A' && name[i] <= 'Z') name[i] = (char)(name[i] | 0x20);
    }
}

/* From the $ at `at` on: bytes that are eaten, or 0 with the reason. */
static size_t add_variable(struct http_access_format *format, size_t at, char *why, size_t size) {
    char *name = format->text + at + 1;
    bool braces = *name == '{';
    size_t len = 0, prefix;
    if (*name == '$') return add(format, HTTP_ACCESS_TEXT, at, 1) ? 2 : 0;
    if (braces) name++;
    while (is_name_byte(name[len])) len++;
    if (len == 0 || (braces && name[len] != '}')) {
        refuse(why, size,
               "a $ must be followed by the name of a variable, as in $status or ${status}, or by another $");
        return 0;
    }
    enum http_access_variable variable = find(name, len, &prefix);
    if (variable == HTTP_ACCESS_TEXT) {
        snprintf(why, size, "$%.*s", (int)len, name);
        return 0;
    }
    name_field(name + prefix, prefix ? len - prefix : 0);
    if (!add(format, variable, (size_t)(name - format->text) + prefix, prefix ? len - prefix : 0)) return 0;
    return 1 + len + (braces ? 2 : 0);
}

int http_access_compile(struct http_access_format *out, const char *format, bool json, char *why, size_t size) {
    size_t len = strlen(format), at = 0;
    *out = (struct http_access_format){.json = json};
    refuse(why, size, "it is too long");
    if (len == 0) return refuse(why, size, "it is empty");
    if (len >= sizeof out->text) return UV_EINVAL;
    memcpy(out->text, format, len);
    while (at < len) {
        size_t text = strcspn(out->text + at, "$");
        for (size_t i = at; i < at + text; i++)
            if ((unsigned char)out->text[i] < 0x20 && out->text[i] != '\t')
                return refuse(why, size, "it contains a line end or another control byte");
        if (text > 0 && !add(out, HTTP_ACCESS_TEXT, at, text)) return UV_EINVAL;
        at += text;
        if (at == len) break;
        size_t eaten = add_variable(out, at, why, size);
        if (eaten == 0) return UV_EINVAL;
        at += eaten;
    }
    return 0;
}

/* ---- values --------------------------------------------------------------------------------------------------- */

/* Length of the valid UTF-8 sequence of several bytes at p, or 0. */
static size_t utf8_len(const unsigned char *p, size_t len) {
    size_t need = p[0] >= 0xf0 && p[0] < 0xf5   ? 4
                  : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
                  : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
                                                : 0;
    if (need == 0 || need > len) return 0;
    for (size_t i = 1; i < need; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    /* Longer than need be, surrogates, beyond U+10FFFF */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)) return 0;
    if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) return 0;
    return need;
}

void http_access_put(struct buffer *line, const char *value, size_t len, bool json) {
    static const char hex[] = "0123456789ABCDEF";
    if (len == 0 && !json) buffer_append(line, "-", 1);
    if (len > HTTP_ACCESS_VALUE_BYTES) len = HTTP_ACCESS_VALUE_BYTES;
    char *start = buffer_room(line, len * 6 + 1), *p = start;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)value[i];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
            *p++ = (char)c;
            continue;
        }
        size_t whole = json && c >= 0x80 ? utf8_len((const unsigned char *)value + i, len - i) : 0;
        if (whole > 0) {
            memcpy(p, value + i, whole);
            p += whole;
            i += whole - 1;
        } else if (json && (c == '"' || c == '\\')) {
            *p++ = '\\';
            *p++ = (char)c;
        } else {
            memcpy(p, json ? "\\u00" : "\\x", json ? 4 : 2);
            p += json ? 4 : 2;
            *p++ = hex[c >> 4];
            *p++ = hex[c & 15];
        }
    }
    line->len += (size_t)(p - start);
}
