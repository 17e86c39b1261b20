/* BOTH. A growable run of bytes. Running out of memory ends the process: a worker's connections are then lent again. */
#ifndef CLUA_BUFFER_H
#define CLUA_BUFFER_H

#include <stddef.h>
#include <string.h>

/* Zeroed: empty and valid. */
struct buffer {
    char *data;
    size_t len, cap;
};

/* Makes room for `more` bytes behind len. */
void buffer_grow(struct buffer *buffer, size_t more);

/* Removes n bytes from the front. */
void buffer_consume(struct buffer *buffer, size_t n);
void buffer_free(struct buffer *buffer);

static inline char *buffer_room(struct buffer *buffer, size_t more) {
    if (buffer->cap - buffer->len < more) buffer_grow(buffer, more);
    return buffer->data + buffer->len;
}

static inline void buffer_append(struct buffer *buffer, const char *bytes, size_t len) {
    if (len == 0) return;
    memcpy(buffer_room(buffer, len), bytes, len);
    buffer->len += len;
}

#endif
