/* WORKER. Chunk extensions (RFC 9112 §7.1.1): nobody reads them, but they must be well-formed. llhttp 8.1 refuses some
 * that are valid (";a=b;c") and takes some that are not (";=b"), so it never sees them. */
#ifndef CLUA_HTTP_CHUNK_H
#define CLUA_HTTP_CHUNK_H

#include <stdbool.h>
#include <stddef.h>

enum http_extension {
    HTTP_EXTENSION_NONE,
    HTTP_EXTENSION_BEGIN, /* behind a semicolon */
    HTTP_EXTENSION_NAME,
    HTTP_EXTENSION_NAME_SPACE,
    HTTP_EXTENSION_EQUALS,
    HTTP_EXTENSION_TOKEN,
    HTTP_EXTENSION_QUOTED,
    HTTP_EXTENSION_ESCAPED,
    HTTP_EXTENSION_QUOTED_END,
    HTTP_EXTENSION_VALUE_SPACE,
    HTTP_EXTENSION_BAD,
};

/* Goes over bytes from *state on and stops in front of the CR that ends the line (*state is then NONE), at the first
 * byte that breaks the rules (BAD), or behind the last one. Returns the bytes passed. */
size_t http_chunk_extension(enum http_extension *state, const char *bytes, size_t len);

#endif
