/* BOTH. See buffer.h. */
#include "buffer.h"

#include <stdint.h>
#include <stdlib.h>

#include "log.h"

void buffer_grow(struct buffer *buffer, size_t more) {
    size_t need = buffer->len + more, cap = buffer->cap ? buffer->cap : 256;
    while (cap < need && cap <= SIZE_MAX / 2) cap *= 2;
    char *data = need < more || cap < need ? NULL : realloc(buffer->data, cap);
    if (!data) {
        log_write(CLUA_LOG_ERROR, "cannot grow a buffer by %zu bytes: out of memory", more);
        abort();
    }
    buffer->data = data;
    buffer->cap = cap;
}

void buffer_consume(struct buffer *buffer, size_t n) {
    if (n < buffer->len) memmove(buffer->data, buffer->data + n, buffer->len - n);
    buffer->len -= n;
}

void buffer_free(struct buffer *buffer) {
    free(buffer->data);
    *buffer = (struct buffer){0};
}
