/* WORKER. See quarantine.h. The list is short and most often empty. */
#include "quarantine.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"

struct refused {
    char *bytes; /* the line, then the reply */
    size_t kept, line_len, reply_len;
    uint64_t until_ms;
};

unsigned quarantine_count;
static struct refused refused[QUARANTINE_LINES_MAX];

static void drop(unsigned at) {
    free(refused[at].bytes);
    quarantine_count--;
    memmove(&refused[at], &refused[at + 1], (quarantine_count - at) * sizeof refused[0]);
}

static bool is_line(const struct refused *entry, const char *line, size_t len) {
    return entry->line_len == len && memcmp(entry->bytes, line, entry->kept) == 0;
}

static void drop_expired(uint64_t now_ms) {
    for (unsigned i = quarantine_count; i-- > 0;)
        if (now_ms >= refused[i].until_ms) drop(i);
}

void quarantine_add(const char *line, size_t kept, size_t line_len, const char *reply, size_t reply_len,
                    uint64_t until_ms) {
    if (kept > line_len) return;
    for (unsigned i = quarantine_count; i-- > 0;)
        if (refused[i].kept == kept && is_line(&refused[i], line, line_len)) drop(i);
    if (quarantine_count == QUARANTINE_LINES_MAX) drop(0);
    char *bytes = malloc(kept + reply_len + 1);
    if (!bytes) {
        log_write(CLUA_LOG_ERROR, "cannot keep a line in quarantine: out of memory");
        return;
    }
    memcpy(bytes, line, kept);
    memcpy(bytes + kept, reply, reply_len);
    refused[quarantine_count++] = (struct refused){
        .bytes = bytes,
        .kept = kept,
        .line_len = line_len,
        .reply_len = reply_len,
        .until_ms = until_ms,
    };
}

const char *quarantine_reply(const char *line, size_t len, uint64_t now_ms, size_t *reply_len) {
    drop_expired(now_ms);
    for (unsigned i = 0; i < quarantine_count; i++) {
        if (!is_line(&refused[i], line, len)) continue;
        *reply_len = refused[i].reply_len;
        return refused[i].bytes + refused[i].kept;
    }
    return NULL;
}
