/* WORKER. The answer of an exchange: status, header lines, framing. Nothing that is given here can break the framing:
 * names, values and the status line are checked, and a body that does not fit its Content-Length is refused.
 *
 * All functions return 0 or UV_E*: UV_EINVAL with *why set for wrong use by the caller (nothing was changed),
 * UV_EALREADY when the answer has ended, UV_ECONNRESET when the client is gone. */
#ifndef CLUA_HTTP_RESPONSE_H
#define CLUA_HTTP_RESPONSE_H

#include "http_exchange.h"

int http_response_set_status(struct http_exchange *exchange, long status, const char *reason, size_t reason_len,
                             const char **why);

/* Adds a header line; replace: removes those of the same name first. */
int http_response_set_header(struct http_exchange *exchange, const char *name, size_t name_len, const char *value,
                             size_t value_len, bool replace, const char **why);
int http_response_remove_header(struct http_exchange *exchange, const char *name, size_t name_len, const char **why);

/* The n-th value (from 0) set for a name; false when there is none. Valid until the next change. */
bool http_response_get_header(const struct http_exchange *exchange, const char *name, size_t name_len, unsigned n,
                              const char **value, size_t *value_len);

/* Was the name among the header lines when they were `within` bytes long (exchange->lines.len)? */
bool http_response_has_header(const struct http_exchange *exchange, const char *name, size_t name_len, size_t within);

/* A field behind the body of a chunked answer (RFC 9112 §7.1.2). */
int http_response_add_trailer(struct http_exchange *exchange, const char *name, size_t name_len, const char *value,
                              size_t value_len, const char **why);

/* A piece of the body; sends the head first. */
int http_response_write(struct http_exchange *exchange, const char *bytes, size_t len, const char **why);

/* The last piece (bytes may be NULL) and the end of the answer. */
int http_response_end(struct http_exchange *exchange, const char *bytes, size_t len, const char **why);

/* The next `len` bytes of the body come from a file, from `offset` on: see http_file.h for the descriptor. The length
 * must have been declared. exchange->file_left is 0 afterwards if all of it went out at once. */
int http_response_send_file(struct http_exchange *exchange, int fd, uint64_t offset, uint64_t len, const char **why);

/* Sends the head now. */
int http_response_start(struct http_exchange *exchange, const char **why);

/* An interim answer (RFC 9110 §15.2): 100, 102, 103. lines: header lines, each ended by CRLF, already checked. */
int http_response_informational(struct http_exchange *exchange, unsigned status, const char *lines, size_t len,
                                const char **why);

/* Throws away what was prepared and answers with a short text and, if `close`, Connection: close. Only while no byte
 * has been sent. */
void http_response_replace(struct http_exchange *exchange, unsigned status, bool close);

/* Is this a legal header name, value? Used for header lines that the caller builds. */
bool http_header_is_valid(const char *name, size_t name_len, const char *value, size_t value_len, const char **why);

/* Content-Length or Transfer-Encoding, which an interim answer must not have (RFC 9110 §8.6, RFC 9112 §6.1). */
bool http_header_frames(const char *name, size_t len);

#endif
