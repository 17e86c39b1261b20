/* WORKER. Heads that clients repeat. A browser, a proxy, a client of an API sends the same header section (RFC 9110
 * §6.3) with one request after the other, and who polls sends the same request line too. What the parser has found in
 * bytes holds for the same bytes again, so these are compared rather than parsed.
 *
 * Only sections of complete, accepted requests of HTTP/1.1 without a body and without Upgrade are kept: nothing in them
 * decides where the request ends. They are found by a hash of all their bytes, so how long that takes tells nothing of the
 * parts of what another client sends; who sends all of it himself may find out that it has come before (as with any
 * memory that clients share). */
#ifndef CLUA_HTTP_SECTION_H
#define CLUA_HTTP_SECTION_H

#include <stdint.h>

#include "http_exchange.h"

enum { HTTP_SECTION_LINE_BYTES = 128 }; /* longer request lines are not kept */

/* Which section stands somewhere: its length, with the empty line at its end, and a hash of it. len is 0 when there is
 * none of a length that is kept. */
struct http_section_key {
    uint64_t hash;
    uint32_t len;
};

struct http_section {
    struct http_section_key key; /* len 0: none */
    uint32_t count;
    uint32_t host, host_len;
    bool keep_alive;
    struct http_field *fields; /* offsets from the section's beginning; its bytes follow the last one */

    /* The last request line that it came with: origin-form, with its line end. */
    char line[HTTP_SECTION_LINE_BYTES];
    uint32_t line_len; /* 0: none */
    uint32_t target, target_len;
    uint8_t method; /* of llhttp */
};

struct http_section_key http_section_key(const char *bytes, size_t avail);

/* The section of this key at bytes, NULL when it is not known. Valid until the next http_section_learn(). */
struct http_section *http_section_find(const struct http_section_key *key, const char *bytes);

/* The exchange has that section, behind a request line of so many bytes: sets all that does not come from the line. */
void http_section_apply(const struct http_section *section, struct http_exchange *exchange, uint32_t line_len);

/* The exchange has come with that section: keeps its request line. */
void http_section_keep_line(struct http_section *section, const struct http_exchange *exchange);

/* A head that has been parsed and accepted, with the key of what is behind its request line. The section is kept once it
 * has come for the second time. */
void http_section_learn(const struct http_section_key *key, const struct http_exchange *exchange);

#endif
