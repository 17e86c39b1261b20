/* WORKER. Until when a connection may stay as it is. */
#ifndef CLUA_HTTP_DEADLINE_H
#define CLUA_HTTP_DEADLINE_H

#include <stdint.h>

#include "http_connection.h"

/* How long an idle one may stay without a byte: before the first request that is a client late with its head. 0: for
 * ever. */
uint64_t http_deadline_idle_limit_ms(const struct http_connection *connection);

/* Sets the deadline that the connection's state asks for. */
void http_deadline_set(struct http_connection *connection);

#endif
