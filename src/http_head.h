/* WORKER. What RFC 9112 demands of a request head and llhttp 8.1 does not check; pure functions over bytes. */
#ifndef CLUA_HTTP_HEAD_H
#define CLUA_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>

#include "http_exchange.h"

/* True when no byte of the run breaks the line structure: no bare CR or LF (RFC 9112 §2.2), no obs-fold (§5.2), no
 * control byte but HTAB (RFC 9110 §5.5). *before: the byte in front of the run, 0 for none; left at its last byte. */
bool http_bytes_are_strict(const char *bytes, size_t len, char *before);

/* Scans the part of the head that has not been scanned yet, up to `len`. */
bool http_head_scan(struct http_head *head, size_t len);

/* Looks over a complete head: request line, target, Host, framing, Expect. Fills path, host, and the exchange's
 * chunked and expects_continue. 0, or the status that refuses the request. */
unsigned http_head_check(struct http_exchange *exchange);

/* Its part that looks at the request line and fills path (and host, where the target names it). */
unsigned http_head_check_line(struct http_exchange *exchange);

/* The status for a request line that llhttp has refused at `len`: 501 for an unknown method (RFC 9110 §9.1), 505 for
 * another version (§15.6.6), else 400. */
unsigned http_head_method_refusal(const struct http_head *head, size_t len);
unsigned http_head_version_refusal(const struct http_head *head, size_t len);

/* Field by name (given in lower case), or NULL. */
const struct http_field *http_head_find(const struct http_head *head, const char *name, size_t len);

/* Is the byte a tchar (RFC 9110 §5.6.2)? */
bool http_is_token_byte(unsigned char byte);
bool http_is_token(const char *bytes, size_t len);

/* Nothing but HTAB, SP, VCHAR and obs-text: what a value or a reason phrase may hold (RFC 9110 §5.5, RFC 9112 §4). */
bool http_is_text(const char *bytes, size_t len);

/* Equal but for ASCII case; `lower` is in lower case. */
bool http_same(const char *bytes, const char *lower, size_t len);

/* The next element of a comma-separated list, trimmed: false at its end. *rest and *rest_len move on. */
bool http_next_element(const char **rest, size_t *rest_len, const char **element, size_t *len);

#endif
