/* WORKER. llhttp at work on one exchange: turns bytes into spans, body and trailers, errors into statuses. */
#ifndef CLUA_HTTP_PARSER_H
#define CLUA_HTTP_PARSER_H

#include "http_exchange.h"

/* Feeds the rest of a head: bytes up to `avail` from head.base, of which head.len have been fed before. Returns when
 * the head is complete or more bytes are needed; see exchange->request: still HEAD (more bytes), BODY, COMPLETE (no
 * body), or FAILED (exchange->refusal says with which status). */
void http_parser_head(struct http_exchange *exchange, size_t avail);

/* Feeds body bytes, all of which belong to the body or follow it; *eaten: those that belonged. Body bytes end up in
 * exchange->span (valid as long as `bytes`) and exchange->body. The state becomes COMPLETE or FAILED, or stays BODY. */
void http_parser_body(struct http_exchange *exchange, const char *bytes, size_t len, size_t *eaten);

#endif
