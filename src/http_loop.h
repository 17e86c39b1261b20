/* WORKER. What all HTTP connections of a process share: one timer wheel for their deadlines, and a list of those that
 * must be looked at before the loop waits again. */
#ifndef CLUA_HTTP_LOOP_H
#define CLUA_HTTP_LOOP_H

#include <stdbool.h>

#include "http_connection.h"

/* on_settle: look at the connection; on_expired: its deadline_ms has passed. Idempotent. 0 or UV_E*. */
int http_loop_open(uv_loop_t *loop, void (*on_settle)(struct http_connection *),
                   void (*on_expired)(struct http_connection *));

/* The connection's deadline is deadline_ms (0: none). Cheap: the wheel is touched only when it would fire too late. */
void http_loop_deadline(struct http_connection *connection, uint64_t deadline_ms);

/* on_settle follows before the loop next waits. */
void http_loop_settle(struct http_connection *connection);

/* The connection goes: nothing is called for it any more. */
void http_loop_forget(struct http_connection *connection);

/* Output buffers, shared by all connections: one is held only while there is output. */
struct buffer *http_loop_buffer_take(void);
void http_loop_buffer_give(struct buffer *buffer);

#endif
