/* WORKER. See http_section.h. A table of fixed size, each place with the section that it holds and the hash of the last
 * other one that would stand there: of sections that come once none takes the place of one that is repeated. */
#include "http_section.h"

#include <stdlib.h>
#include <string.h>

enum { PLACES = 256, LONGEST_BYTES = 2048, MOST_FIELDS = 64 };

struct place {
    struct http_section section;
    uint64_t hash, other; /* of the section; of the last that was not it */
};

static struct place places[PLACES];
static uint32_t last_generation;

static const char *bytes_of(const struct http_section *section) {
    return (const char *)(section->fields + section->count);
}

struct http_section *http_section_of(uint32_t id) {
    struct http_section *section = &places[id % PLACES].section;
    return id != 0 && section->id == id ? section : NULL;
}

bool http_section_is_at(const struct http_section *section, const char *bytes, size_t avail) {
    return avail >= section->len && memcmp(bytes, bytes_of(section), section->len) == 0;
}

void http_section_apply(const struct http_section *section, struct http_exchange *exchange, uint32_t line_len) {
    struct http_head *head = &exchange->head;
    http_exchange_room(exchange, section->count);
    for (uint32_t i = 0; i < section->count; i++) {
        struct http_field field = section->fields[i];
        field.name += line_len;
        field.value += line_len;
        head->fields[i] = field;
    }
    head->len = head->checked = line_len + section->len;
    head->count = section->count;
    head->host = section->host + line_len;
    head->host_len = section->host_len;
    head->has_host = true;
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

/* Multiplies and mixes eight bytes at a time; who finds two sections with one hash gains nothing. */
static uint64_t hash_of(const char *bytes, size_t len) {
    const uint64_t odd = 0x9e3779b97f4a7c15u;
    uint64_t hash = len * odd, word;
    for (; len >= sizeof word; bytes += sizeof word, len -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        hash = (hash ^ word) * odd;
        hash ^= hash >> 29;
    }
    word = 0;
    memcpy(&word, bytes, len);
    hash = (hash ^ word) * odd;
    return hash ^ hash >> 32;
}

static bool may_be_kept(const struct http_exchange *exchange) {
    const struct http_head *head = &exchange->head;
    uint16_t framing = F_CONTENT_LENGTH | F_TRANSFER_ENCODING | F_CHUNKED | F_UPGRADE | F_CONNECTION_UPGRADE;
    return exchange->request == HTTP_REQUEST_COMPLETE && exchange->keep_alive && !(exchange->parser.flags & framing) &&
           !http_exchange_is_http10(exchange) && !head->absolute && head->path_len > 0 && head->count <= MOST_FIELDS &&
           head->len - http_head_section(head) <= LONGEST_BYTES;
}

/* Puts the section into its place; one that memory is missing for is not kept. */
static uint32_t keep(struct place *place, const struct http_exchange *exchange, uint64_t hash) {
    const struct http_head *head = &exchange->head;
    uint32_t offset = http_head_section(head), len = head->len - offset;
    struct http_section *section = &place->section;
    struct http_field *fields = realloc(section->fields, head->count * sizeof *fields + len);
    if (!fields) return 0;
    *section = (struct http_section){
        .len = len,
        .count = head->count,
        .host = head->host - offset,
        .host_len = head->host_len,
        .fields = fields,
    };
    for (uint32_t i = 0; i < head->count; i++) {
        fields[i] = head->fields[i];
        fields[i].name -= offset;
        fields[i].value = fields[i].value_len > 0 ? fields[i].value - offset : fields[i].name;
    }
    memcpy(fields + head->count, head->base + offset, len);
    place->hash = hash;
    last_generation = last_generation < UINT32_MAX / PLACES ? last_generation + 1 : 1;
    section->id = last_generation * PLACES + (uint32_t)(place - places);
    return section->id;
}

uint32_t http_section_learn(const struct http_exchange *exchange) {
    const struct http_head *head = &exchange->head;
    if (!may_be_kept(exchange)) return 0;
    const char *bytes = head->base + http_head_section(head);
    uint32_t len = head->len - http_head_section(head);
    uint64_t hash = hash_of(bytes, len);
    struct place *place = &places[hash % PLACES];
    const struct http_section *section = &place->section;
    if (section->id != 0 && place->hash == hash && section->len == len && memcmp(bytes, bytes_of(section), len) == 0)
        return section->id;
    if (place->other != hash) {
        place->other = hash;
        return 0;
    }
    return keep(place, exchange, hash);
}
