/* WORKER. See http_section.h. A table of fixed size, each place with the section that it holds and the hash of the last
 * other one that would stand there: of sections that come once none takes the place of one that is repeated. */
#include "http_section.h"

#include <stdlib.h>
#include <string.h>

#include "block.h"

enum { PLACES = 256, LONGEST_BYTES = 2048, MOST_FIELDS = 64 };

struct place {
    struct http_section section;
    uint64_t other; /* hash of the last one that was not it */
};

static struct place places[PLACES];

static const char *bytes_of(const struct http_section *section) {
    return (const char *)(section->fields + section->count);
}

/* ---- keys ----------------------------------------------------------------------------------------------------- */

/* The number of the first byte that is not zero, as it stands in memory. */
static inline size_t first_byte(block bytes) {
    uint64_t halves[2];
    memcpy(halves, &bytes, sizeof halves);
    uint64_t half = halves[0] ? halves[0] : halves[1];
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    size_t byte = (size_t)__builtin_ctzll(half) / 8;
#else
    size_t byte = (size_t)__builtin_clzll(half) / 8;
#endif
    return halves[0] ? byte : sizeof half + byte;
}

static const char end[] = "\n\r\n";
enum { END_LEN = sizeof end - 1, LOOK_BYTES = sizeof(block) + END_LEN - 1 };

/* The first of the ends that begin in [at, behind), as the length up to and with it; 0: none. */
static size_t end_within(const char *bytes, size_t at, size_t behind) {
    for (; at < behind; at++)
        if (memcmp(bytes + at, end, END_LEN) == 0) return at + END_LEN;
    return 0;
}

/* The length up to and with the first empty line behind a line, 0 without one. The last block reaches back into the one
 * before it, so that all are whole. */
static size_t length(const char *bytes, size_t avail) {
    if (avail < LOOK_BYTES) return avail < END_LEN ? 0 : end_within(bytes, 0, avail - END_LEN + 1);
    const size_t last = avail - LOOK_BYTES;
    for (size_t at = 0;; at = at + sizeof(block) < last ? at + sizeof(block) : last) {
        block found = (block)((block_load(bytes + at) == '\n') & (block_load(bytes + at + 2) == '\n'));
        if (!block_is_zero(found)) {
            size_t len = end_within(bytes, at + first_byte(found), at + sizeof(block));
            if (len > 0) return len;
        }
        if (at == last) return 0;
    }
}

/* Sixteen bytes at a time: the halves of a product of 128 bits, folded. Who finds two sections with one hash gains
 * nothing. */
static uint64_t mix(uint64_t hash, const char *bytes) {
    uint64_t words[2];
    memcpy(words, bytes, sizeof words);
    unsigned __int128 product = (unsigned __int128)(hash ^ words[0]) * (words[1] ^ 0x9e3779b97f4a7c15U);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_of(const char *bytes, size_t len) {
    uint64_t hash = len * 0xa0761d6478bd642fU;
    char last[sizeof(block)] = {0};
    if (len < sizeof last) {
        memcpy(last, bytes, len);
    } else {
        for (size_t at = 0; at + sizeof last < len; at += sizeof last) hash = mix(hash, bytes + at);
        memcpy(last, bytes + len - sizeof last, sizeof last);
    }
    hash = mix(hash, last);
    return hash ^ hash >> 32;
}

struct http_section_key http_section_key(const char *bytes, size_t avail) {
    struct http_section_key key = {.len = (uint32_t)length(bytes, avail < LONGEST_BYTES ? avail : LONGEST_BYTES)};
    if (key.len > 0) key.hash = hash_of(bytes, key.len);
    return key;
}

static struct place *place_of(const struct http_section_key *key) {
    return &places[key->hash % PLACES];
}

static bool is_same(const struct http_section_key *a, const struct http_section_key *b) {
    return a->hash == b->hash && a->len == b->len;
}

struct http_section *http_section_find(const struct http_section_key *key, const char *bytes) {
    struct http_section *section = &place_of(key)->section;
    if (key->len == 0 || !is_same(&section->key, key)) return NULL;
    return memcmp(bytes, bytes_of(section), key->len) == 0 ? section : NULL;
}

/* ---- use ------------------------------------------------------------------------------------------------------ */

void http_section_apply(const struct http_section *section, struct http_exchange *exchange, uint32_t line_len) {
    struct http_head *head = &exchange->head;
    http_exchange_room(exchange, section->count);
    for (uint32_t i = 0; i < section->count; i++) {
        struct http_field field = section->fields[i];
        field.name += line_len;
        field.value += line_len;
        head->fields[i] = field;
    }
    head->len = head->checked = line_len + section->key.len;
    head->count = section->count;
    head->host = section->host + line_len;
    head->host_len = section->host_len;
    exchange->keep_alive = section->keep_alive;
}

void http_section_keep_line(struct http_section *section, const struct http_exchange *exchange) {
    const struct http_head *head = &exchange->head;
    uint32_t len = http_head_section(head);
    section->line_len = 0;
    if (len > sizeof section->line) return;
    memcpy(section->line, head->base, len);
    section->line_len = len;
    section->target = head->target;
    section->target_len = head->target_len;
    section->method = exchange->parser.method;
}

/* ---- learning ------------------------------------------------------------------------------------------------- */

static bool may_be_kept(const struct http_exchange *exchange) {
    const struct http_head *head = &exchange->head;
    uint16_t framing = F_CONTENT_LENGTH | F_TRANSFER_ENCODING | F_CHUNKED | F_UPGRADE | F_CONNECTION_UPGRADE;
    return exchange->request == HTTP_REQUEST_COMPLETE && !(exchange->parser.flags & framing) && !head->absolute &&
           head->path_len > 0 && head->count <= MOST_FIELDS;
}

/* Puts the section into its place; one that memory is missing for is not kept. */
static void keep(struct http_section *section, const struct http_section_key *key,
                 const struct http_exchange *exchange) {
    const struct http_head *head = &exchange->head;
    uint32_t offset = http_head_section(head);
    struct http_field *fields = realloc(section->fields, head->count * sizeof *fields + key->len);
    if (!fields) return;
    *section = (struct http_section){
        .key = *key,
        .count = head->count,
        .host = head->host - offset,
        .host_len = head->host_len,
        .keep_alive = exchange->keep_alive,
        .fields = fields,
    };
    for (uint32_t i = 0; i < head->count; i++) {
        fields[i] = head->fields[i];
        fields[i].name -= offset;
        fields[i].value = fields[i].value_len > 0 ? fields[i].value - offset : fields[i].name;
    }
    memcpy(fields + head->count, head->base + offset, key->len);
}

void http_section_learn(const struct http_section_key *key, const struct http_exchange *exchange) {
    const struct http_head *head = &exchange->head;
    if (key->len == 0 || key->len != head->len - http_head_section(head) || !may_be_kept(exchange)) return;
    struct place *place = place_of(key);
    if (place->other == key->hash) {
        keep(&place->section, key, exchange);
    } else {
        place->other = key->hash;
    }
}
