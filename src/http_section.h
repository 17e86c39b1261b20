/* WORKER. Heads that clients repeat. A browser, a proxy, a client of an API sends the same header section (RFC 9110
 * §6.3) with every request of a connection, and who polls sends the same request line too. What the parser has found in
 * bytes holds for the same bytes again, so these are compared rather than parsed.
 *
 * Only sections of complete, accepted requests of HTTP/1.1 without a body and without Upgrade are kept: nothing in them
 * decides where the request ends. A connection's requests are compared with a section that it has sent itself before:
 * how long a comparison takes tells a client nothing about what others send. */
#ifndef CLUA_HTTP_SECTION_H
#define CLUA_HTTP_SECTION_H

#include <stdint.h>

#include "http_exchange.h"

enum { HTTP_SECTION_LINE_BYTES = 128 }; /* longer request lines are not kept */

struct http_section {
    uint32_t id; /* as in http_connection->section; another one when it is replaced */
    uint32_t len, count;
    uint32_t host, host_len;
    struct http_field *fields; /* offsets from the section's beginning; its bytes follow the last one */

    /* The last request line that it came with: origin-form, with its line end. */
    char line[HTTP_SECTION_LINE_BYTES];
    uint32_t line_len; /* 0: none */
    uint32_t target, target_len;
    uint8_t method; /* of llhttp */
};

/* The section with this id, NULL when it has been replaced. Valid until the next http_section_learn(). */
struct http_section *http_section_of(uint32_t id);

/* Does the whole section begin at bytes? */
bool http_section_is_at(const struct http_section *section, const char *bytes, size_t avail);

/* The exchange has that section, behind a request line of so many bytes: sets all that does not come from the line. */
void http_section_apply(const struct http_section *section, struct http_exchange *exchange, uint32_t line_len);

/* The exchange has come with that section: keeps its request line. */
void http_section_keep_line(struct http_section *section, const struct http_exchange *exchange);

/* A head that has been parsed and accepted: the id of its section, 0 while it is not known. It is kept once it has come
 * for the second time. */
uint32_t http_section_learn(const struct http_exchange *exchange);

#endif
